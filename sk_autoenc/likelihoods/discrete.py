"""Zeros and ones, and counts."""

from numbers import Integral
from typing import Any

import numpy as np
import torch
from scipy.special import logit
from torch import Tensor
from torch.distributions import Bernoulli as BernoulliDistribution

from sk_autoenc.likelihoods.base import Likelihood
from sk_autoenc.storage import by_params


def is_count(value: Any) -> bool:
    """Whether a parameter is an integer of 1 or more."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


@by_params(check=lambda likelihood: likelihood.check_parameters())
class Bernoulli(Likelihood):
    """Values in [0, 1], the decoder's output being the logit of their mean.

    Values strictly between 0 and 1 count as shares of ones: minus their cross-entropy is the score, which is
    a log-probability for binary rows.

    Parameters
    ----------
    binarize : False or "dynamic", default=False
        ``"dynamic"``: a model that draws sees zeros and ones drawn anew at every training step, a value being the
        probability of a one [1]_; what it scores must be zeros and ones.

    References
    ----------
    .. [1] Burda, Grosse, Salakhutdinov (2016). Importance weighted autoencoders. ICLR.

    Examples
    --------
    >>> from sk_autoenc import AutoencoderTransformer
    >>> AutoencoderTransformer(likelihood="bernoulli").fit([[0, 1], [1, 1], [0, 0]]).reconstruct([[0, 1]]).shape
    (1, 2)
    """

    def __init__(self, *, binarize: bool | str = False):
        self.binarize = binarize

    def check(self, X: np.ndarray) -> None:
        """Refuse values outside [0, 1]."""
        self.check_parameters()
        low, high = X.min(), X.max()
        if low < 0 or high > 1:
            raise ValueError(
                "likelihood='bernoulli' needs values in [0, 1], but X has values "
                f"from {low:.6g} to {high:.6g}; rescale X, or use likelihood='gaussian'."
            )

    def check_parameters(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""
        if self.binarize not in (False, "dynamic"):
            raise ValueError(f"Bernoulli: binarize must be False or 'dynamic', got {self.binarize!r}.")

    def check_purpose(self, *, is_density: bool, is_noisy: bool) -> None:
        """Refuse draws of ones where there is no density to train."""
        if not is_density and self.binarize:
            raise ValueError(
                f"likelihood={self!r}: ones are drawn for a density, and have no effect here; use Bernoulli(), or "
                "VAETransformer."
            )

    def check_scored(self, X: np.ndarray) -> None:
        """Refuse grey values where the model is one of zeros and ones."""
        self.check(X)
        if self.binarize == "dynamic" and (grey := (X != 0) & (X != 1)).any():
            raise ValueError(
                f"Bernoulli(binarize='dynamic') scores zeros and ones, but X has the value {X[grey][0]:.6g}; draw "
                "them first, for example by (rng.random(X.shape) < X).astype(X.dtype)."
            )

    def input_range(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """From 0 to 1: binarised rows go beyond the grey ones."""
        return torch.zeros_like(low), torch.ones_like(high)

    def target(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The rows, or where these are binarised, ones drawn with their probabilities."""
        return torch.bernoulli(x, generator=generator) if self.binarize == "dynamic" else x

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability of the row, summed over features."""
        return BernoulliDistribution(logits=raw, validate_args=False).log_prob(x).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """Probability of a one."""
        return torch.sigmoid(raw)

    def draw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Zeros and ones."""
        return torch.bernoulli(raw.sigmoid(), generator=generator)

    def initial_bias(self, mean: np.ndarray) -> np.ndarray:
        """Logit of the mean, for features that are never or always one as if one row in a thousand differed."""
        return logit(mean.clip(1e-3, 1 - 1e-3))


