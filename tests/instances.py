"""One cheap instance of every public estimator and of every way of training; all common tests run over this list."""

from sklearn.decomposition import PCA
from sklearn.neighbors import KernelDensity

from sk_autoenc import (
    MLP,
    AAEClassifier,
    AAETransformer,
    AutoencoderImputer,
    AutoencoderRecommender,
    AutoencoderTransformer,
    ClassSampler,
    ConditionalGANSampler,
    Convolutional,
    CycleGANTransformer,
    EncoderDecoderRegressor,
    GANSampler,
    Gaussian,
    PretrainedClassifier,
    PretrainedRegressor,
    ReconstructionOutlierDetector,
    Recurrent,
    SegNetSegmenter,
    TabularSampler,
    VAEClassifier,
    VAETransformer,
)

_CHEAP = {"architecture": (8,), "max_iter": 3, "random_state": 0, "device": "cpu"}

INSTANCES = [
    AutoencoderTransformer(**_CHEAP),
    AutoencoderTransformer(**_CHEAP, init="random", early_stopping=False, whiten=True),
    AutoencoderTransformer(**_CHEAP, noise=0.2, sparsity=0.1, contraction=0.1),
    AutoencoderTransformer(**{**_CHEAP, "architecture": MLP((8, 8), residual=True)}, sparsity=0.1, sparsity_target=0.2),
    AutoencoderTransformer(**{**_CHEAP, "architecture": Recurrent(3), "max_iter": 2}, early_stopping=False),
    VAETransformer(**_CHEAP, n_score_samples=8),
    VAETransformer(**_CHEAP, n_score_samples=8, init="random", early_stopping=False, prior="gaussian_mixture"),
    VAETransformer(
        **_CHEAP, n_score_samples=8, likelihood=Gaussian("feature"), n_importance_samples=3, n_warmup_epochs=2, beta=0.5
    ),
    AAETransformer(**_CHEAP, critic=(8,)),
    AAETransformer(**_CHEAP, critic=(8,), init="random", encoder="gaussian", prior="uniform", early_stopping=True),
]

#: Outlier detectors, which have no codes and are not trained by skorch.
DETECTORS = [
    ReconstructionOutlierDetector(random_state=0),
    ReconstructionOutlierDetector(novelty=True, n_steps=10, random_state=0),
    ReconstructionOutlierDetector(n_steps=10, residual="robust", calibration_fraction=0.2, random_state=0),
    ReconstructionOutlierDetector(PCA(1), n_estimators=2, max_samples=0.5, random_state=0),
    ReconstructionOutlierDetector(
        VAETransformer(**_CHEAP, n_score_samples=8, early_stopping=False), n_estimators=2, random_state=0
    ),
    ReconstructionOutlierDetector(AutoencoderTransformer(**_CHEAP), n_estimators=2, residual="latent", random_state=0),
]

#: Models that draw rows and have no codes of them.
SAMPLERS = [
    GANSampler(**_CHEAP),
    GANSampler(**_CHEAP, init="mixture", values="real", loss="hinge", spectral_norm=True, critic=(8, 8), ema=0.0),
    GANSampler(3, **_CHEAP, loss="wasserstein", n_critic=2, early_stopping=True, values="unbounded"),
]

#: Models that draw rows of classes and keep a model for each; they are no networks themselves.
CLASS_SAMPLERS = [ClassSampler(KernelDensity(), random_state=0)]

#: The same for rows with targets.
CONDITIONAL_SAMPLERS = [
    ConditionalGANSampler(**_CHEAP),
    ConditionalGANSampler(**_CHEAP, conditioning="projection", loss="non_saturating", gradient_penalty="r1"),
]

#: Models of few labels. The encoders that they train are cheap, too.
_ENCODER = AutoencoderTransformer(**_CHEAP, init="random", early_stopping=False)
_FINE_TUNING = {"max_iter": 3, "batch_size": 32, "learning_rate": 0.02, "random_state": 0, "device": "cpu"}
_FEW_LABELS = {**_CHEAP, "max_iter": 4, "learning_rate": 0.03, "batch_size": 32}
CLASSIFIERS = [
    PretrainedClassifier(_ENCODER, **_FINE_TUNING),
    PretrainedClassifier(
        VAETransformer(**_CHEAP, early_stopping=False),
        **{**_FINE_TUNING, "max_iter": 6, "learning_rate": 0.05},
        baseline="graph",
        early_stopping=False,
    ),
    VAEClassifier(2, **_FEW_LABELS, baseline="linear"),
    AAEClassifier(2, **_FEW_LABELS, critic=(8,), early_stopping=False),
]
REGRESSORS = [
    PretrainedRegressor(_ENCODER, **_FINE_TUNING),
    PretrainedRegressor(_ENCODER, **_FINE_TUNING, baseline="linear", pretraining=False),
]

