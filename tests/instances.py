"""One cheap instance of every public estimator and of every way of training; all common tests run over this list."""

from sk_autoenc import MLP, AAETransformer, AutoencoderTransformer, Gaussian, VAETransformer

_CHEAP = {"architecture": (8,), "max_iter": 3, "random_state": 0, "device": "cpu"}

INSTANCES = [
    AutoencoderTransformer(**_CHEAP),
    AutoencoderTransformer(**_CHEAP, init="random", early_stopping=False),
    AutoencoderTransformer(**_CHEAP, noise=0.2, sparsity=0.1, contraction=0.1),
    AutoencoderTransformer(**{**_CHEAP, "architecture": MLP((8, 8), residual=True)}, sparsity=0.1, sparsity_target=0.2),
    VAETransformer(**_CHEAP, n_score_samples=8),
    VAETransformer(**_CHEAP, n_score_samples=8, init="random", early_stopping=False, prior="gaussian_mixture"),
    VAETransformer(
        **_CHEAP, n_score_samples=8, likelihood=Gaussian("feature"), n_importance_samples=3, n_warmup_epochs=2, beta=0.5
    ),
    AAETransformer(**_CHEAP, critic=(8,)),
    AAETransformer(**_CHEAP, critic=(8,), init="random", encoder="gaussian", prior="uniform", early_stopping=True),
]

#: {check: reason}; a reason must be one that scikit-learn's maintainers would accept.
EXPECTED_FAILURES: dict[str, str] = {}
