"""Evaluating samples: how far generated rows are from real ones, by tests, distances, neighbours and densities.

Rows that cannot be compared raise a ``ValueError``: each set needs at least two, and both need the same columns. What
depends on distances needs columns of comparable scale. Pairs of rows are processed in blocks of bounded memory.
"""

import inspect
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import norm, rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import balanced_accuracy_score, pairwise_distances_chunked
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_array, check_random_state, check_scalar

from sk_autoenc.data.validation import as_array, flattened

Rows: TypeAlias = Any  # arrays, lists, DataFrames
Seed: TypeAlias = int | np.random.RandomState | None
_BLOCK_MIB = 32  # memory of a block of distances; larger ones are no faster


class ClassifierTest(NamedTuple):
    """What :func:`classifier_two_sample_test` finds; ``accuracy`` is the mean of the two classes' accuracies."""

    auroc: float
    accuracy: float
    p_value: float


class SampleQuality(NamedTuple):
    """What :func:`precision_recall_density_coverage` finds; higher is better."""

    precision: float
    recall: float
    density: float
    coverage: float


class TwoSampleTest(NamedTuple):
    """A distance between two sets of rows, and its p-value, which is None without permutations."""

    statistic: float
    p_value: float | None


class ParzenScore(NamedTuple):
    """Mean log-density of test rows in nats, its standard error over these rows, and the windows' bandwidth."""

    log_likelihood: float
    standard_error: float
    bandwidth: float


def classifier_two_sample_test(
    real: Rows, generated: Rows, *, classifier: Any = None, cv: int = 5, random_state: Seed = None
) -> ClassifierTest:
    """Test whether a classifier tells generated rows from real ones, on rows that it was not fitted on [1]_.

    The AUROC is 0.5 by chance. It compares rows of one fold only, as folds' classifiers have different scales. The
    p-value is that of the AUROC, which needs no threshold and so allows for unequal numbers of rows: one-sided, by the
    normal approximation to the Mann-Whitney statistic with *twice* its variance. Any two folds train one another's
    classifiers on the same chance differences, so what they agree on by chance counts twice; without the factor
    the test rejects too often [2]_. Rows must be independent, with no copies that may lie in different folds.

    Parameters
    ----------
    real, generated : array-like of shape (n_rows, n_features)
        Real rows, class 0, and generated rows, class 1.
    classifier : classifier or None, default=None
        Has ``decision_function`` or ``predict_proba``, or a ``TypeError`` is raised. None: gradient-boosted trees with
        balanced classes.
    cv : int, default=5
        Number of folds, from 2 to the smaller number of rows.
    random_state : int, RandomState instance or None, default=None
        Seeds the folds and the default classifier.

    Returns
    -------
    ClassifierTest
        ``auroc``, balanced ``accuracy`` (by chance 0.5 for all numbers of rows) and ``p_value``.

    References
    ----------
    .. [1] Lopez-Paz and Oquab (2017). Revisiting classifier two-sample tests. ICLR.
    .. [2] Noirhomme et al. (2014). Biased binomial assessment of cross-validated estimation. NeuroImage: Clinical 4.

    Examples
    --------
    >>> classifier_two_sample_test([[0.0]] * 50, [[1.0]] * 50).auroc
    1.0
    """
    real, generated = _checked(real=real, generated=generated)
    check_scalar(cv, "cv", Integral, min_val=2, max_val=min(len(real), len(generated)))
    seeds = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=2)
    if classifier is None:
        classifier = HistGradientBoostingClassifier(class_weight="balanced", random_state=seeds[0])
    methods = [name for name in ("decision_function", "predict_proba") if hasattr(classifier, name)]
    if not methods:
        raise TypeError(f"classifier must have predict_proba or decision_function, but {classifier!r} has neither.")
    rows, labels = np.vstack([real, generated]), np.repeat([0, 1], [len(real), len(generated)])
    folds = list(StratifiedKFold(cv, shuffle=True, random_state=seeds[1]).split(rows, labels))
    scores = cross_val_predict(classifier, rows, labels, cv=folds, method=methods[0])
    scores = scores[:, 1] - 0.5 if scores.ndim == 2 else scores
    wins, pairs, variance = np.sum([_mann_whitney(scores[test], labels[test]) for _, test in folds], axis=0)
    p_value = norm.sf((wins - pairs / 2) / np.sqrt(2 * variance)) if variance else 1.0
    return ClassifierTest(float(wins / pairs), float(balanced_accuracy_score(labels, scores > 0)), float(p_value))