class IntegerValued(Likelihood):
    """Integers from zero on: what counts and categories have in common."""

    _called = "counts of 0 or more"

    @property
    def _name(self) -> str:
        return type(self).__name__.lower()

    def check(self, X: np.ndarray) -> None:
        """Refuse negative values and fractions."""
        if X.min() < 0:
            raise ValueError(f"likelihood='{self._name}' needs {self._called}, but X has the value {X.min():.6g}.")
        if (fractions := np.floor(X) != X).any():
            raise ValueError(
                f"likelihood='{self._name}' needs whole numbers, but X has the value {X[fractions][0]:.6g}; "
                "round X, or use likelihood='gaussian'."
            )


@by_params(check=lambda likelihood: likelihood.check_parameters())
class Poisson(IntegerValued):
    """Counts, the decoder's output being the logarithm of their mean.

    Examples
    --------
    >>> from sk_autoenc import Poisson
    >>> Poisson()
    Poisson()
    """

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability of the row, summed over features."""
        # torch's distribution takes the logarithm of exp(raw), which is lost for small rates.
        raw, x = raw.double(), x.double()  # of a million counts, float32 loses a tenth of a nat
        return (x * raw - raw.exp() - torch.lgamma(x + 1)).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """Expected count."""
        return raw.exp()

    def draw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Counts."""
        return torch.poisson(raw.exp(), generator=generator)

    def initial_bias(self, mean: np.ndarray) -> np.ndarray:
        """Logarithm of the mean, for features that are always zero as if it were 0.001."""
        return np.log(mean.clip(1e-3))


@by_params(check=lambda likelihood: likelihood.check_parameters())
class Multinomial(IntegerValued):
    """Counts of one draw per row of known size (words of a document): the output is a logit per feature.

    ``inverse_transform`` gives each feature's share of the row, ``reconstruct`` the share times the row's total.

    Parameters
    ----------
    total : int or None, default=None
        Total count of a row that is sampled; None takes the median of the training rows.

    Examples
    --------
    >>> from sk_autoenc import Multinomial
    >>> Multinomial()
    Multinomial()
    """

    def __init__(self, total: int | None = None):
        self.total = total

    def check_parameters(self) -> None:
        """Raise ``ValueError`` for parameters out of range, in a fitted likelihood too, where ``total`` may be 0."""
        if self.total is not None and self.total != 0 and not is_count(self.total):
            raise ValueError(f"Multinomial: total must be None or an integer of 1 or more, got {self.total!r}.")

    def check_fitted(self, n_features: int) -> None:
        """Raise ``ValueError`` if ``total`` is not filled in."""
        if self.total is None:
            raise ValueError("Multinomial: total is None, which fit would have filled in.")

    def fitted_to(self, X: np.ndarray) -> "Multinomial":
        """With the total of a sampled row; ``ValueError`` if it is given and no whole number of 1 or more."""
        if self.total is None:
            return Multinomial(int(np.median(X.sum(axis=1))))  # 0 where most rows are empty
        if not is_count(self.total):
            raise ValueError(f"Multinomial: total must be None or an integer of 1 or more, got {self.total!r}.")
        return self

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability of the row's counts given its total."""
        # torch's distribution checks its logits, whatever it is told; training has to see a loss that is not finite.
        raw, x = raw.double(), x.double()  # of a million counts, float32 loses a nat
        n_orders = torch.lgamma(x.sum(-1) + 1) - torch.lgamma(x + 1).sum(-1)
        return n_orders + (x * raw.log_softmax(-1)).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """Share of each feature; a row sums to one."""
        return raw.softmax(-1)

    def draw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Counts that add up to ``total``."""
        assert self.total is not None
        # torch's own would hold every single draw, of a million a row.
        seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
        counts = np.random.default_rng(int(seed)).multinomial(self.total, raw.double().softmax(-1).cpu().numpy())
        return torch.from_numpy(counts).to(raw)

    def total_count(self, x: Tensor) -> Tensor:
        """The row's total count."""
        return x.sum(-1, keepdim=True)

    def initial_bias(self, mean: np.ndarray) -> np.ndarray:
        """Logarithm of the mean counts, for features that are always zero as if they were 0.001."""
        return np.log(mean.clip(1e-3))
