"""What the decoder's output says about the rows: gaussian, student_t, bernoulli, categorical, poisson, multinomial.

A likelihood reads ``raw``, what the decoder returns, and ``x``, the rows. It knows nothing of networks or
training; what it has to learn (a noise variance) is a small module, its ``head``, that ends the decoder.
"""

import math
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import logit
from sklearn.base import BaseEstimator, clone
from torch import Tensor, nn
from torch.distributions import Bernoulli as BernoulliDistribution
from torch.distributions import Multinomial as MultinomialDistribution

from sk_autoenc.nn.noise import GaussianNoise, NoiseOutput, StudentNoise, draw_student, student_log_prob

#: Up to so many features, noise is correlated by default: a matrix of their square is learned.
MOST_CORRELATED = 128


class Likelihood(BaseEstimator, metaclass=ABCMeta):
    """What every likelihood answers; the defaults suit those with one output a feature and no unit of length."""

    #: Whether rows are centred and scaled before the network and its output is scaled back.
    scales_rows = False

    @abstractmethod
    def check(self, X: np.ndarray) -> None:
        """Raise ``ValueError`` for values that rows of this likelihood cannot have."""

    def check_scored(self, X: np.ndarray) -> None:
        """Raise ``ValueError`` for values that can be trained on but have no probability."""
        self.check(X)

    def fitted_to(self, X: np.ndarray) -> "Likelihood":
        """This likelihood, with what is left to the training rows filled in."""
        return self

    def n_inputs(self, n_features: int) -> int:
        """Number of columns that the encoder reads."""
        return n_features

    def n_outputs(self, n_features: int, *, noise: bool) -> int:
        """Number of columns that the decoder owes; ``noise``: also for how rows vary around their mean."""
        return n_features

    def encoder_input(self, x: Tensor) -> Tensor:
        """The rows as numbers that an encoder can read, before they are centred and scaled."""
        return x

    def input_range(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest number that an encoder reads in each column; ``low`` and ``high`` are of training rows."""
        return low, high

    def make_head(self, n_features: int) -> nn.Module:
        """What ends the decoder of a model that draws: it turns the decoder's columns into ``raw``."""
        return nn.Identity()

    def target(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """What a training step is to explain: the rows, or a draw that they stand for."""
        return x

    @abstractmethod
    def log_prob(self, raw: Any, x: Tensor) -> Tensor:
        """Log-probability of each row given the decoder's output; ``(..., n, d) -> (..., n)``."""

    def row_score(self, raw: Tensor, x: Tensor) -> Tensor:
        """What a deterministic autoencoder maximises; of shape ``(..., n)``, higher is better."""
        return self.log_prob(raw, x)

    def location(self, raw: Any) -> Tensor:
        """The part of ``raw`` that :meth:`mean` reads."""
        return raw

    @abstractmethod
    def mean(self, raw: Tensor) -> Tensor:
        """Expected row for the decoder's output."""

    @abstractmethod
    def draw(self, raw: Any, generator: torch.Generator) -> Tensor:
        """A row drawn for each output of the decoder."""

    def row_size(self, x: Tensor) -> Tensor | float:
        """What ``mean`` is to be multiplied by to stand beside the row ``x``."""
        return 1.0

    @abstractmethod
    def raw_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """The output that says "every row is the training mean": where the decoder's bias starts."""


class Gaussian(Likelihood):
    """Real values around the decoder's output, with normal noise.

    A deterministic autoencoder minimises the squared error, whatever the noise; its score of a row is minus that
    error, summed over features, in the squared units of the rows. Models with a density learn the noise, too.

    Parameters
    ----------
    variance : {"row", "feature", "shared"} or float, default="row"
        ``"row"``: the decoder predicts a variance for every feature of every row. ``"feature"``: one for each
        feature, which makes a linear model factor analysis. ``"shared"``: one for all, which makes it
        probabilistic PCA [1]_. A number is the variance itself, in the squared units of the rows.
    correlated : bool or "auto", default="auto"
        Whether the noise of features may be correlated, in the same way for all rows but for its size; codes are
        then the leading components and the rest is noise. ``"auto"``: with ``variance="row"`` and up to 128 features.

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

    scales_rows = True

    def __init__(self, variance: str | float = "row", *, correlated: bool | str = "auto"):
        self.variance = variance
        self.correlated = correlated

    def check(self, X: np.ndarray) -> None:
        """Accept every finite value; refuse parameters out of range."""
        name = type(self).__name__
        if isinstance(self.variance, str):
            if self.variance not in ("row", "feature", "shared"):
                raise ValueError(
                    f"{name}: variance must be 'row', 'feature', 'shared' or a number, got {self.variance!r}."
                )
        elif not self.variance > 0:
            raise ValueError(f"{name}: variance must be positive, got {self.variance!r}.")
        if self.correlated not in (True, False, "auto"):
            raise ValueError(f"{name}: correlated must be True, False or 'auto', got {self.correlated!r}.")
        if self.correlated is True and self.variance not in ("row", "feature"):
            raise ValueError(
                f"{name}: correlated=True does not go with variance={self.variance!r}; use 'row' or 'feature'."
            )

    def is_correlated(self, n_features: int) -> bool:
        """Whether the noise of features may be correlated."""
        if self.correlated == "auto":
            return self.variance == "row" and n_features <= MOST_CORRELATED
        return bool(self.correlated)

    def n_outputs(self, n_features: int, *, noise: bool) -> int:
        """A mean for each feature, and where variances are predicted one of these."""
        return n_features * (2 if noise and self.variance == "row" else 1)

    def make_head(self, n_features: int) -> GaussianNoise:
        """The learned noise."""
        return GaussianNoise(n_features, self.variance, self.is_correlated(n_features))

    def log_prob(self, raw: NoiseOutput, x: Tensor) -> Tensor:
        """Log-density of the row, in units of the scaled rows."""
        log_density_of_mean = raw.log_det() - 0.5 * x.shape[-1] * math.log(2 * math.pi)
        return torch.sub(log_density_of_mean, raw.whiten(x).square().sum(-1), alpha=0.5)

    def row_score(self, raw: Tensor, x: Tensor) -> Tensor:
        """Minus the squared error, summed over features."""
        return -(x - raw).square().sum(-1)

    def location(self, raw: NoiseOutput) -> Tensor:
        """Where the distribution lies."""
        return raw.location

    def mean(self, raw: Tensor) -> Tensor:
        """The location itself."""
        return raw

    def draw(self, raw: NoiseOutput, generator: torch.Generator) -> Tensor:
        """The mean, with noise."""
        return raw.color(torch.randn(raw.location.shape, generator=generator, device=raw.location.device))

    def raw_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """The mean itself."""
        return mean


class StudentT(Gaussian):
    r"""Real values around the decoder's output, with noise of Student's t distribution.

    For rows with rare far values. Under normal noise these decide the fit and are still next to impossible when they
    come up again; here tails are learned, from those of a normal distribution to far heavier ones [1]_. With the noise
    brought to independent entries of scale 1, the density of entry :math:`j` is

    .. math::
        \frac{\Gamma((\nu_j + 1) / 2)}{\Gamma(\nu_j / 2) \sqrt{\pi \nu_j}}
        \left(1 + \frac{t^2}{\nu_j}\right)^{-(\nu_j + 1) / 2}

    with degrees of freedom :math:`\nu_j > 1`, the same for all rows; the decoder's output is the mean of rows. Where
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
        return raw.log_det() + student_log_prob(raw.whiten(x), raw.degrees).sum(-1)

    def draw(self, raw: NoiseOutput, generator: torch.Generator) -> Tensor:
        """The mean, with noise."""
        return raw.color(draw_student(raw.location.shape, raw.degrees, generator).to(raw.location.dtype))


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
        if self.binarize not in (False, "dynamic"):
            raise ValueError(f"Bernoulli: binarize must be False or 'dynamic', got {self.binarize!r}.")
        low, high = X.min(), X.max()
        if low < 0 or high > 1:
            raise ValueError(
                "likelihood='bernoulli' needs values in [0, 1], but X has values "
                f"from {low:.6g} to {high:.6g}; rescale X, or use likelihood='gaussian'."
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

    def raw_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """Logit of the mean, for features that are never or always one as if one row in a thousand differed."""
        return logit(mean.clip(1e-3, 1 - 1e-3))


class _Whole(Likelihood):
    """Whole numbers from zero on: what counts and categories have in common."""

    _called = "counts of 0 or more"

    def check(self, X: np.ndarray) -> None:
        """Refuse negative values and fractions."""
        name = type(self).__name__.lower()
        if X.min() < 0:
            raise ValueError(f"likelihood='{name}' needs {self._called}, but X has the value {X.min():.6g}.")
        if (fractions := np.floor(X) != X).any():
            raise ValueError(
                f"likelihood='{name}' needs whole numbers, but X has the value {X[fractions][0]:.6g}; "
                "round X, or use likelihood='gaussian'."
            )


class Categorical(_Whole):
    """Categories numbered 0, 1, 2, …, as an ``OrdinalEncoder`` gives them, each feature with its own number of them.

    The encoder reads indicators, the decoder gives a logit for each category of each feature; ``inverse_transform``
    and ``reconstruct`` give the most probable category.

    Parameters
    ----------
    n_categories : int, sequence of int or None, default=None
        Number of categories of all features, or of each; None takes the highest of the training rows, plus one.

    Examples
    --------
    >>> from sk_autoenc import Categorical
    >>> Categorical(n_categories=[2, 3])
    Categorical(n_categories=[2, 3])
    """

    _called = "categories numbered from 0"

    def __init__(self, n_categories: int | Sequence[int] | None = None):
        self.n_categories = n_categories

    def check(self, X: np.ndarray) -> None:
        """Refuse what is no category."""
        super().check(X)
        if self.n_categories is None:
            return
        sizes = np.broadcast_to(self.n_categories, X.shape[1])
        if (unknown := X.max(axis=0) >= sizes).any():
            column = int(unknown.argmax())
            raise ValueError(
                f"likelihood='categorical': column {column} of X has the category {X[:, column].max():.6g}, but only "
                f"{sizes[column]} categories, from 0 on, are known; give Categorical(n_categories=...) in fit."
            )

    def fitted_to(self, X: np.ndarray) -> "Categorical":
        """With the number of categories of each feature."""
        found = X.max(axis=0).astype(int) + 1 if self.n_categories is None else self.n_categories
        return Categorical([int(size) for size in np.broadcast_to(found, X.shape[1])])

    @property
    def _sizes(self) -> list[int]:
        assert isinstance(self.n_categories, list)
        return self.n_categories

    def n_inputs(self, n_features: int) -> int:
        """One indicator a category."""
        return sum(self._sizes)

    def n_outputs(self, n_features: int, *, noise: bool) -> int:
        """One logit a category."""
        return sum(self._sizes)

    def encoder_input(self, x: Tensor) -> Tensor:
        """Indicators of the categories."""
        sizes = self._sizes
        values = torch.cat([torch.arange(size, device=x.device, dtype=x.dtype) for size in sizes])
        repeats = torch.tensor(sizes, device=x.device)
        return (x.repeat_interleave(repeats, dim=-1, output_size=sum(sizes)) == values).to(x.dtype)

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability of the row, summed over features."""
        indicators = self.encoder_input(x)
        normalizers = torch.stack([logits.logsumexp(-1) for logits in raw.split(self._sizes, -1)], -1)
        return (raw * indicators).sum(-1) - normalizers.sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """The most probable category."""
        return torch.stack([logits.argmax(-1).to(raw.dtype) for logits in raw.split(self._sizes, -1)], -1)

    def draw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """A category of each feature."""
        drawn = [torch.multinomial(logits.softmax(-1), 1, generator=generator) for logits in raw.split(self._sizes, -1)]
        return torch.cat(drawn, -1).to(raw.dtype)

    def raw_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """Logarithm of the categories' shares, for those that never occur as if it were 0.001."""
        return np.log(mean.clip(1e-3))


class Poisson(_Whole):
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
        return (x * raw - raw.exp() - torch.lgamma(x + 1)).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """Expected count."""
        return raw.exp()

    def draw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Counts."""
        return torch.poisson(raw.exp(), generator=generator)

    def raw_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """Logarithm of the mean, for features that are always zero as if it were 0.001."""
        return np.log(mean.clip(1e-3))


class Multinomial(_Whole):
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

    def fitted_to(self, X: np.ndarray) -> "Multinomial":
        """With the total of a sampled row."""
        return Multinomial(int(np.median(X.sum(axis=1)))) if self.total is None else self

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability of the row's counts given its total."""
        return MultinomialDistribution(logits=raw, validate_args=False).log_prob(x)

    def mean(self, raw: Tensor) -> Tensor:
        """Share of each feature; a row sums to one."""
        return raw.softmax(-1)

    def draw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Counts that add up to ``total``."""
        assert self.total is not None
        counts = torch.zeros_like(raw)
        if self.total:
            drawn = torch.multinomial(raw.softmax(-1), self.total, replacement=True, generator=generator)
            counts.scatter_add_(-1, drawn, torch.ones((), device=raw.device, dtype=raw.dtype).expand_as(drawn))
        return counts

    def row_size(self, x: Tensor) -> Tensor:
        """The row's total count."""
        return x.sum(-1, keepdim=True)

    def raw_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """Logarithm of the mean counts, for features that are always zero as if they were 0.001."""
        return np.log(mean.clip(1e-3))


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "gaussian": Gaussian,
    "student_t": StudentT,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "poisson": Poisson,
    "multinomial": Multinomial,
}


def present(mean: Tensor, x: Tensor) -> Tensor:
    """The rows with the mean where cells are missing (NaN): these add nothing to a squared error."""
    return torch.where(x.isnan(), mean, x)


def as_likelihood(likelihood: str | Likelihood) -> Likelihood:
    """The likelihood object; a name is short for its default."""
    return LIKELIHOODS[likelihood]() if isinstance(likelihood, str) else clone(likelihood)