def _mann_whitney(scores: np.ndarray, labels: np.ndarray) -> tuple[float, int, float]:
    """Pairs in which the generated row scores higher (ties half), all pairs, and the former's variance by chance."""
    n, n_generated = len(labels), int(labels.sum())
    ranks = rankdata(scores)
    pairs = n_generated * (n - n_generated)
    wins = ranks[labels == 1].sum() - n_generated * (n_generated + 1) / 2
    return wins, pairs, pairs / n * ranks.var(ddof=1)  # the variance of the ranks at hand, so that ties are allowed for


def precision_recall_density_coverage(real: Rows, generated: Rows, *, n_neighbors: int = 5) -> SampleQuality:
    """Measure separately whether generated rows look real and whether they cover what is real.

    A row's ball reaches to its ``n_neighbors``-th nearest other row of its own set. Precision is the share of
    generated rows in some real ball, recall the share of real rows in some generated ball [1]_; density is the mean
    number of real balls around a generated row over ``n_neighbors``, coverage the share of real balls that hold a
    generated row [2]_. Density may exceed 1. All depend on the numbers of rows, so compare equal ones.

    Parameters
    ----------
    real, generated : array-like of shape (n_rows, n_features)
        Real and generated rows.
    n_neighbors : int, default=5
        Neighbour at which a ball ends, from 1 to the smaller number of rows less one.

    Returns
    -------
    SampleQuality
        ``precision``, ``recall``, ``density``, ``coverage``.

    References
    ----------
    .. [1] Kynkäänniemi et al. (2019). Improved precision and recall metric for assessing generative models. NeurIPS.
    .. [2] Naeem et al. (2020). Reliable fidelity and diversity metrics for generative models. ICML.

    Examples
    --------
    >>> precision_recall_density_coverage([[0], [1]], [[8], [9]], n_neighbors=1)
    SampleQuality(precision=0.0, recall=0.0, density=0.0, coverage=0.0)
    """
    real, generated = _centred(real=real, generated=generated)
    check_scalar(n_neighbors, "n_neighbors", Integral, min_val=1, max_val=min(len(real), len(generated)) - 1)
    # Equal rows, whose balls may have no radius, are not quite 0 apart in distances by matrix products.
    slack = 1e-7 * np.median(sizes[sizes > 0]) if (sizes := np.linalg.norm(real, axis=1)).any() else 0.0
    reach = [NearestNeighbors(n_neighbors=n_neighbors).fit(x).kneighbors()[0][:, -1] + slack for x in (real, generated)]
    recalled, covered = np.zeros((2, len(real)), dtype=bool)
    around, start = np.zeros(len(generated)), 0  # number of real balls around each generated row
    for distances in pairwise_distances_chunked(generated, real, working_memory=_BLOCK_MIB):
        in_real, stop = distances <= reach[0], start + len(distances)
        around[start:stop] = in_real.sum(axis=1)
        covered |= in_real.any(axis=0)
        recalled |= (distances <= reach[1][start:stop, None]).any(axis=0)
        start = stop
    found = (around > 0).mean(), recalled.mean(), around.mean() / n_neighbors, covered.mean()
    return SampleQuality(*map(float, found))


