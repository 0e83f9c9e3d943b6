"""What models that only draw can do: rows from latent codes, and figures that say how good these are."""

import math
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sk_autoenc._compat import StrOptions, in_chosen_container
from sk_autoenc._messages import warn
from sk_autoenc.base.estimator import FitRequest, NeuralEstimator
from sk_autoenc.data.dataset import Batch, Rows
from sk_autoenc.data.observed import VALUES
from sk_autoenc.data.splits import FEW_ROWS, Split
from sk_autoenc.data.validation import check_codes
from sk_autoenc.metrics import energy_distance, precision_recall_density_coverage
from sk_autoenc.nn.defaults import cpu_by_default
from sk_autoenc.training.inference import map_rows
from sk_autoenc.training.randomness import draw_seed, make_generator
from sk_autoenc.training.run import Result
from sk_autoenc.training.selection import N_NEIGHBORS

#: Codes that go through the generator at once.
BLOCK = 1024

#: Rows and samples that are compared at most.
_N_COMPARED = 1000

#: With fewer rows than this, figures are too noisy for a warning.
_FEW_COMPARED = 50

#: Samples have collapsed where less than this share of the rows is covered (.97 if samples are distributed like rows),
#: or where the energy distance is more than this share of the mean distance between rows.
_COVERED, _APART = 0.5, 0.1


def sampling_generator(n_samples: Any, random_state: Any) -> torch.Generator:
    """A generator of its own for one call of ``sample``, whose number of rows is checked."""
    check_scalar(n_samples, "n_samples", Integral)
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, got {n_samples}.")
    return make_generator(draw_seed(random_state), "sampling")


def evenly(n: int, most: int) -> Tensor:
    """At most so many numbers below ``n``, evenly spaced."""
    return torch.arange(n) if n <= most else torch.linspace(0, n - 1, most, dtype=torch.float64).long()


def some_of(rows: Rows) -> Batch:
    """At most 1000 of the rows, evenly spaced."""
    return rows.gather(rows.index[evenly(len(rows), _N_COMPARED).to(rows.index.device)])


