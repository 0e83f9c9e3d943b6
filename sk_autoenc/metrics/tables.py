"""Evaluating synthetic tables: how alike columns and pairs are, what models learn of them, and what they tell of rows.

Tables are data frames of mixed columns, or arrays. A missing cell is an outcome of its column, and so are all levels
that the real table lacks. No figure here proves privacy: only a training with differential privacy promises something
about every row. These figures find some leaks, and miss others.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state, check_scalar

from sk_autoenc.data.tabular import Table
from sk_autoenc.data.validation import as_array

Tabular: TypeAlias = Any  # data frames, arrays, lists
Seed: TypeAlias = int | np.random.RandomState | None


class TransferScore(NamedTuple):
    """What :func:`train_on_synthetic` finds; ``real`` is None without real training rows."""

    synthetic: float
    real: float | None


class ClosestRecord(NamedTuple):
    """What :func:`closest_record_share` finds."""

    share: float
    standard_error: float


class CopyShare(NamedTuple):
    """What :func:`copy_share` finds."""

    synthetic: float
    held_out: float


class MembershipTest(NamedTuple):
    """What :func:`membership_test` finds."""

    auroc: float
    p_value: float


# -- likeness


def column_similarity(real: Tabular, synthetic: Tabular) -> dict[Any, float]:
    r"""How alike each column is in both tables, from 0 to 1.

    For numbers it is :math:`1 - \sup_x |F(x) - G(x)|`, one minus the Kolmogorov-Smirnov statistic, with missing cells
    below all numbers. For categories it is :math:`1 - \frac12 \sum_k |p_k - q_k|`, one minus the total variation.

    Parameters
    ----------
    real, synthetic : DataFrame or array-like of shape (n_rows, n_columns)
        The tables, with the same columns.

    Returns
    -------
    dict of float
        The similarity of each column, by its name; of an array by its number.

    Examples
    --------
    >>> import pandas as pd
    >>> real = pd.DataFrame({"n": [1.0, 2.0, 3.0, 4.0], "c": ["a", "a", "b", "b"]})
    >>> synthetic = pd.DataFrame({"n": [3.0, 4.0, 3.0, 4.0], "c": ["a", "b", "b", "b"]})
    >>> column_similarity(real, synthetic)
    {'n': 0.5, 'c': 0.75}
    """
    table, (left, right) = _encoded(real=real, synthetic=synthetic)
    found = {}
    for i, column in enumerate(table.columns_):
        pair = left[:, i], right[:, i]
        found[column.name] = 1 - (_ks_statistic(*pair) if column.is_number else _total_variation(*pair))
    return found


def pair_similarity(real: Tabular, synthetic: Tabular, *, n_bins: int = 10) -> pd.DataFrame:
    r"""How alike each pair of columns is in both tables, from 0 to 1.

    One minus the total variation of the pair's joint frequencies, :math:`1 - \frac12 \sum_{jk} |p_{jk} - q_{jk}|`.
    Numbers are binned at quantiles of the real table. Finite tables differ by chance: compare with the similarity of
    two sets of real rows.

    Parameters
    ----------
    real, synthetic : DataFrame or array-like of shape (n_rows, n_columns)
        The tables, with the same columns.
    n_bins : int, default=10
        Number of bins of a column of numbers, at least 2; fewer where values repeat.

    Returns
    -------
    DataFrame of shape (n_columns, n_columns)
        The similarity of each pair; on the diagonal of each column's bins.

    Examples
    --------
    >>> independent = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> pair_similarity(independent, [[0, 0], [1, 1]]).loc[0, 1].item()
    0.5
    """
    table, bins = binned(real, synthetic, n_bins=n_bins)
    made = np.ones((len(table.columns_),) * 2)
    for i in range(len(made)):
        for j in range(i + 1):
            codes = [part[:, i] * (bins[0][:, j].max() + bins[1][:, j].max() + 2) + part[:, j] for part in bins]
            made[i, j] = made[j, i] = 1 - _total_variation(*codes)
    return pd.DataFrame(made, index=table.names, columns=table.names)


def association(real: Tabular, synthetic: Tabular, *, n_bins: int = 10) -> tuple[pd.DataFrame, pd.DataFrame]:
    r"""How closely columns depend on each other, in each of the tables.

    The informational correlation :math:`\sqrt{1 - e^{-2 I}}` [1]_, with the mutual information :math:`I` of binned
    columns in nats: of two normal numbers the size of their correlation, up to the loss by the bins.

    Parameters
    ----------
    real, synthetic : DataFrame or array-like of shape (n_rows, n_columns)
        The tables, with the same columns.
    n_bins : int, default=10
        Number of bins of a column of numbers.

    Returns
    -------
    real, synthetic : DataFrame of shape (n_columns, n_columns)
        The association of each pair of columns, from 0 to 1.

    References
    ----------
    .. [1] Linfoot (1957). An informational measure of correlation. Information and Control 1.

    Examples
    --------
    >>> found, _ = association([[0, 0], [0, 1], [1, 0], [1, 1]], [[0, 0], [1, 1]])
    >>> found.loc[0, 1].item()
    0.0
    """
    table, bins = binned(real, synthetic, n_bins=n_bins)
    made = []
    for part in bins:
        of_pairs = np.ones((part.shape[1],) * 2)
        for i in range(len(of_pairs)):
            for j in range(i):
                of_pairs[i, j] = of_pairs[j, i] = np.sqrt(-np.expm1(-2 * _mutual_information(part[:, i], part[:, j])))
        made.append(pd.DataFrame(of_pairs, index=table.names, columns=table.names))
    return made[0], made[1]


def binned(real: Tabular, synthetic: Tabular, *, n_bins: int = 10) -> tuple[Table, list[np.ndarray]]:
    """Cells of both tables as numbers of bins and of levels.

    Parameters
    ----------
    real, synthetic : DataFrame or array-like of shape (n_rows, n_columns)
        The tables, with the same columns.
    n_bins : int, default=10
        Number of bins of a column of numbers, at quantiles of the real table; fewer where values repeat.

    Returns
    -------
    table : Table
        What is known of the columns.
    bins : list of ndarray of int
        Of each table the number of each cell's bin or level, from 1 on; 0 is a missing cell.

    Examples
    --------
    >>> _, bins = binned([[0.0], [1.0], [float("nan")]], [[0.2], [5.0]], n_bins=2)
    >>> [part.ravel().tolist() for part in bins]
    [[1, 2, 0], [1, 2]]
    """
    check_scalar(n_bins, "n_bins", int, min_val=2)
    table, parts = _encoded(real=real, synthetic=synthetic)
    made = [np.zeros(part.shape, dtype=int) for part in parts]
    for i, column in enumerate(table.columns_):
        values = parts[0][:, i]
        if column.is_number:
            seen = values[~np.isnan(values)]
            edges = np.unique(np.quantile(seen, np.linspace(0, 1, n_bins + 1)[1:-1])) if len(seen) else np.empty(0)
        else:
            edges = np.arange(column.n_levels - 1) + 0.5
        for part, bins in zip(parts, made, strict=True):
            seen = ~np.isnan(part[:, i])
            bins[seen, i] = 1 + np.searchsorted(edges, part[seen, i], side="left")
    return table, made


# -- use


def train_on_synthetic(
    estimator: Any, synthetic: Tabular, test: Tabular, target: Any, *, real: Tabular = None, scoring: Any = None
) -> TransferScore:
    """Score of an estimator that is fitted to synthetic rows, on real rows [1]_.

    Columns are given to it as numbers: levels by their number, and missing cells as NaN. Begin a pipeline with an
    encoder or an imputer if the estimator needs one.

    Parameters
    ----------
    estimator : classifier or regressor
        It is cloned.
    synthetic : DataFrame or array-like of shape (n_rows, n_columns)
        Rows to fit to.
    test : DataFrame or array-like of shape (n_test, n_columns)
        Real rows that the generator has not seen.
    target : str or int
        Name of the column to predict; of an array its number. A column of categories is predicted by its levels.
    real : DataFrame, array-like or None, default=None
        Real training rows, to which the estimator is fitted for comparison.
    scoring : str, callable or None, default=None
        As in :func:`sklearn.metrics.check_scoring`; None is the estimator's own score.

    Returns
    -------
    TransferScore
        The score after fitting to ``synthetic``, and to ``real``.

    References
    ----------
    .. [1] Esteban, Hyland, Rätsch (2017). Real-valued (medical) time series generation with recurrent conditional GANs.
       arXiv:1706.02633.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> x = np.arange(10.0)[:, None]
    >>> train_on_synthetic(LinearRegression(), np.hstack([x, 2 * x]), np.hstack([x, 2 * x]) + 3, 1).synthetic < 1
    True
    """
    given = {"test": test, "synthetic": synthetic} | ({} if real is None else {"real": real})
    table, parts = _encoded(**given)
    if target not in table.names:
        raise ValueError(f"target must be one of the columns {table.names}, got {target!r}.")
    at = table.names.index(target)
    scores = []
    for part in parts[1:]:
        part = part[~np.isnan(part[:, at])]
        model = clone(estimator).fit(np.delete(part, at, axis=1), part[:, at])
        asked = parts[0][~np.isnan(parts[0][:, at])]
        scores.append(float(check_scoring(model, scoring)(model, np.delete(asked, at, axis=1), asked[:, at])))
    return TransferScore(scores[0], scores[1] if real is not None else None)


# -- privacy


def closest_record_share(
    synthetic: Tabular, train: Tabular, held_out: Tabular, *, random_state: Seed = None
) -> ClosestRecord:
    """Share of the synthetic rows that are nearer to a training row than to a held-out one; 0.5 if nothing is copied.

    As many rows are drawn of the larger set as the smaller one has, so that chance favours neither. Equal distances
    count half. Numbers are compared in standard deviations of ``train``; two different levels, or a missing cell and
    another, are 1 apart. The distance is euclidean.

    Parameters
    ----------
    synthetic : DataFrame or array-like of shape (n_rows, n_columns)
        Generated rows.
    train : DataFrame or array-like of shape (n_train, n_columns)
        The rows that the generator was fitted to.
    held_out : DataFrame or array-like of shape (n_held_out, n_columns)
        Real rows that it has not seen.
    random_state : int, RandomState instance or None, default=None
        Draws rows of the larger set.

    Returns
    -------
    ClosestRecord
        ``share`` and its ``standard_error`` over the synthetic rows.

    Examples
    --------
    >>> closest_record_share([[0.0], [2.0]], [[0.0], [2.0]], [[1.0], [3.0]]).share
    1.0
    """
    generated, rows, others = _embedded(train, synthetic=synthetic, train=train, held_out=held_out)
    n, rng = min(len(rows), len(others)), check_random_state(random_state)
    rows, others = (part if len(part) == n else part[rng.permutation(len(part))[:n]] for part in (rows, others))
    to_train, to_held_out = (_distances_to(part, generated) for part in (rows, others))
    nearer = (to_train < to_held_out) + 0.5 * (to_train == to_held_out)
    return ClosestRecord(float(nearer.mean()), float(nearer.std() / len(nearer) ** 0.5))


def copy_share(synthetic: Tabular, train: Tabular, held_out: Tabular) -> CopyShare:
    """Share of the synthetic rows that equal a training row, beside that of held-out rows.

    Rows repeat by chance where columns have few values, which the held-out rows show.

    Parameters
    ----------
    synthetic, train, held_out : DataFrame or array-like of shape (n_rows, n_columns)
        Generated rows, the rows that the generator was fitted to, and real rows that it has not seen.

    Returns
    -------
    CopyShare
        The two shares.

    Examples
    --------
    >>> copy_share([[1, 2], [3, 4]], [[1, 2], [5, 6]], [[7, 8], [5, 6]])
    CopyShare(synthetic=0.5, held_out=0.5)
    """
    _, parts = _encoded(train=train, synthetic=synthetic, held_out=held_out)
    rows, *others = (part + 0.0 for part in parts)  # -0.0 equals 0.0, but has other bytes
    known = {row.tobytes() for row in rows}
    return CopyShare(*(float(np.mean([row.tobytes() in known for row in part])) for part in others))


def membership_test(synthetic: Tabular, train: Tabular, held_out: Tabular) -> MembershipTest:
    """Whether the nearest synthetic row tells which real rows were in the training set [1]_.

    Someone who has real rows and the synthetic table, but not the generator, guesses that those with a near synthetic
    row were trained on. Distances are those of :func:`closest_record_share`.

    Parameters
    ----------
    synthetic, train, held_out : DataFrame or array-like of shape (n_rows, n_columns)
        Generated rows, the rows that the generator was fitted to, and real rows that it has not seen.

    Returns
    -------
    MembershipTest
        ``auroc``, the chance that a training row is nearer than a held-out one, 0.5 if nothing is told, and the
        one-sided ``p_value`` of the Mann-Whitney test.

    References
    ----------
    .. [1] Chen, Yu, Zhang, Fritz (2020). GAN-Leaks: a taxonomy of membership inference attacks against generative
       models. ACM CCS.

    Examples
    --------
    >>> membership_test([[0.0], [1.0]], [[0.0], [1.0]], [[5.0], [6.0]]).auroc
    1.0
    """
    generated, rows, others = _embedded(train, synthetic=synthetic, train=train, held_out=held_out)
    to_rows, to_others = (_distances_to(generated, part) for part in (rows, others))
    found = mannwhitneyu(to_others, to_rows, alternative="greater")
    return MembershipTest(float(found.statistic / (len(rows) * len(others))), float(found.pvalue))


# -- parts


def _encoded(**tables: Tabular) -> tuple[Table, list[np.ndarray]]:
    """Tables as numbers, by the columns of the first; levels and numbers that it does not allow are missing."""
    given = {name: _as_table(value, name) for name, value in tables.items()}
    first = next(iter(given.values()))
    table = Table(unseen="missing").fit(first)
    made = []
    for name, value in given.items():
        try:
            made.append(table.encode(value))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return table, made


def _as_table(rows: Tabular, name: str) -> Any:
    """A data frame as it is, anything else as an array with two axes and two rows or more."""
    found = rows if hasattr(rows, "columns") else np.asarray(as_array(rows))
    if len(found.shape) != 2 or len(found) < 2:
        raise ValueError(f"{name} must have two axes and at least two rows, got shape {found.shape}.")
    return found


def _embedded(reference: Tabular, **tables: Tabular) -> list[np.ndarray]:
    """Rows as points, whose euclidean distance is that of :func:`closest_record_share`."""
    table, (scaled_by, *parts) = _encoded(reference=reference, **tables)
    points: list[list[np.ndarray]] = [[] for _ in parts]
    for i, column in enumerate(table.columns_):
        scale = np.nanstd(scaled_by[:, i]) if column.is_number and not np.isnan(scaled_by[:, i]).all() else 1.0
        for part, made in zip(parts, points, strict=True):
            values = part[:, i]
            if column.is_number:
                made += [np.nan_to_num(values / (scale or 1.0)), np.isnan(values).astype(float)]
            else:
                is_level = np.nan_to_num(values, nan=-1)[:, None] == np.arange(-1, max(column.n_levels, 1))
                made += list(is_level.T / np.sqrt(2))
    return [np.column_stack(made) for made in points]


def _distances_to(rows: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Of each asked point the distance to the nearest row; computed anew, to be exactly 0 between equal points."""
    nearest = NearestNeighbors(n_neighbors=1).fit(rows).kneighbors(asked, return_distance=False)[:, 0]
    return np.linalg.norm(asked - rows[nearest], axis=1)


def _ks_statistic(left: np.ndarray, right: np.ndarray) -> float:
    """The largest difference of the distribution functions; missing cells are below all numbers."""
    left, right = (np.sort(np.where(np.isnan(values), -np.inf, values)) for values in (left, right))
    at = np.concatenate([left, right])
    shares = [np.searchsorted(values, at, side="right") / len(values) for values in (left, right)]
    return float(np.abs(shares[0] - shares[1]).max())


def _total_variation(left: np.ndarray, right: np.ndarray) -> float:
    """Half the sum of the differences of frequencies; missing cells are a level."""
    codes = np.unique(np.nan_to_num(np.concatenate([left, right]), nan=-1), return_inverse=True)[1]
    n = codes.max() + 1
    shares = [np.bincount(part, minlength=n) / len(part) for part in (codes[: len(left)], codes[len(left) :])]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _mutual_information(left: np.ndarray, right: np.ndarray) -> float:
    """In nats, of two columns of bins."""
    joint = np.zeros((left.max() + 1, right.max() + 1))
    np.add.at(joint, (left, right), 1 / len(left))
    product = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    seen = joint > 0
    return max(0.0, float((joint[seen] * np.log(joint[seen] / product[seen])).sum()))
