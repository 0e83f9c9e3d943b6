"""Baselines of pairs: the mean, a copy, bicubic enlargement, the best linear filter, ridge regression.

Each is a linear model in closed form, and the one with the lowest error on held-out training rows is where training
starts. The filter is the ridge regression of every pixel on the 5 x 5 pixels around it: the best linear map that does
the same everywhere.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.linalg import lstsq, svd
from sklearn import config_context
from sklearn.linear_model import Ridge
from torch import Tensor

from sk_autoenc.data.dataset import Pairs
from sk_autoenc.data.pairs import PairedRows
from sk_autoenc.data.splits import fold_groups
from sk_autoenc.initialization.start import Start
from sk_autoenc.nn.convolution import Pair
from sk_autoenc.nn.pairs import Baseline, PairLayout, PairNetwork, kernel_size, padded

#: The baselines, each before those that replace it only if their error is lower.
BASELINES = ("mean", "copy", "bicubic", "filter", "ridge")

#: Rows by which baselines are compared at most; below the second number, each is held out once in so many folds.
_MOST_COMPARED, _FEW_COMPARED, _N_FOLDS = 3000, 600, 4

#: Ridge regression reads no more columns than this, nor has more numbers as weights.
_MOST_RIDGE, _MOST_WEIGHTS = 2048, 2**24

#: Rows by which the penalty of ridge regression is chosen at most, and penalties, as shares of their total variance.
_MOST_TUNED, _PENALTIES = 2500, np.logspace(-7, 0, 15)

#: Pixels that the filter is fitted to at most, cells of a neighbourhood that it reads at most, and its penalty, as a
#: share of their mean variance.
_MOST_PIXELS, _MOST_TAPS, _FILTER_PENALTY = 400_000, 1024, 1e-5

#: Pixels of a neighbourhood that are gathered at once.
_BLOCK = 20_000

_SMALLEST_GAIN = 1e-3


class Fitted(NamedTuple):
    """What a baseline is set to."""

    bias: Tensor
    weight: Tensor | None = None
    kernel: Tensor | None = None


class BaselineStart(Start):
    """At a linear baseline, beside a network whose output is still zero.

    Parameters
    ----------
    data : PairedRows
        What reads rows and targets.
    layout : PairLayout or None
        How these hold images.
    name : str
        One of ``BASELINES``, or ``"auto"``: the best on held-out training rows.
    loss : callable
        ``(prediction, target) -> (n,)``, by whose roots baselines are compared.
    seed : int
        Seeds the order in which rows are held out.
    groups : ndarray or None
        The number of the group of each row of the fit; rows of one group are held out together.
    is_model : bool
        Whether the baseline is kept unless the network is significantly better.
    prepare : callable or None
        ``(module) -> None``, called last; sets weights of the network.
    """

    def __init__(
        self,
        data: PairedRows,
        layout: PairLayout | None,
        *,
        name: str,
        loss: Callable[[Tensor, Tensor], Tensor],
        seed: int,
        groups: np.ndarray | None = None,
        is_model: bool = True,
        prepare: Callable[[PairNetwork], None] | None = None,
    ):
        self.data, self.layout, self.name, self.loss, self.seed = data, layout, name, loss, seed
        self.groups, self.is_model, self.prepare = groups, is_model, prepare
        self._chosen: tuple[str, Tensor] | None = None

    def set(self, module: Any, rows: Any) -> None:
        x, y = rows.data[rows.index], rows.target[rows.index]
        if self._chosen is None:  # once for a fit, by its first rows, which are all that it trains on
            self._chosen = self._choose(Pairs(x, y), self._groups_of(rows))
        name, residual = self._chosen
        self._fit(name, x, y, module.baseline, self._groups_of(rows))
        with torch.no_grad():
            set_range(module, x)
            spread = residual.square().mean(0 if module.gain.numel() > 1 else None).sqrt()
            module.gain.copy_(spread.clamp_min(_SMALLEST_GAIN).expand_as(module.gain))
            module.silence()
            if self.prepare is not None:
                self.prepare(module)

    def refit(self, module: Any, rows: Any) -> None:
        self.set(module, rows)

    def _groups_of(self, rows: Any) -> np.ndarray | None:
        """The groups of these rows; None if there are fewer than two."""
        groups = None if self.groups is None else self.groups[rows.index.numpy()]
        return groups if groups is not None and len(np.unique(groups)) > 1 else None

    def _choose(self, rows: Pairs, groups: np.ndarray | None) -> tuple[str, Tensor]:
        """The name of the best baseline, and its residuals on rows that it was not fitted to."""
        names = [self.name] if self.name != "auto" else available(self.data, self.layout)
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(rows), generator=generator)[:_MOST_COMPARED]
        if len(order) < 2:
            name = names[min(1, len(names) - 1)] if self.layout is not None else names[0]
            return name, rows.target
        parts = self._parts(order, groups, generator)
        residuals: dict[str, list[Tensor]] = {name: [] for name in names}
        errors: dict[str, list[Tensor]] = {name: [] for name in names}
        for held_out in parts:
            train = order[~torch.isin(order, held_out)]
            among = None if groups is None else groups[train.numpy()]
            for name in names:
                baseline = Baseline(self.data.n_features, self.data.n_outputs, self.layout).eval()
                self._fit(name, rows.data[train], rows.target[train], baseline, among)
                target = rows.target[held_out]
                with torch.no_grad():
                    found = baseline(rows.data[held_out])
                residuals[name].append(target - found)
                errors[name].append(self.loss(found, target).double().sqrt())
        means = {name: float(torch.cat(found).mean()) for name, found in errors.items()}
        best = min(names, key=means.__getitem__)
        return best, torch.cat(residuals[best])

    def _parts(self, order: Tensor, groups: np.ndarray | None, generator: torch.Generator) -> list[Tensor]:
        """Rows to hold out one after the other; of many rows a fifth alone."""
        if groups is not None:
            of_order = np.unique(groups[order.numpy()], return_inverse=True)[1]
            if of_order.max() > 0:
                return [order[held_out] for _, held_out in fold_groups(of_order, generator)]
        if len(order) < _FEW_COMPARED:
            return list(order.tensor_split(min(_N_FOLDS, len(order))))
        return [order[: len(order) // 5]]

    def _fit(self, name: str, x: Tensor, y: Tensor, baseline: Baseline, groups: np.ndarray | None = None) -> None:
        if name == "mean":
            fitted = Fitted(y.mean(0) if self.layout is None else self._of_channels(self._channel_means(y)))
        elif name == "ridge":
            fitted = fit_ridge(x, y, groups)
        elif self.layout is None:
            fitted = self._copy_of_flat()
        elif name == "filter":
            kernel, bias = fit_filter(x, y, self.layout)
            fitted = Fitted(self._of_channels(bias), kernel=kernel)
        else:
            fitted = self._in_units(COPIES[name](self.layout), baseline)
        baseline.set(BASELINES.index(name), fitted.bias, fitted.weight, fitted.kernel)

    def _channel_means(self, y: Tensor) -> Tensor:
        assert self.layout is not None
        return self.layout.output_maps(y).mean((0, 2, 3))

    def _of_channels(self, values: Tensor) -> Tensor:
        """A value for each channel of the grid, as a row of the output."""
        assert self.layout is not None
        maps = values[:, None, None].expand(-1, *self.layout.sides)
        return self.layout.output_rows(maps[None].float())[0]

    def _copy_of_flat(self) -> Fitted:
        """A copy of flat rows: a diagonal matrix between units."""
        (center, scale), (into, unit) = self._units()
        return Fitted((center - into) / unit, weight=torch.diag(scale / unit))

    def _in_units(self, kernel: Tensor, baseline: Baseline) -> Fitted:
        """A kernel of raw values as one of scaled rows, and its bias for every cell."""
        (center, scale), (into, unit) = self._units()
        assert self.layout is not None
        baseline.kernel.copy_(kernel)
        moved = self.layout.output_rows(baseline.convolve(self.layout.input_maps(center[None])))[0]
        return Fitted((moved - into) / unit, kernel=kernel * float(scale[0] / unit[0]))

    def _units(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Centres and scales of the cells of rows and targets."""
        found = []
        for scaling in (self.data.scaling, self.data.target_scaling):
            assert scaling is not None, "fitted before a start is set"
            center = torch.from_numpy(scaling.center)
            found.append((center.float(), torch.as_tensor(scaling.scale).expand(len(center)).float()))
        return found[0], found[1]


