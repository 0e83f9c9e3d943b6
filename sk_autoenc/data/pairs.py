"""Rows with targets of their own shape, both scaled for the network, and its outputs as targets again."""

import math
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils import check_array, check_consistent_length

from sk_autoenc.data.dataset import Pairs, Rows
from sk_autoenc.data.scaling import Scaling, fit_channel_scaling, fit_scaling
from sk_autoenc.data.validation import as_array, check_range
from sk_autoenc.storage import Check, Plain, array, by_state, instance, or_none, text
from sk_autoenc.storage import shape as is_shape

_BLOCK = 4096

#: Targets are bounded where so large a share of their cells, and so many, have the lowest value, and as many the
#: highest.
_SHARE_AT_BOUND, _CELLS_AT_BOUND = 0.001, 10


def check_paired(X: np.ndarray, y: Any, owner: str) -> np.ndarray:
    """Targets of the rows as an array of floats with any number of axes; ``ValueError`` for what is none."""
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None.")
    y = check_array(
        as_array(y), dtype=[np.float64, np.float32], ensure_2d=False, allow_nd=True, input_name="y", estimator=owner
    )
    if y.ndim == 0 or not y.size:
        raise ValueError(f"y must hold a target for each row of X, got shape {y.shape}.")
    check_consistent_length(X, y)
    check_range(y, "y")
    return y


def channel_of_cells(n_cells: int, n_channels: int, *, channels_last: bool) -> np.ndarray:
    """The channel of each cell of a flat row."""
    cells = np.arange(n_cells)
    return cells % n_channels if channels_last else cells // (n_cells // n_channels)


def _check_together(kind: type, plain: Plain) -> None:
    """Refuse what does not fit the number of cells of rows and targets."""
    for name, shape in (("scaling", plain["shape"]), ("target_scaling", plain["target_shape"])):
        if len(plain[name].center) != math.prod(shape):
            raise ValueError(f"{kind.__name__}.{name} is for {len(plain[name].center)} cells of {math.prod(shape)}.")
    bounds = plain["bounds"]
    if bounds is not None and bounds[0] >= bounds[1]:
        raise ValueError(f"{kind.__name__}.bounds must ascend, got {bounds.tolist()}.")


def is_target_shape(value: Any, where: str) -> None:
    """The shape of a target: that of a row, or () for a number."""
    if value != () or not isinstance(value, tuple):
        is_shape(value, where)


#: What stands in files of pairs.
FIELDS: dict[str, Check] = {
    "shape": is_shape,
    "target_shape": is_target_shape,
    "dtype": text("float32|float64"),
    "scaling": instance(Scaling),
    "target_scaling": instance(Scaling),
    "bounds": or_none(array("f8", 2)),
}


@by_state(FIELDS, check=_check_together, take=lambda rows: rows.state, make=lambda plain: PairedRows(**plain))
class PairedRows:
    """Rows and targets of one shape each as float32 in the network's units, and outputs back as targets.

    Parameters
    ----------
    shape, target_shape : tuple of int
        Shapes of a row and of a target for the user. The network reads and returns flat ones.
    dtype : str
        Dtype of the training rows.
    scaling, target_scaling : Scaling or None
        Of rows and of targets; None before :meth:`fit`. A scaling of rows that is given is kept.
    bounds : ndarray of shape (2,) or None
        Lowest and highest value of predictions.
    channels, target_channels : ndarray of int or None
        The channel of each cell of images, which have a centre for each channel and one scale. None for flat rows,
        each column of which has its own.
    output_range : "auto", (low, high) or None
        Which bounds :meth:`fit` sets.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        target_shape: tuple[int, ...],
        dtype: str,
        *,
        scaling: Scaling | None = None,
        target_scaling: Scaling | None = None,
        bounds: np.ndarray | None = None,
        channels: np.ndarray | None = None,
        target_channels: np.ndarray | None = None,
        output_range: Any = None,
    ):
        self.shape, self.target_shape, self.dtype = shape, target_shape, dtype
        self.scaling, self.target_scaling, self.bounds = scaling, target_scaling, bounds
        self.channels, self.target_channels, self.output_range = channels, target_channels, output_range

    @property
    def n_features(self) -> int:
        """Number of cells of a row."""
        return math.prod(self.shape)

    @property
    def n_outputs(self) -> int:
        """Number of cells of a target."""
        return math.prod(self.target_shape)

    def fit(self, X: np.ndarray, chosen: np.ndarray, y: Any = None) -> Self:
        """Take centres, scales and bounds from the chosen rows and their targets."""
        targets = self._flat(y)
        if self.scaling is None:
            self.scaling = _fitted(X, chosen, self.channels)
        self.target_scaling = _fitted(targets, chosen, self.target_channels)
        if isinstance(self.output_range, str):
            self.bounds = bounds_of(targets[chosen])
        elif self.output_range is not None:
            self.bounds = np.asarray(self.output_range, dtype=np.float64)
        return self

    def dataset(self, X: np.ndarray, device: str, y: Any = None) -> Rows:
        """All rows and targets as the network reads them, on the device."""
        assert self.scaling is not None, "fit must be called first"
        assert self.target_scaling is not None, "fit sets both"
        pair = (_scaled(X, self.scaling), _scaled(self._flat(y), self.target_scaling))
        return Pairs(*(torch.from_numpy(part).to(device) for part in pair))

    def _flat(self, y: Any) -> np.ndarray:
        """Targets as rows; ``ValueError`` if they have another shape than those of the fit."""
        y = np.asarray(as_array(y))
        y = y if y.dtype in (np.float32, np.float64) else y.astype(np.float64)
        if y.shape[1:] != self.target_shape:
            raise ValueError(
                f"y must have targets of shape {self.target_shape}, as in the first fit, got {y.shape[1:]}."
            )
        return y.reshape(len(y), -1)

    def prepare(self, block: np.ndarray, out: np.ndarray) -> None:
        """Write one block of rows as the network reads it."""
        assert self.scaling is not None, "fit must be called first"
        self.scaling.apply(block, out)

    def to_targets(self, outputs: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Outputs of the network as targets, in the units of ``y`` and this dtype."""
        assert self.target_scaling is not None, "fit must be called first"
        targets = self.target_scaling.undo(outputs.astype(dtype, copy=False))
        if self.bounds is not None:
            targets = targets.clip(*self.bounds.astype(dtype))
        return targets.reshape(-1, *self.target_shape)

    @property
    def state(self) -> dict[str, Any]:
        """What predictions need, for files without pickle."""
        return {name: getattr(self, name) for name in FIELDS}


def bounds_of(y: np.ndarray) -> np.ndarray | None:
    """Lowest and highest value, if so many cells have them that values beyond cannot be; else None."""
    low, high = y.min(), y.max()
    needed = max(_CELLS_AT_BOUND, _SHARE_AT_BOUND * y.size)
    is_bounded = low < high and (y == low).sum() >= needed and (y == high).sum() >= needed
    return np.array([low, high], dtype=np.float64) if is_bounded else None


def _fitted(values: np.ndarray, chosen: np.ndarray, channels: np.ndarray | None) -> Scaling:
    if channels is None:
        return fit_scaling(values, chosen, by_feature=True)
    return fit_channel_scaling(values, chosen, channels)


def _scaled(values: np.ndarray, scaling: Scaling) -> np.ndarray:
    """All rows, scaled, float32."""
    out = np.empty(values.shape, dtype=np.float32)
    for start in range(0, len(values), _BLOCK):
        scaling.apply(values[start : start + _BLOCK], out[start : start + _BLOCK])
    return out
