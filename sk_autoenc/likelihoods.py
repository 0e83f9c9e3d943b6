"""What the decoder's output says about the rows: gaussian, bernoulli, poisson, multinomial.

A likelihood reads ``raw``, the decoder's last layer, and ``x``, the rows. It knows nothing of
networks or training.
"""

from abc import ABCMeta, abstractmethod

import numpy as np
import torch
from scipy.special import logit
from sklearn.base import BaseEstimator, clone
from torch import Tensor
from torch.distributions import Bernoulli as BernoulliDistribution
from torch.distributions import Multinomial as MultinomialDistribution


class Likelihood(BaseEstimator, metaclass=ABCMeta):
    """What every likelihood answers; the defaults suit those with one output and no unit of length."""

    #: Whether rows are centred and scaled before the network and its output is scaled back.
    scales_rows = False

    @abstractmethod
    def check(self, X: np.ndarray) -> None:
        """Raise ``ValueError`` for values that rows of this likelihood cannot have."""

    @abstractmethod
    def row_score(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability of each row given the decoder's output, higher is better; ``(..., n, d) -> (..., n)``."""

    @abstractmethod
    def mean(self, raw: Tensor) -> Tensor:
        """Expected row for the decoder's output, of the shape of ``raw``."""

    def row_size(self, x: Tensor) -> Tensor | float:
        """What ``mean`` is to be multiplied by to stand beside the row ``x``."""
        return 1.0

    @abstractmethod
    def raw_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """The output that says "every row is the training mean": where the decoder's bias starts."""


class Gaussian(Likelihood):
    """Real values around the decoder's output, all with the same spread: squared error.

    Its score of a row is minus the squared error summed over features, in the units of the rows.

    Examples
    --------
    >>> from sk_autoenc import Gaussian
    >>> Gaussian()
    Gaussian()
    """

    scales_rows = True

    def check(self, X: np.ndarray) -> None:
        """Accept every finite value."""

    def row_score(self, raw: Tensor, x: Tensor) -> Tensor:
        """Minus the squared error, summed over features."""
        return -(x - raw).square().sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """The decoder's output itself."""
        return raw

    def raw_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """The mean itself."""
        return mean


class Bernoulli(Likelihood):
    """Values in [0, 1], the decoder's output being the logit of their mean.

    Values strictly between 0 and 1 count as shares of ones: minus their cross-entropy is the score, which is
    a log-probability for binary rows.

    Examples
    --------
    >>> from sk_autoenc import AutoencoderTransformer
    >>> AutoencoderTransformer(likelihood="bernoulli").fit([[0, 1], [1, 1], [0, 0]]).reconstruct([[0, 1]]).shape
    (1, 2)
    """

    def check(self, X: np.ndarray) -> None:
        """Refuse values outside [0, 1]."""
        low, high = X.min(), X.max()
        if low < 0 or high > 1:
            raise ValueError(
                "likelihood='bernoulli' needs values in [0, 1], but X has values "
                f"from {low:.6g} to {high:.6g}; rescale X, or use likelihood='gaussian'."
            )

    def row_score(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability of the row, summed over features."""
        return BernoulliDistribution(logits=raw, validate_args=False).log_prob(x).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """Probability of a one."""
        return torch.sigmoid(raw)

    def raw_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """Logit of the mean, for features that are never or always one as if one row in a thousand differed."""
        return logit(mean.clip(1e-3, 1 - 1e-3))


class _Counts(Likelihood):
    """Counts: what Poisson and multinomial rows have in common."""

    def check(self, X: np.ndarray) -> None:
        """Refuse negative values and fractions."""
        name = type(self).__name__.lower()
        if X.min() < 0:
            raise ValueError(f"likelihood='{name}' needs counts of 0 or more, but X has the value {X.min():.6g}.")
        if (fractions := np.floor(X) != X).any():
            raise ValueError(
                f"likelihood='{name}' needs whole numbers, but X has the value {X[fractions][0]:.6g}; "
                "round X, or use likelihood='gaussian'."
            )


class Poisson(_Counts):
    """Counts, the decoder's output being the logarithm of their mean.

    Examples
    --------
    >>> from sk_autoenc import Poisson
    >>> Poisson()
    Poisson()
    """

    def row_score(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability of the row, summed over features."""
        # torch's distribution takes the logarithm of exp(raw), which is lost for small rates.
        return (x * raw - raw.exp() - torch.lgamma(x + 1)).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """Expected count."""
        return raw.exp()

    def raw_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """Logarithm of the mean, for features that are always zero as if it were 0.001."""
        return np.log(mean.clip(1e-3))


class Multinomial(_Counts):
    """Counts of one draw per row of known size (words of a document): the output is a logit per feature.

    ``inverse_transform`` gives each feature's share of the row, ``reconstruct`` the share times the row's total.

    Examples
    --------
    >>> from sk_autoenc import Multinomial
    >>> Multinomial()
    Multinomial()
    """

    def row_score(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log-probability of the row's counts given its total."""
        return MultinomialDistribution(logits=raw, validate_args=False).log_prob(x)

    def mean(self, raw: Tensor) -> Tensor:
        """Share of each feature; a row sums to one."""
        return raw.softmax(-1)

    def row_size(self, x: Tensor) -> Tensor:
        """The row's total count."""
        return x.sum(-1, keepdim=True)

    def raw_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """Logarithm of the mean counts, for features that are always zero as if they were 0.001."""
        return np.log(mean.clip(1e-3))


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "gaussian": Gaussian,
    "bernoulli": Bernoulli,
    "poisson": Poisson,
    "multinomial": Multinomial,
}


def as_likelihood(likelihood: str | Likelihood) -> Likelihood:
    """The likelihood object; a name is short for its default."""
    return LIKELIHOODS[likelihood]() if isinstance(likelihood, str) else clone(likelihood)