def set_range(module: PairNetwork, x: Tensor) -> None:
    """Set the range to which the network's input is clipped: of each column, or of all cells of images."""
    low, high = x.amin(0), x.amax(0)
    if module.layout is not None:
        low, high = low.min(), high.max()
    module.low.copy_(low.expand_as(module.low))
    module.high.copy_(high.expand_as(module.high))


def available(data: PairedRows, layout: PairLayout | None) -> list[str]:
    """Baselines that rows and targets of these shapes can have."""
    names = ["mean"]
    if layout is None:
        names += ["copy"] if data.n_features == data.n_outputs else []
    else:
        if copied_channels(layout) is not None:
            names.append("bicubic" if layout.up != (1, 1) else "copy")
        if layout.n_in * np.prod(kernel_size(layout)) <= _MOST_TAPS:
            names.append("filter")
    is_small = data.n_features * data.n_outputs <= _MOST_WEIGHTS and data.n_features <= _MOST_RIDGE
    return [*names, "ridge"] if is_small else names


# -- copies of images, as kernels


def copied_channels(layout: PairLayout) -> Tensor | None:
    """Which input channel each output channel copies: the last ones, or the only one; None if there are too few."""
    n_in, n_out = layout.input.n_channels, layout.output.n_channels
    if n_in == 1:
        return torch.zeros(n_out, dtype=torch.long)
    return torch.arange(n_in - n_out, n_in) if n_in >= n_out else None


