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
    """Values in [0, 1]. The decoder's output is the logit of their mean.

    The score is minus the cross-entropy, which is a log-probability for zeros and ones. Values between 0 and 1 count
    as shares of ones.

    Parameters
    ----------
    binarize : False or "dynamic", default=False
        ``"dynamic"``: a generative model is trained on zeros and ones, which are drawn at every step; a value is the
        probability of a one [1]_. Rows to score must be zeros and ones.

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

    @property
    def is_batchable(self) -> bool:
        """Whether ``vmap`` takes its functions: not the draw of zeros and ones, which would be the same for all."""
        return not self.binarize

    def check(self, X: np.ndarray) -> None:
        """Refuse values outside [0, 1]."""
        self.check_parameters()
        low, high = X.min(), X.max()
        if low < 0 or high > 1:
            raise ValueError(
                "likelihood='bernoulli': X must have values in [0, 1], got values "
                f"from {low:.6g} to {high:.6g}; rescale X, or use likelihood='gaussian'."
            )

    def check_parameters(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""
        if self.binarize not in (False, "dynamic"):
            raise ValueError(f"Bernoulli: binarize must be False or 'dynamic', got {self.binarize!r}.")

    def check_purpose(self, *, is_density: bool, is_noisy: bool) -> None:
        """Refuse binarised rows in models without a density."""
        if not is_density and self.binarize:
            raise ValueError(
                f"likelihood={self!r}: binarize must be False in a model without a density, got {self.binarize!r}; use "
                "Bernoulli(), or VAETransformer."
            )

    def check_scored(self, X: np.ndarray) -> None:
        """Refuse values between 0 and 1 if the model is trained on binarised rows."""
        self.check(X)
        if self.binarize == "dynamic" and (grey := (X != 0) & (X != 1)).any():
            raise ValueError(
                f"Bernoulli(binarize='dynamic'): rows to score must be zeros and ones, got the value "
                f"{X[grey][0]:.6g}; binarise X, for example by (rng.random(X.shape) < X).astype(X.dtype)."
            )

    def input_range(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """From 0 to 1, because binarised rows may lie outside the range of the training values."""
        return torch.zeros_like(low), torch.ones_like(high)

    def target(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The rows; if they are binarised, a draw of zeros and ones."""
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
    """Integers from 0 on: base class for counts and categories."""

    is_batchable = True

    _called = "counts of 0 or more"

    @property
    def _name(self) -> str:
        return type(self).__name__.lower()

    def check(self, X: np.ndarray) -> None:
        """Refuse negative values and fractions."""
        if X.min() < 0:
            raise ValueError(f"likelihood='{self._name}': X must have {self._called}, got {X.min():.6g}.")
        if (fractions := np.floor(X) != X).any():
            raise ValueError(
                f"likelihood='{self._name}': X must be integer-valued, got {X[fractions][0]:.6g}; "
                "round X, or use likelihood='gaussian'."
            )


@by_params(check=lambda likelihood: likelihood.check_parameters())
class Poisson(IntegerValued):
    """Counts. The decoder's output is the logarithm of their mean.

    Examples
    --------
    >>> from sk_autoenc import Poisson
    >>> Poisson()
    Poisson()
    """

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability of the row, summed over features."""
        # torch's distribution takes the logarithm of exp(raw), which loses precision for small rates.
        raw, x = raw.double(), x.double()  # for a million counts, float32 is wrong by a tenth of a nat
        return (x * raw - raw.exp() - torch.lgamma(x + 1)).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """Expected count."""
        return raw.exp()

    def draw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Draw counts."""
        return torch.poisson(raw.exp(), generator=generator)

    def initial_bias(self, mean: np.ndarray) -> np.ndarray:
        """Logarithm of the mean, which counts as 0.001 at least."""
        return np.log(mean.clip(1e-3))


@by_params(check=lambda likelihood: likelihood.check_parameters())
class Multinomial(IntegerValued):
    """Counts with a given total in each row, such as words of a document. The decoder gives a logit for each feature.

    ``inverse_transform`` returns each feature's share of the total, ``reconstruct`` the share times the row's total.

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

    def resolve(self, X: np.ndarray) -> "Multinomial":
        """With the total count of a sampled row; ``ValueError`` if the user's is not an integer of 1 or more."""
        if self.total is None:
            return Multinomial(int(np.median(X.sum(axis=1))))  # 0 if most rows are empty
        if not is_count(self.total):
            raise ValueError(f"Multinomial: total must be None or an integer of 1 or more, got {self.total!r}.")
        return self

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability of the row's counts given its total."""
        # torch's distribution raises for logits that are not finite. Training must see such a loss instead.
        raw, x = raw.double(), x.double()  # for a million counts, float32 is wrong by a nat
        n_orders = torch.lgamma(x.sum(-1) + 1) - torch.lgamma(x + 1).sum(-1)
        return n_orders + (x * raw.log_softmax(-1)).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """Share of each feature; a row sums to one."""
        return raw.softmax(-1)

    def draw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Draw counts that add up to ``total``."""
        assert self.total is not None
        # torch's sampler would store every single draw, a million for such a total.
        seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
        counts = np.random.default_rng(int(seed)).multinomial(self.total, raw.double().softmax(-1).cpu().numpy())
        return torch.from_numpy(counts).to(raw)

    def total_count(self, x: Tensor) -> Tensor:
        """The row's total count."""
        return x.sum(-1, keepdim=True)

    def initial_bias(self, mean: np.ndarray) -> np.ndarray:
        """Logarithm of the mean counts, which count as 0.001 at least."""
        return np.log(mean.clip(1e-3))
