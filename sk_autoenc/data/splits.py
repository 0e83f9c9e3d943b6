"""Which rows train and which are held out: one split, folds if rows are few, none if they are too few."""

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
    n_rows: int, fraction: float, generator: torch.Generator, *, is_first: bool, seen_all: bool
) -> tuple[Split, ...]:
    """One split; folds if rows are few; none if no held-out rows can evaluate the network.

    Too few rows cannot. A network that is trained further (``is_first`` is False) after folds, or after a phase on all
    rows (``seen_all``), has been trained on every row, so no row can evaluate it.
    """
    if n_rows < MIN_ROWS:
        return ()
    if n_rows < FEW_ROWS:
        return tuple(fold_rows(n_rows, generator)) if is_first else ()
    if seen_all and not is_first:
        return ()
    return (split_rows(n_rows, fraction, generator),)


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