def energy_distance(
    real: Rows, generated: Rows, *, n_permutations: int = 0, random_state: Seed = None
) -> TwoSampleTest:
    r"""Energy distance between two sets of rows, with a permutation test.

    :math:`2 E\lVert X - Y \rVert - E\lVert X - X' \rVert - E\lVert Y - Y' \rVert` over all pairs, those of a row with
    itself included [1]_, hence never negative; for one column the square of :func:`scipy.stats.energy_distance`.

    Parameters
    ----------
    real, generated : array-like of shape (n_rows, n_features)
        Real and generated rows.
    n_permutations : int, default=0
        Number of permutations behind the p-value, of 16 bytes per row. Distances are computed once, and not held.
    random_state : int, RandomState instance or None, default=None
        Seeds the permutations.

    Returns
    -------
    TwoSampleTest
        ``statistic``, in units of the rows, and ``p_value``, (1 + permutations that reach the statistic) /
        (1 + ``n_permutations``), or None without permutations.

    References
    ----------
    .. [1] Székely and Rizzo (2013). Energy statistics. Journal of Statistical Planning and Inference 143.

    Examples
    --------
    >>> energy_distance([[0.0], [0.0]], [[1.0], [1.0]])
    TwoSampleTest(statistic=2.0, p_value=None)
    """
    real, generated = _centred(real=real, generated=generated)
    return _compare(real, generated, np.asarray, 0, n_permutations, random_state)


