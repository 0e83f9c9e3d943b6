"""Which rows train and which are held out: one split, folds if rows are few, none if they are too few."""

import numpy as np
import torch
from torch import Tensor

#: With fewer rows than this, held-out rows are too few to compare networks.
MIN_ROWS = 40

#: With fewer rows than this, folds are used: every row is held out once.
FEW_ROWS = 600
N_FOLDS = 4

#: Indices of rows to train on and of rows to hold out, each in ascending order.
Split = tuple[Tensor, Tensor]


def make_splits(
    n_rows: int,
    fraction: float,
    generator: torch.Generator,
    *,
    is_first: bool,
    seen_all: bool,
    groups: np.ndarray | None = None,
) -> tuple[Split, ...]:
    """One split; folds if rows are few; none if no held-out rows can evaluate the network.

    Too few rows cannot, nor can a single group. A network that is trained further (``is_first`` is False) after folds,
    or after a phase on all rows (``seen_all``), has been trained on every row, so no row can evaluate it. ``groups``:
    the number of each row's group; rows of one group are held out together.
    """
    if n_rows < MIN_ROWS or (groups is not None and groups.max() == 0):
        return ()
    if n_rows < FEW_ROWS:
        if not is_first:
            return ()
        return tuple(fold_rows(n_rows, generator) if groups is None else fold_groups(groups, generator))
    if seen_all and not is_first:
        return ()
    if groups is None:
        return (split_rows(n_rows, fraction, generator),)
    return (split_groups(groups, fraction, generator),)


def split_rows(n_rows: int, fraction: float, generator: torch.Generator) -> Split:
    """One split, with a fraction of the rows held out."""
    order = torch.randperm(n_rows, generator=generator)
    n_held_out = min(max(1, round(n_rows * fraction)), n_rows - 1)
    return order[n_held_out:].sort().values, order[:n_held_out].sort().values


def fold_rows(n_rows: int, generator: torch.Generator) -> list[Split]:
    """Splits in which every row is held out once."""
    parts = torch.randperm(n_rows, generator=generator).tensor_split(N_FOLDS)
    everything = torch.arange(n_rows)
    return [(everything[~torch.isin(everything, part)], part.sort().values) for part in parts]


def split_groups(groups: np.ndarray, fraction: float, generator: torch.Generator) -> Split:
    """One split of whole groups, one group at least; a drawn group is held out if that brings the fraction nearer."""
    sizes = np.bincount(groups)
    wanted = fraction * len(groups)
    held_out: list[int] = []
    for group in torch.randperm(len(sizes), generator=generator).tolist():
        missing = wanted - sizes[held_out].sum()
        if abs(missing - sizes[group]) < missing:
            held_out.append(group)
    return _by_group(groups, np.array(held_out or [int(sizes.argmin())]))


def fold_groups(groups: np.ndarray, generator: torch.Generator) -> list[Split]:
    """Splits in which every group is held out once; the largest groups first, each joins the fold of fewest rows."""
    sizes = np.bincount(groups)
    order = torch.randperm(len(sizes), generator=generator).numpy()
    order = order[np.argsort(-sizes[order], kind="stable")]
    folds: list[list[int]] = [[] for _ in range(min(N_FOLDS, len(sizes)))]
    for group in order:
        min(folds, key=lambda fold: sizes[fold].sum()).append(int(group))
    return [_by_group(groups, np.array(fold)) for fold in folds]


def _by_group(groups: np.ndarray, held_out: np.ndarray) -> Split:
    """Rows of the other groups, and rows of these."""
    is_held_out = torch.from_numpy(np.isin(groups, held_out))
    return (~is_held_out).nonzero()[:, 0], is_held_out.nonzero()[:, 0]