#: Recommenders, whose rows are sparse.
RECOMMENDERS = [
    AutoencoderRecommender(2, max_iter=3, random_state=0, device="cpu"),
    AutoencoderRecommender(2, kind="variational", architecture=(8,), max_iter=3, random_state=0, device="cpu"),
    AutoencoderRecommender(2, baseline=None, early_stopping=False, max_iter=3, random_state=0, device="cpu"),
]

#: Models that fill missing cells.
IMPUTERS = [
    AutoencoderImputer(**_CHEAP),
    AutoencoderImputer(**_CHEAP, early_stopping=False, shrinkage=0.1, add_indicator=True, keep_empty_features=True),
]

#: Samplers of tables, which read data frames of any columns.
TABULAR = [
    TabularSampler(**_CHEAP),
    TabularSampler(**_CHEAP, early_stopping=False, unseen="missing"),
]

#: Translators between two domains, which need rows of both.
TRANSLATORS = [
    CycleGANTransformer(**_CHEAP),
    CycleGANTransformer(3, **_CHEAP, critic=(4,), loss="relativistic", init="random", early_stopping=True),
]

#: Autoencoders of images, for rows of ``IMAGE_SHAPE``; scikit-learn's checks know no such rows.
IMAGE_SHAPE = (1, 5, 8)
_FOR_IMAGES = {**_CHEAP, "architecture": Convolutional((3, 4))}
IMAGES = [
    AutoencoderTransformer(**_FOR_IMAGES, init="random", early_stopping=False),
    AutoencoderTransformer(**_FOR_IMAGES, init="pca", noise=0.2, early_stopping=False),
    AutoencoderTransformer(
        **{**_FOR_IMAGES, "architecture": Convolutional((3,), normalization="layer")}, init="random"
    ),
    VAETransformer(**_FOR_IMAGES, n_score_samples=2, init="random"),
    VAETransformer(**_FOR_IMAGES, n_score_samples=2, init="pca", n_importance_samples=2, early_stopping=False),
    AAETransformer(**_FOR_IMAGES, critic=(8,)),
]


#: Predictors of targets that are not the input, for flat rows.
PREDICTORS = [
    EncoderDecoderRegressor(**_CHEAP),
    EncoderDecoderRegressor(
        **_CHEAP, baseline="ridge", loss="absolute_error", critic=(8,), output_range=None, early_stopping=False
    ),
]

#: Predictors of images of ``IMAGE_SHAPE``, and of masks, which scikit-learn's checks do not know.
IMAGE_PREDICTORS = [
    EncoderDecoderRegressor(**_FOR_IMAGES, early_stopping=False),
    EncoderDecoderRegressor(**_FOR_IMAGES, skips=False, augment=("flip",)),
    EncoderDecoderRegressor(**{**_FOR_IMAGES, "max_iter": 1}, critic="auto", critic_loss="hinge", baseline="filter"),
]
SEGMENTERS = [
    SegNetSegmenter((3, 4), stem=1, max_iter=3, random_state=0, device="cpu", early_stopping=False),
    SegNetSegmenter((3,), upsampling="skips", augment=("brightness",), max_iter=3, random_state=0, device="cpu"),
]


def describe(estimator):
    """The configuration in one line, as the name of a test."""
    return " ".join(repr(estimator).split())


#: {check: reason}; a reason must be one that scikit-learn's maintainers would accept.
EXPECTED_FAILURES: dict[str, str] = {}

#: As in scikit-learn's own ``_choose_check_classifiers_labels``, by which its semi-supervised classifiers are excepted.
_UNLABELLED = {"check_classifiers_classes": "-1 is no class here, but a missing label, as in sklearn.semi_supervised"}


def expected_failures(estimator):
    """{check: reason} of an estimator."""
    return _UNLABELLED if type(estimator) in {type(model) for model in CLASSIFIERS} else EXPECTED_FAILURES