def maximum_mean_discrepancy(
    real: Rows, generated: Rows, *, bandwidth: Any = "median", n_permutations: int = 0, random_state: Seed = None
) -> TwoSampleTest:
    r"""Squared maximum mean discrepancy under a gaussian kernel, without bias, with a permutation test.

    :math:`E k(X, X') + E k(Y, Y') - 2 E k(X, Y)` over pairs of different rows [1]_, which may be negative, with
    :math:`k(x, y) = \exp(-\lVert x - y \rVert^2 / 2 h^2)`.

    Parameters
    ----------
    real, generated : array-like of shape (n_rows, n_features)
        Real and generated rows.
    bandwidth : float or "median", default="median"
        The kernel's :math:`h`, in units of the rows, above 0. ``"median"``: the median distance between the rows of
        both sets (at most 1000 evenly spaced ones), an error where it is 0. To compare several generated sets with
        one another, give a number.
    n_permutations, random_state
        As in :func:`energy_distance`.

    Returns
    -------
    TwoSampleTest
        ``statistic`` and ``p_value``, the latter as in :func:`energy_distance`.

    References
    ----------
    .. [1] Gretton et al. (2012). A kernel two-sample test. JMLR 13.

    Examples
    --------
    >>> maximum_mean_discrepancy([[0.0], [0.0]], [[1.0], [1.0]], bandwidth=0.01)
    TwoSampleTest(statistic=2.0, p_value=None)
    """
    real, generated = _centred(real=real, generated=generated)
    if isinstance(bandwidth, str) and bandwidth == "median":
        pooled = np.vstack([real, generated])
        bandwidth = float(np.median(pdist(pooled[:: -(-len(pooled) // 1000)])))
        if bandwidth == 0:
            raise ValueError("bandwidth='median' is 0, for most pairs of rows are equal; give a number above 0.")
    h = _checked_bandwidth(bandwidth)
    # The energy distance of one minus the kernel, which like a distance is 0 between a row and itself.
    return _compare(real, generated, lambda d: -np.expm1(np.square(d / h) / -2), 1, n_permutations, random_state)


def _compare(
    real: Rows, generated: Rows, apply: Callable, n_left_out: int, n_permutations: int, random_state: Seed
) -> TwoSampleTest:
    """Energy distance of what ``apply`` makes of distances; ``n_left_out=1`` averages over pairs of different rows."""
    check_scalar(n_permutations, "n_permutations", Integral, min_val=0)
    rng = check_random_state(random_state)
    n, m = len(real), len(generated)
    observed = np.repeat([0.0, 1.0], [n, m])  # 1 for generated
    labels = np.column_stack([observed, *(rng.permutation(observed) for _ in range(n_permutations))])
    both = first = np.zeros(1 + n_permutations)  # sums over pairs: both rows generated, the first generated
    total, start = 0.0, 0
    for distances in pairwise_distances_chunked(np.vstack([real, generated]), working_memory=_BLOCK_MIB):
        block, part = apply(distances), labels[start : start + len(distances)]
        both = both + np.einsum("ij,ij->j", part, block @ labels)
        first = first + block.sum(axis=1) @ part
        total += block.sum()
        start += len(block)
    neither = total - 2 * first + both
    statistics = 2 * (first - both) / (n * m) - both / (m * (m - n_left_out)) - neither / (n * (n - n_left_out))
    # Permutations that restore the two sets give the statistic itself, but may be rounded otherwise.
    reached = statistics[1:] >= statistics[0] - 1e-10 * total / (n + m) ** 2
    p_value = float((1 + reached.sum()) / (1 + n_permutations)) if n_permutations else None
    return TwoSampleTest(float(statistics[0]), p_value)


def frechet_distance(real: Rows, generated: Rows, *, features: Any = None) -> float:
    r"""Squared Fréchet distance between gaussians fitted to two sets of rows, or to features of them.

    :math:`\lVert \mu_1 - \mu_2 \rVert^2 + \mathrm{tr}(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2})`, the squared
    2-Wasserstein distance [1]_; the FID is this on an image classifier's features [2]_. Few rows beside many columns
    make it too large even for equal distributions.

    Parameters
    ----------
    real, generated : array-like of shape (n_rows, n_features)
        Real and generated rows.
    features : fitted transformer, callable or None, default=None
        Maps rows to features, by ``transform`` or a call; else a ``TypeError`` is raised. None: the rows themselves.

    Returns
    -------
    float
        At least 0, in squared units of the rows or features.

    References
    ----------
    .. [1] Dowson and Landau (1982). The Fréchet distance between multivariate normal distributions. JMVA 12.
    .. [2] Heusel et al. (2017). GANs trained by a two time-scale update rule converge. NeurIPS.

    Examples
    --------
    >>> frechet_distance([[-1.0], [1.0]], [[4.0], [6.0]])
    25.0
    """
    if features is not None:
        transform = getattr(features, "transform", features)
        if not callable(transform):
            raise TypeError(f"features must be None, callable or have a transform method, got {features!r}.")
        real, generated = transform(real), transform(generated)
    real, generated = _checked(real=real, generated=generated)
    # Where covariances are R'R, the trace of the root is the sum of the singular values of R1 R2'. Unlike eigenvalues
    # of covariances these are never negative, and singular covariances do not lose half the digits.
    roots = [np.linalg.qr(rows - rows.mean(axis=0), mode="r") / np.sqrt(len(rows) - 1) for rows in (real, generated)]
    overlap = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    shift = np.square(real.mean(axis=0) - generated.mean(axis=0)).sum()
    return float(np.maximum(0.0, shift + sum(np.square(root).sum() for root in roots) - 2 * overlap))


def neighbor_distance_ratio(generated: Rows, train: Rows, held_out: Rows) -> float:
    """Look for copies: how near generated rows are to training rows, beside held-out rows.

    The median distance of generated rows to their nearest training row, over that of held-out rows. New rows of the
    same distribution give about 1; below about 0.9 hints at copies, and 0 says that half of the rows are copies.

    Parameters
    ----------
    generated, train, held_out : array-like of shape (n_rows, n_features)
        Generated rows, the rows that the generator was fitted on, and real rows that it was not fitted on.

    Returns
    -------
    float
        The ratio; a ``ValueError`` where the median of the held-out rows is 0.

    Examples
    --------
    >>> neighbor_distance_ratio([[1.0], [5.0]], train=[[0.0], [4.0]], held_out=[[2.0], [6.0]])
    0.5
    """
    generated, train, held_out = _centred(generated=generated, train=train, held_out=held_out)
    expected = np.median(_nearest_distances(held_out, train))
    if expected == 0:
        raise ValueError("held_out must hold new rows, but the median distance of its rows to those of train is 0.")
    return float(np.median(_nearest_distances(generated, train)) / expected)


def parzen_log_likelihood(
    generated: Rows, test: Rows, *, bandwidth: float | None = None, validation: Rows | None = None
) -> ParzenScore:
    r"""Mean log-density of test rows under gaussian windows around generated rows.

    :math:`\log \frac1m \sum_j N(x; y_j, h^2 I)`, averaged over test rows [1]_. Only for comparison with published
    figures: with many columns it is far from the model's log-likelihood and ranks models wrongly, and a few cluster
    centres may beat rows of the true distribution [2]_.

    Parameters
    ----------
    generated, test : array-like of shape (n_rows, n_features)
        Generated rows, the centres, and real rows to score.
    bandwidth : float or None, default=None
        The windows' standard deviation :math:`h`, in units of the rows, above 0. None: chosen on ``validation``.
    validation : array-like of shape (n_rows, n_features) or None, default=None
        Real rows, not those of ``test``, given if and only if ``bandwidth`` is None. Their highest mean log-density
        decides among 15 bandwidths in equal ratios, from the root mean square per column of distances to the nearest
        generated row to that of all distances, between which the best of all bandwidths lies.

    Returns
    -------
    ParzenScore
        ``log_likelihood`` in nats, ``standard_error`` and ``bandwidth``.

    References
    ----------
    .. [1] Goodfellow et al. (2014). Generative adversarial nets. NeurIPS.
    .. [2] Theis, van den Oord and Bethge (2016). A note on the evaluation of generative models. ICLR.

    Examples
    --------
    >>> round(parzen_log_likelihood([[0.0], [0.0]], [[0.0], [0.0]], bandwidth=1.0).log_likelihood, 4)
    -0.9189
    """
    if (bandwidth is None) == (validation is None):
        raise ValueError("Give one of bandwidth and validation, the rows to choose it on, and not both.")
    if validation is None:
        generated, test = _centred(generated=generated, test=test)
        h = _checked_bandwidth(bandwidth)
    else:
        generated, test, validation = _centred(generated=generated, test=test, validation=validation)
        grid = _bandwidth_grid(validation, generated)
        h = float(grid[_parzen_log_densities(validation, generated, grid).mean(axis=1).argmax()])
    densities = _parzen_log_densities(test, generated, np.array([h]))[0]
    return ParzenScore(float(densities.mean()), float(densities.std(ddof=1) / np.sqrt(len(test))), h)


def _bandwidth_grid(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Bandwidths around the best, whose square is a mean of squared distances in which near centres weigh more."""
    nearest = np.square(_nearest_distances(rows, centres)).mean()
    if nearest == 0:
        raise ValueError("validation holds only copies of generated rows, so no bandwidth is best; give bandwidth.")
    overall = rows.var(axis=0) + centres.var(axis=0) + np.square(rows.mean(axis=0) - centres.mean(axis=0))
    return np.geomspace(np.sqrt(nearest / rows.shape[1]), np.sqrt(overall.mean()), 15)


def _parzen_log_densities(rows: np.ndarray, centres: np.ndarray, bandwidths: np.ndarray) -> np.ndarray:
    """Log-density of each row under each bandwidth; shape (n_bandwidths, n_rows)."""
    blocks = []
    for squared in pairwise_distances_chunked(rows, centres, squared=True, working_memory=_BLOCK_MIB):
        nearest = squared.min(axis=1)
        squared -= nearest[:, None]
        sums = [np.exp(squared * (-0.5 / h**2)).sum(axis=1) for h in bandwidths]
        blocks.append(np.log(sums) - nearest * (0.5 / bandwidths[:, None] ** 2))
    constant = np.log(len(centres)) + rows.shape[1] * np.log(np.sqrt(2 * np.pi) * bandwidths)
    return np.concatenate(blocks, axis=1) - constant[:, None]


def sample_scorer(
    metric: str = "energy", *, n_samples: int | None = None, random_state: Seed = 0, **options: Any
) -> Callable[..., float]:
    """Make a scorer for ``GridSearchCV(scoring=...)`` that evaluates an estimator by rows of its ``sample``.

    Parameters
    ----------
    metric : str, default="energy"
        ``"energy"``, ``"mmd"`` or ``"frechet"``, scored by minus the distance; ``"classifier"``, by minus the AUROC's
        distance from 0.5; ``"precision"``, ``"recall"``, ``"density"`` or ``"coverage"``, by the value.
    n_samples : int or None, default=None
        Number of rows to draw. None: as many as the scored rows.
    random_state : int, RandomState instance or None, default=0
        Given to ``sample`` if it takes one. The classifier test has a seed of its own.
    **options
        Given to the metric's function. For ``"mmd"`` give ``bandwidth``, or it will depend on the candidate.

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None)``, higher is better; raises a ``TypeError`` for estimators without ``sample``,
        such as pipelines. It can be pickled.

    Examples
    --------
    >>> from sklearn.neighbors import KernelDensity
    >>> sample_scorer("energy", n_samples=50)(KernelDensity().fit([[0.0], [1.0]]), [[0.0], [1.0]]) < 0
    True
    """
    if metric not in _METRICS:
        raise ValueError(f"metric must be one of {sorted(_METRICS)}, got {metric!r}.")
    inspect.signature(_METRICS[metric][0]).bind(None, None, **options)  # a search would hide errors of the scorer
    return partial(_score_sample, metric=metric, n_samples=n_samples, random_state=random_state, options=options)


def _score_sample(
    estimator: Any, X: Rows, y: Any = None, *, metric: str, n_samples: int | None, random_state: Seed, options: dict
) -> float:
    if not hasattr(estimator, "sample"):
        raise TypeError(f"sample_scorer needs an estimator with a sample method, but {estimator!r} has none.")
    function, score = _METRICS[metric]
    seed = {"random_state": random_state} if "random_state" in inspect.signature(estimator.sample).parameters else {}
    rows = estimator.sample(len(X) if n_samples is None else n_samples, **seed)
    return float(score(function(X, rows[0] if isinstance(rows, tuple) else rows, **options)))  # or rows, components


#: Functions by the names that scorers have for them, and what makes a number of the result, higher being better.
_METRICS: dict[str, tuple[Callable, Callable]] = {
    "energy": (energy_distance, lambda result: -result.statistic),
    "mmd": (maximum_mean_discrepancy, lambda result: -result.statistic),
    "frechet": (frechet_distance, lambda distance: -distance),
    "classifier": (partial(classifier_two_sample_test, random_state=0), lambda result: -abs(result.auroc - 0.5)),
    **{name: (precision_recall_density_coverage, attrgetter(name)) for name in SampleQuality._fields},
}


def _checked(**rows: Rows) -> list[np.ndarray]:
    """The rows as float64, their columns the same in number and, where both have them, names."""
    (first, reference), *others = rows.items()
    flat = {name: flattened(as_array(value))[0] for name, value in rows.items()}
    arrays = [check_array(value, dtype=float, ensure_min_samples=2, input_name=name) for name, value in flat.items()]
    for (name, value), array in zip(others, arrays[1:], strict=True):
        if array.shape[1] != arrays[0].shape[1]:
            raise ValueError(f"{name} has {array.shape[1]} columns, but {first} has {arrays[0].shape[1]}.")
        names = [list(table.columns) for table in (reference, value) if hasattr(table, "columns")]
        if names[1:] and names[0] != names[1]:
            raise ValueError(f"{name} has the columns {names[1]}, but {first} has {names[0]}.")
    return arrays


def _centred(**rows: Rows) -> list[np.ndarray]:
    """Checked rows around the median of the first: a large offset would cost distances their precision."""
    arrays = _checked(**rows)
    return [array - np.median(arrays[0], axis=0) for array in arrays]


def _checked_bandwidth(bandwidth: Any) -> float:
    return float(check_scalar(bandwidth, "bandwidth", Real, min_val=0, max_val=np.inf, include_boundaries="neither"))


def _nearest_distances(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    nearest = NearestNeighbors(n_neighbors=1).fit(others).kneighbors(rows, return_distance=False)[:, 0]
    return np.linalg.norm(rows - others[nearest], axis=1)  # anew, to be exactly 0 between equal rows
