"""Real values with normal noise, or with noise of Student's t distribution."""

import math
from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy.linalg import solve_triangular
from sklearn.base import clone
from torch import Tensor, nn

from sk_autoenc._messages import names_its_class
from sk_autoenc.likelihoods.base import Likelihood
from sk_autoenc.nn.noise import GaussianNoise, NoiseOutput, StudentNoise, draw_student, student_log_prob
from sk_autoenc.storage import by_params

#: Noise is correlated by default up to this many features, because a square matrix of this size is learned.
MOST_CORRELATED = 256

#: Least variance of noise, in units of scaled rows, whose mean variance is 1.
LEAST_VARIANCE = 1e-6


@by_params(check=lambda likelihood: likelihood.check_parameters())
class Gaussian(Likelihood):
    """Real values around the decoder's output, with normal noise.

    A deterministic autoencoder minimises the squared error, whatever the noise. Its score of a row is minus that
    error, summed over features, in the squared units of the rows. Models with a density also learn the noise.

    Noise has a floor: training starts at a variance of :math:`10^{-6}` or more, in units of the column's own variance,
    and networks read float32, with about seven digits. So a density is blind to structure that is finer than about a
    thousandth of a column's standard deviation, such as two clumps :math:`10^{-7}` wide at a distance of 1: their
    density is that of wider clumps, not a higher one.

    Parameters
    ----------
    variance : {"row", "feature", "shared"} or float, default="row"
        ``"row"``: the decoder predicts a variance for every feature of every row. ``"feature"``: one for each
        feature, which makes a linear model factor analysis. ``"shared"``: one for all, which makes it
        probabilistic PCA [1]_. A number is the variance itself, in the squared units of the rows.
    correlated : bool or "auto", default="auto"
        Whether the noise of features may be correlated. The axes of the noise are the same for all rows; its size
        along each axis and for each feature may differ. Codes are then the leading components, and the rest is noise.
        ``"auto"``: True with ``variance="row"`` and up to 256 features.

    References
    ----------
    .. [1] Tipping, Bishop (1999). Probabilistic principal component analysis. Journal of the Royal Statistical
       Society B 61(3).

    Examples
    --------
    >>> from sk_autoenc import Gaussian
    >>> Gaussian(variance="feature")
    Gaussian(variance='feature')
    """

    takes_negative, may_be_missing, has_linear_model, is_batchable = True, True, True, True
    resolves_by_rows = False

    @names_its_class
    def __init__(self, variance: str | float = "row", *, correlated: bool | str = "auto"):
        self.variance = variance
        self.correlated = correlated

    def check(self, X: np.ndarray) -> None:
        """Accept every finite value; refuse parameters out of range."""
        self.check_parameters()

    def check_parameters(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""
        name = type(self).__name__
        if isinstance(self.variance, str):
            if self.variance not in ("row", "feature", "shared"):
                raise ValueError(
                    f"{name}: variance must be 'row', 'feature', 'shared' or a number, got {self.variance!r}."
                )
        elif isinstance(self.variance, bool) or not isinstance(self.variance, Real) or not 0 < self.variance < math.inf:
            raise ValueError(f"{name}: variance must be a name or a number above 0, got {self.variance!r}.")
        if not isinstance(self.correlated, bool | np.bool_) and self.correlated != "auto":
            raise ValueError(f"{name}: correlated must be True, False or 'auto', got {self.correlated!r}.")
        if self.correlated is True and self.variance not in ("row", "feature"):
            raise ValueError(
                f"{name}: correlated=True cannot be combined with variance={self.variance!r}; use 'row' or 'feature'."
            )

    def check_purpose(self, *, is_density: bool, is_noisy: bool) -> None:
        """Refuse parameters of the noise, which a model without a density does not learn."""
        if not is_density and repr(self) != repr(Gaussian()):
            raise ValueError(
                "likelihood must be Gaussian() in a model that minimises the squared error, because the noise has no "
                f"effect there, got {self!r}; use VAETransformer, which learns the noise."
            )

    def is_scaled(self, n_features: int) -> np.ndarray:
        """All columns."""
        return np.ones(n_features, dtype=bool)

    @property
    def scales_by_feature(self) -> bool:
        """Whether each feature has a variance of its own."""
        return self.variance in ("row", "feature")

    def for_start(self, *, is_linear: bool, may_end_early: bool) -> "Gaussian":
        """With correlated noise, for ``"auto"``, only if training starts at a linear model and no cell is missing.

        From a random start, the noise learns the correlations of features before the codes do, and codes collapse. With
        missing cells, correlations would mix missing and observed cells.
        """
        if may_end_early and self.correlated is True:
            raise ValueError(f"likelihood={self!r}: correlated=True cannot be combined with unequal_lengths=True.")
        if self.correlated == "auto" and (may_end_early or not is_linear):
            return clone(self).set_params(correlated=False)
        return self

    def is_correlated(self, n_features: int) -> bool:
        """Whether the noise of features may be correlated."""
        if self.correlated == "auto":
            return self.variance == "row" and n_features <= MOST_CORRELATED
        return bool(self.correlated)

    def n_outputs(self, n_features: int, *, noise: bool) -> int:
        """A mean for each feature. Predicted variances add a scale for each, correlated noise one for each axis."""
        if not noise or self.variance != "row":
            return n_features
        return n_features * (3 if self.is_correlated(n_features) else 2)

    def make_head(self, n_features: int) -> GaussianNoise:
        """The learned noise."""
        return GaussianNoise(n_features, self.variance, self.is_correlated(n_features))

    def log_prob(self, raw: NoiseOutput, x: Tensor) -> Tensor:
        """Log-density of the row, in units of the scaled rows."""
        log_density_of_mean = -0.5 * x.shape[-1] * math.log(2 * math.pi) - raw.log_det()
        return torch.sub(log_density_of_mean, raw.whiten(x).square().sum(-1), alpha=0.5)

    def reconstruction_score(self, raw: Tensor, x: Tensor) -> Tensor:
        """Minus the squared error, summed over features."""
        return -(x - raw).square().sum(-1)

    def unscaled_score(self, score: np.ndarray, scale: float, n_scaled: np.ndarray | int) -> np.ndarray:
        """Minus the squared error in the squared units of the rows."""
        return score * scale**2

    def without_missing(self, raw: Any, x: Tensor) -> tuple[Any, Tensor]:
        """Missing cells are set to the mean. Under a noise distribution they have density 1."""
        if isinstance(raw, NoiseOutput):
            return raw.without_missing(x)
        return raw, torch.where(x.isnan(), raw, x)

    def location(self, raw: NoiseOutput) -> Tensor:
        """The mean of the noise distribution."""
        return raw.location

    def mean(self, raw: Tensor) -> Tensor:
        """The location itself."""
        return raw

    def draw(self, raw: NoiseOutput, generator: torch.Generator) -> Tensor:
        """The mean, with noise."""
        return raw.color(
            torch.randn(raw.location.shape, dtype=torch.float32, generator=generator, device=raw.location.device)
        )

    def initial_bias(self, mean: np.ndarray) -> np.ndarray:
        """The mean itself."""
        return mean

    def start_noise(self, head: nn.Module, variance: np.ndarray, scale: np.ndarray) -> None:
        """Set the noise to the features' variances, to their mean, or to the user's variance."""
        assert isinstance(head, GaussianNoise)
        known = self.known_variance(variance, scale)
        set_noise(head, known)
        head.init_tails()

    def known_variance(self, variance: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Variance of each feature's noise in the scaled rows; ``variance`` is that of the features."""
        if self.variance == "shared":
            return np.full(len(variance), max(variance.mean(), LEAST_VARIANCE))
        if isinstance(self.variance, str):
            return variance.clip(LEAST_VARIANCE)
        return np.broadcast_to(self.variance / scale**2, len(variance)).copy()


def set_noise(head: GaussianNoise, covariance: np.ndarray) -> None:
    """Set a head to normal noise of this covariance, ``(d, d)``, or of these variances, ``(d,)``."""
    if covariance.ndim == 1 and head.is_correlated:
        covariance = np.diag(covariance)
    if not head.is_correlated:
        whitener = 1 / np.sqrt(covariance if covariance.ndim == 1 else covariance.diagonal())
    else:
        whitener = solve_triangular(np.linalg.cholesky(covariance), np.eye(len(covariance)), lower=True)
    with torch.no_grad():
        head.set(torch.from_numpy(whitener))


@by_params(check=lambda likelihood: likelihood.check_parameters())
class StudentT(Gaussian):
    r"""Real values around the decoder's output, with noise of Student's t distribution.

    It suits rows with rare extreme values. Under normal noise such values dominate the fit, and new ones have nearly no
    probability. Here tails are learned, from those of a normal distribution to far heavier ones [1]_. After the noise
    is transformed to independent entries of scale 1, the density of entry :math:`j` is

    .. math::
        \frac{\Gamma((\nu_j + 1) / 2)}{\Gamma(\nu_j / 2) \sqrt{\pi \nu_j}}
        \left(1 + \frac{t^2}{\nu_j}\right)^{-(\nu_j + 1) / 2}

    with degrees of freedom :math:`\nu_j > 1`, the same for all rows. The decoder's output is the mean of rows. If
    training starts at a linear model and that is kept, its noise is normal.

    Parameters
    ----------
    variance : {"row", "feature", "shared"} or float, default="row"
        What has a scale of its own, as in :class:`Gaussian`: the squared scale, which is the variance of normal noise
        (that of Student's t distribution is larger, by :math:`\nu / (\nu - 2)` where :math:`\nu > 2`).
    correlated : bool or "auto", default="auto"
        As in :class:`Gaussian`.

    References
    ----------
    .. [1] Lange, Little, Taylor (1989). Robust statistical modeling using the t distribution. Journal of the American
       Statistical Association 84(408).

    Examples
    --------
    >>> from sk_autoenc import StudentT
    >>> StudentT(variance="feature")
    StudentT(variance='feature')
    """

    def make_head(self, n_features: int) -> StudentNoise:
        """The learned noise."""
        return StudentNoise(n_features, self.variance, self.is_correlated(n_features))

    def log_prob(self, raw: NoiseOutput, x: Tensor) -> Tensor:
        """Log-density of the row, in units of the scaled rows."""
        return student_log_prob(raw.whiten(x), raw.degrees).sum(-1) - raw.log_det()

    def draw(self, raw: NoiseOutput, generator: torch.Generator) -> Tensor:
        """The mean, with noise."""
        return raw.color(draw_student(raw.location.shape, raw.degrees, generator).to(raw.location.dtype))