def draw_beside(net: Any, rows: Rows, as_drawn: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """At most 1000 of the rows, and 1000 samples; of rows with conditions both have these as further columns.

    ``as_drawn`` gives what the network would read of samples, where these do not hold all that it makes.
    """
    batch = some_of(rows)
    module, device = net.plain_module, batch.x.device
    generator = make_generator(net.seed, "validation")  # on the CPU, and anew at every call
    codes = module.draw_codes(_N_COMPARED, generator).to(device)
    of_row = torch.arange(len(codes), device=device) % len(batch)
    was_training = module.training
    module.eval()
    with torch.inference_mode():
        if batch.y is None:
            made, real = as_drawn(decoded(module, codes)), batch.x
        else:
            condition = batch.y[of_row]
            drawn = as_drawn(decoded(module, codes, condition))
            made = torch.cat([drawn, condition.to(drawn.device)], dim=1)
            real = torch.cat([batch.x, batch.y], dim=1)
    module.train(was_training)
    return real.cpu(), made.cpu()


def decoded(module: Any, codes: Tensor, condition: Tensor | None = None) -> Tensor:
    """Rows of codes, block by block."""
    if condition is None:
        return torch.cat([module.decode(some) for some in codes.split(BLOCK)])
    blocks = zip(codes.split(BLOCK), condition.split(BLOCK), strict=True)
    return torch.cat([module.decode(some, given) for some, given in blocks])


class NeuralSampler(NeuralEstimator):
    """A model that draws rows; its module has ``decode`` and ``draw_codes``."""

    _parameter_constraints: dict = {
        **NeuralEstimator._parameter_constraints,
        "values": [StrOptions(set(VALUES))],
    }

    #: What codes are drawn from; an object of ``priors.py``.
    latent_: Any

    n_components_: int
    sample_quality_: dict[str, float]

    # -- what plans of samplers share

    def _splits(self, request: FitRequest) -> tuple[Split, ...]:
        """Rows are held out for figures also without early stopping, where there are enough for one split."""
        if self.early_stopping:
            return super()._splits(request)
        if request.X is None or request.is_chunk or len(request.X) < FEW_ROWS:
            return ()
        return self._make_splits(request)

    # -- results

    def _describe(self, result: Result, rows: Rows, *, whole: bool) -> None:
        compared = rows if result.held_out is None else result.held_out
        pair = draw_beside(result.net, compared, self._data.as_drawn)
        real, made = (part.double().numpy() for part in pair)
        self.sample_quality_ = sample_quality(real, made)
        if whole and len(real) >= _FEW_COMPARED and not result.interrupted:
            self._warn_of_collapse(real)

    def _warn_of_collapse(self, real: np.ndarray) -> None:
        distance, coverage = self.sample_quality_["energy_distance"], self.sample_quality_["coverage"]
        between = energy_distance(real, np.broadcast_to(real.mean(axis=0), (2, real.shape[1]))).statistic
        if between == 0:  # all rows are equal, and there is nothing to collapse
            return
        share = distance / between
        if coverage >= _COVERED and share <= _APART:
            return
        warn(
            f"The generator has collapsed, or has not learned yet: samples cover {coverage:.0%} of the rows (97 % if "
            f"they are distributed like these), and their energy distance is {distance:.3g}, {share:.0%} of that of "
            f"the rows' mean. {self._remedy()}",
            ConvergenceWarning,
        )

    def _remedy(self) -> str:
        """What may help against collapse."""
        return "Try a larger max_iter."

    # -- public

    def set_output(self, *, transform=None):
        """Choose what holds samples.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            An array, or a data frame with the columns of ``fit``; None changes nothing.

        Returns
        -------
        self : object
            The estimator.
        """
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    @cpu_by_default()
    def sample(self, n_samples=1, random_state=None):
        """Draw rows.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws; an integer gives the same rows at every call.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Rows in the units and the dtype of the rows that ``fit`` saw; a DataFrame with their names after
            ``set_output(transform="pandas")`` or ``"polars"``. After a fit to a data frame of mixed columns, one of the
            same types.
        """
        check_is_fitted(self)
        return self._rows_out(self._draw(n_samples, sampling_generator(n_samples, random_state)))

    def _draw(self, n_samples: int, generator: torch.Generator, condition: Tensor | None = None) -> np.ndarray:
        """Rows in the units of ``fit``, of a table encoded.

        Codes are drawn on the CPU, so that a seed gives the same on every device.
        """
        codes = self.latent_.sample(n_samples, generator).float().to(self.device_)
        with torch.inference_mode():
            made = decoded(self.net_.module_, codes, None if condition is None else condition.to(self.device_))
        return self._data.to_rows(made.cpu().numpy(), np.dtype(self._data.dtype))

    def _rows_out(self, rows: np.ndarray, like: Any = None) -> Any:
        """Rows as the caller gets them: a data frame of the types of ``fit``, or what ``set_output`` asks for."""
        if self._data.is_table:
            return self._data.table.decode(rows, snap=True, like=like)
        return in_chosen_container(self, rows, like=like)

    def inverse_transform(self, Z):
        """Rows that the generator makes of codes.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components_)
            Codes; ``sample`` draws them from ``latent_``.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Rows, in the dtype of ``Z`` (float64 unless that is float32). A row does not depend on the other codes. A
            DataFrame as from :meth:`sample`.
        """
        check_is_fitted(self)
        codes = check_codes(Z, "Z", self.n_components_, type(self).__name__)
        rows = self._data.to_rows(map_rows(self.net_.module_.decode, codes, self.device_), codes.dtype)
        return self._rows_out(rows, like=Z)


def sample_quality(real: np.ndarray, made: np.ndarray) -> dict[str, float]:
    """Energy distance of the samples, and the other figures of ``metrics`` of as many as rows; NaN for few rows."""
    names = ("precision", "recall", "density", "coverage")
    if len(real) < 2 * N_NEIGHBORS:
        return {"energy_distance": math.nan, **dict.fromkeys(names, math.nan)}
    found = precision_recall_density_coverage(real, made[: len(real)], n_neighbors=N_NEIGHBORS)
    return {"energy_distance": energy_distance(real, made).statistic, **found._asdict()}