def copy_kernel(layout: PairLayout) -> Tensor:
    """Each pixel as it is; of a larger input, the mean of the pixels that lie in it."""
    n_parts = layout.down[0] * layout.down[1]
    high, wide = kernel_size(layout)
    kernel = torch.zeros(layout.output.n_channels, layout.input.n_channels, n_parts, high, wide)
    channels = copied_channels(layout)
    kernel[torch.arange(len(kernel)), channels, :, high // 2, wide // 2] = 1 / n_parts
    kernel = kernel.flatten(1, 2)
    return kernel.repeat_interleave(layout.n_out // len(kernel), dim=0)


def bicubic_kernel(layout: PairLayout) -> Tensor:
    """Bicubic enlargement as torch's ``interpolate`` has it: for each of a pixel's parts, weights of 5 x 5 pixels."""
    taps = torch.einsum(
        "pk,ql->pqkl", *(_cubic_taps(*pair) for pair in zip(layout.up, kernel_size(layout), strict=True))
    )
    kernel = torch.zeros(layout.output.n_channels, layout.input.n_channels, *taps.shape)
    kernel[torch.arange(len(kernel)), copied_channels(layout)] = taps
    return kernel.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def _cubic_taps(factor: int, size: int) -> Tensor:
    """Weights of the pixels along one axis, for each of the ``factor`` parts of the middle one; ``(factor, size)``."""
    impulses = torch.eye(size).reshape(size, 1, 1, size)
    if factor == 1:
        return impulses[size // 2, 0]
    wide = F.interpolate(impulses, size=(1, size * factor), mode="bicubic", align_corners=False)
    return wide[:, 0, 0, factor * (size // 2) : factor * (size // 2 + 1)].T


COPIES: dict[str, Callable[[PairLayout], Tensor]] = {"copy": copy_kernel, "bicubic": bicubic_kernel}


# -- regressions


def fit_filter(x: Tensor, y: Tensor, layout: PairLayout) -> tuple[Tensor, Tensor]:
    """Kernel and bias of the ridge regression of each pixel of the grid on the pixels around it."""
    size, (height, width) = kernel_size(layout), layout.sides
    n_rows = max(1, _MOST_PIXELS // (height * width))
    if len(x) > n_rows:
        some = torch.linspace(0, len(x) - 1, n_rows, dtype=torch.float64).long()
        x, y = x[some], y[some]
    n_taps = layout.n_in * size[0] * size[1]
    gram = torch.zeros(n_taps + 1, n_taps + 1, dtype=torch.float64)
    cross = torch.zeros(n_taps + 1, layout.n_out, dtype=torch.float64)
    for some in torch.arange(len(x)).split(max(1, _BLOCK // (height * width))):
        taps = neighbourhoods(layout.input_maps(x[some]), size)
        taps = torch.cat([taps, taps.new_ones(len(taps), 1)], dim=1)
        target = layout.output_maps(y[some]).permute(0, 2, 3, 1).flatten(0, 2)
        gram += (taps.T @ taps).double()
        cross += (taps.T @ target).double()
    penalty = _FILTER_PENALTY * gram.diagonal()[:-1].mean()
    gram.diagonal()[:-1] += penalty.clamp_min(torch.finfo(torch.float32).tiny)
    found = torch.linalg.lstsq(gram, cross, driver="gelsd").solution.T.float()  # (n_out, n_taps + 1)
    return found[:, :-1].reshape(layout.n_out, layout.n_in, *size), found[:, -1]


def neighbourhoods(maps: Tensor, size: Pair) -> Tensor:
    """The pixels around each pixel, ``(n, c, h, w) -> (n * h * w, c * size)``."""
    return F.unfold(padded(maps, size), size).transpose(1, 2).flatten(0, 1)


def fit_ridge(x: Tensor, y: Tensor, groups: np.ndarray | None = None) -> Fitted:
    """Ridge regression of whole rows; its penalty has the lowest error on groups of rows left out one by one.

    Of many rows evenly spaced ones choose the penalty, as the first ones may be of one kind, or of one group.
    """
    X, Y = x.double().numpy(), y.double().numpy()
    tuned = np.linspace(0, len(X) - 1, min(len(X), _MOST_TUNED)).astype(int)
    among = None if groups is None or len(np.unique(groups[tuned])) < 2 else groups[tuned]
    mean, target = X[tuned].mean(axis=0), Y[tuned].mean(axis=0)
    left, singular, axes = svd(X[tuned] - mean, full_matrices=False)
    penalties = _PENALTIES * max(float(np.square(singular).sum()), float(np.finfo(np.float32).tiny))
    projected = left.T @ (Y[tuned] - target)
    errors = [
        np.square(left_out_errors(left, np.square(singular), projected, Y[tuned] - target, penalty, among)).mean()
        for penalty in penalties
    ]
    penalty = float(penalties[int(np.argmin(errors))])
    coef = axes.T @ ((singular / (np.square(singular) + penalty))[:, None] * projected)
    bias = target - mean @ coef
    if len(X) > _MOST_TUNED:
        with config_context(array_api_dispatch=False):
            model: Any = Ridge(penalty * len(X) / _MOST_TUNED, solver="cholesky").fit(X, Y)
        coef, bias = model.coef_.reshape(Y.shape[1], -1).T, np.atleast_1d(model.intercept_)
    return Fitted(torch.from_numpy(bias).float(), torch.from_numpy(np.ascontiguousarray(coef.T)).float())


def left_out_errors(
    left: np.ndarray,
    squared: np.ndarray,
    projected: np.ndarray,
    target: np.ndarray,
    penalty: float,
    groups: np.ndarray | None,
) -> np.ndarray:
    r"""Errors of ridge regression on each group of rows, had it been fitted without the group.

    With the hat matrix :math:`H = 11^T / n + U \frac{s^2}{s^2 + \lambda} U^T` and errors e of the fit to all rows,
    they are :math:`(I - H_{GG})^{-1} e_G`.
    """
    shrunk = squared / (squared + penalty)
    errors, n_rows = target - left @ (shrunk[:, None] * projected), len(target)
    if groups is None:
        kept = 1 - 1 / n_rows - np.square(left) @ shrunk
        return errors / kept.clip(np.finfo(np.float32).eps)[:, None]
    for group in np.unique(groups):
        of_group = np.flatnonzero(groups == group)
        root = np.column_stack([np.full(len(of_group), n_rows**-0.5), left[of_group] * np.sqrt(shrunk)])
        alone = errors[of_group]
        if len(root) <= root.shape[1]:
            errors[of_group] = lstsq(np.eye(len(root)) - root @ root.T, alone)[0]
        else:  # Woodbury's identity, as a group may have many more rows than there are columns
            errors[of_group] += root @ lstsq(np.eye(root.shape[1]) - root.T @ root, root.T @ alone)[0]
    return errors
