"""Counts that vary more than Poisson's, and counts with more zeros: negative binomial and zero-inflated."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import issparse
from sklearn.base import clone
from torch import Tensor, nn

from sk_autoenc._messages import names_its_class
from sk_autoenc.likelihoods.discrete import IntegerValued
from sk_autoenc.storage import by_params

#: Least and greatest dispersion; the latter is Poisson's in all but the last digits.
_LEAST, _GREATEST = 1e-3, 1e6

#: The share of zeros that zero-inflated counts begin with beside those of their distribution.
_FIRST_SHARE = 0.05


class DispersedOutput(NamedTuple):
    """What the decoder says of counts, and how they vary."""

    out: Tensor  # (..., n, n_outputs): logarithms of means, then logits of zero-inflation where there are any
    log_dispersion: Tensor  # (n_features,)

    def cpu(self) -> "DispersedOutput":
        """The same on the CPU."""
        return DispersedOutput(self.out.cpu(), self.log_dispersion.cpu())


class Dispersion(nn.Module):
    """Ends the decoder with a dispersion for each feature, which is learned."""

    def __init__(self, dispersion: Sequence[float]):
        super().__init__()
        self.first = [float(value) for value in dispersion]
        self.log_dispersion = nn.Parameter(torch.zeros(len(self.first), dtype=torch.float32))

    def initialize(self, generator: torch.Generator) -> None:
        """Begin with the dispersion of the training rows."""
        self.log_dispersion.copy_(torch.tensor(self.first).log())

    def forward(self, out: Tensor) -> DispersedOutput:
        return DispersedOutput(out, self.log_dispersion)


@by_params(check=lambda likelihood: likelihood.check_parameters())
class NegativeBinomial(IntegerValued):
    r"""Counts whose variance exceeds their mean, the decoder's output being the logarithm of the mean.

    With mean :math:`\mu` and dispersion :math:`\theta`, the variance is :math:`\mu + \mu^2 / \theta`. Models with a
    density learn the dispersion of each feature. The probability of a count is

    .. math::
        \frac{\Gamma(x + \theta)}{\Gamma(\theta)\, x!} \Bigl(\frac{\theta}{\theta + \mu}\Bigr)^{\theta}
        \Bigl(\frac{\mu}{\theta + \mu}\Bigr)^{x} .

    Sums of counts from cells, as single-cell sequencing has them, are often so distributed [1]_. Covariates of batches
    are not modelled.

    Parameters
    ----------
    dispersion : sequence of float or None, default=None
        The dispersion of each feature that training begins with, and that a deterministic autoencoder keeps; None takes
        the one that explains mean and variance of the training rows.

    References
    ----------
    .. [1] Lopez, Regier, Cole, Jordan, Yosef (2018). Deep generative modeling for single-cell transcriptomics. Nature
       Methods 15.

    Examples
    --------
    >>> from sk_autoenc import NegativeBinomial
    >>> NegativeBinomial()
    NegativeBinomial()
    """

    _name, _inflated = "negative_binomial", False

    @names_its_class
    def __init__(self, dispersion: Sequence[float] | None = None):
        self.dispersion = dispersion

    def check(self, X: np.ndarray) -> None:
        """Refuse what is no count, and dispersions that X cannot have."""
        super().check(X)
        if self.dispersion is not None:
            self.check_fitted(X.shape[1])

    def check_parameters(self) -> None:
        """Raise ``ValueError`` for dispersions that no rows can have."""
        if self.dispersion is not None:
            self.check_fitted(len(self.dispersion))

    def check_fitted(self, n_features: int) -> None:
        """Raise ``ValueError`` if there is not one dispersion for each feature."""
        given = np.asarray(self.dispersion)
        in_range = given.shape == (n_features,) and given.dtype.kind in "iuf" and np.isfinite(given).all()
        if not in_range or (given <= 0).any():
            raise ValueError(
                f"{type(self).__name__}: dispersion must be None or {n_features} numbers above 0, one for each column "
                f"of X; got {self.dispersion!r:.200}."
            )

    def resolve(self, X: Any) -> "NegativeBinomial":
        """With the dispersion of each feature, by the method of moments."""
        if self.dispersion is not None:
            return clone(self).set_params(dispersion=[float(value) for value in self.dispersion])
        mean = X.mean(axis=0, dtype=np.float64)
        if issparse(X):
            variance = X.multiply(X).mean(axis=0, dtype=np.float64) - np.square(mean)
        else:
            variance = X.var(axis=0, dtype=np.float64)
        excess = np.maximum(variance - mean, np.square(mean) / _GREATEST)
        found = np.square(mean) / np.maximum(excess, np.finfo(float).tiny)
        return clone(self).set_params(dispersion=np.where(mean > 0, found, 1.0).clip(_LEAST, _GREATEST).tolist())

    def n_outputs(self, n_features: int, *, noise: bool) -> int:
        """The logarithm of a mean for each feature, and a logit where zeros are inflated."""
        return n_features * (1 + self._inflated)

    def make_head(self, n_features: int) -> Dispersion:
        """The learned dispersions."""
        assert self.dispersion is not None, "the training rows come first"
        return Dispersion(self.dispersion)

    def log_prob(self, raw: Any, x: Tensor) -> Tensor:
        """Log-probability of the row, summed over features."""
        out, log_dispersion = self._parts(raw)
        x = x.double()  # of a million counts, float32 loses a tenth of a nat
        log_mean, logits = self._split(out.double())
        log_dispersion = log_dispersion.double().clamp(np.log(_LEAST), np.log(_GREATEST))
        dispersion = log_dispersion.exp()
        log_total = torch.logaddexp(log_dispersion, log_mean)
        found = torch.lgamma(x + dispersion) - torch.lgamma(dispersion) - torch.lgamma(x + 1)
        found = found + dispersion * (log_dispersion - log_total) + torch.where(x > 0, x * (log_mean - log_total), 0.0)
        if logits is not None:  # a zero is one of the additional ones, or one of the distribution's
            found = F.logsigmoid(-logits) + found
            found = torch.where(x > 0, found, torch.logaddexp(F.logsigmoid(logits), found))
        return found.sum(-1)

    def location(self, raw: Any) -> Tensor:
        """The decoder's output, without what was learned of the dispersion."""
        return self._parts(raw)[0]

    def mean(self, raw: Tensor) -> Tensor:
        """Expected count."""
        log_mean, logits = self._split(raw)
        return log_mean.exp() if logits is None else log_mean.exp() * torch.sigmoid(-logits)

    def draw(self, raw: Any, generator: torch.Generator) -> Tensor:
        """Counts: of a Poisson distribution whose rate is drawn from a gamma distribution."""
        out, log_dispersion = self._parts(raw)
        log_mean, logits = self._split(out.double())
        # torch's gamma variates take no generator.
        seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
        draws, dispersion = np.random.default_rng(int(seed)), log_dispersion.double().exp().cpu().numpy()
        rates = draws.gamma(np.broadcast_to(dispersion, log_mean.shape)) / dispersion * log_mean.exp().cpu().numpy()
        counts = draws.poisson(rates.clip(0, 1e15))
        if logits is not None:
            counts = np.where(draws.random(counts.shape) < logits.sigmoid().cpu().numpy(), 0, counts)
        return torch.from_numpy(counts.astype(np.float64)).to(out)

    def initial_bias(self, mean: np.ndarray) -> np.ndarray:
        """Logarithm of the mean, for features that are always zero as if it were 0.001."""
        if not self._inflated:
            return np.log(mean.clip(1e-3))
        logit = np.log(_FIRST_SHARE / (1 - _FIRST_SHARE))
        return np.concatenate([np.log(mean.clip(1e-3) / (1 - _FIRST_SHARE)), np.full(len(mean), logit)])

    def _parts(self, raw: Any) -> tuple[Tensor, Tensor]:
        """Output and logarithms of dispersions; without a head, those of the training rows."""
        if isinstance(raw, DispersedOutput):
            return raw
        return raw, torch.tensor(self.dispersion, dtype=torch.float64, device=raw.device).log()

    def _split(self, out: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logarithms of means, and logits of zero-inflation."""
        if not self._inflated:
            return out, None
        log_mean, logits = out.chunk(2, -1)
        return log_mean, logits


@by_params(check=lambda likelihood: likelihood.check_parameters())
class ZeroInflatedNegativeBinomial(NegativeBinomial):
    r"""Negative binomial counts, some of which are zero whatever their mean.

    The decoder gives two numbers for each feature: the logarithm of the mean :math:`\mu` of the negative binomial
    distribution, and the logit of the share :math:`\pi` of additional zeros. The expected count is
    :math:`(1 - \pi) \mu`.

    Parameters
    ----------
    dispersion : sequence of float or None, default=None
        As in :class:`NegativeBinomial`.

    Examples
    --------
    >>> from sk_autoenc import ZeroInflatedNegativeBinomial
    >>> ZeroInflatedNegativeBinomial()
    ZeroInflatedNegativeBinomial()
    """

    _name, _inflated = "zero_inflated", True
