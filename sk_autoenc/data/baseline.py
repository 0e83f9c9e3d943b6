"""The baseline where few rows have labels: a graph, a linear model of PCA codes, or the mean of both."""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestNeighbors

from sk_autoenc.data.graph import N_NEIGHBORS, Graph

#: Shares of the graph in the mean of both models that are compared, by the name of the choice.
SHARES: dict[str, tuple[float, ...]] = {"auto": (0.5, 1.0, 0.0), "graph": (1.0,), "linear": (0.0,)}

#: Folds of labels in which the shares are compared, and labels for each at least.
_N_FOLDS, _LEAST = 4, 3

#: Weight in training of what the baseline says of a row, where a target of y has 1.
TAUGHT = 0.9

#: Powers to which probabilities of the graph are raised, as spread ones are flat; the first one unless labels choose.
_POWERS = (3, 1, 9)

_BLOCK = 4096


class Mixture(NamedTuple):
    """How the graph and the linear model are mixed."""

    share: float  # of the graph
    power: int  # to which its probabilities are raised


class Baseline(NamedTuple):
    """A fitted baseline. Outputs are probabilities of classes, or one standardised value."""

    graph: Graph
    values: np.ndarray  # (m, k), float32: outputs for the rows of the graph
    reached: np.ndarray  # (m,), bool: whether a target has reached the row
    slope: np.ndarray  # (k, n_components), float32: of the linear model
    bias: np.ndarray  # (k,), float32
    share: float  # of the graph, in the mean with the linear model
    is_class: bool

    def linear(self, codes: np.ndarray) -> np.ndarray:
        """Outputs of the linear model; ``(n, n_components) -> (n, k)``."""
        return linear_output(codes @ self.slope.T + self.bias, is_class=self.is_class)

    def lesson(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a network learns of all rows, ``(n, k)``, and its weights, ``(n,)``; float32.

        Those of the graph are the rows ``graph.rows`` of ``X``.
        """
        values = np.empty((len(X), self.values.shape[1]), np.float32)
        reached = np.zeros(len(X), dtype=bool)
        values[self.graph.rows], reached[self.graph.rows] = self.values, self.reached
        others = np.setdiff1d(np.arange(len(X)), self.graph.rows, assume_unique=True)
        if len(others):
            nearest = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, len(self.values))).fit(self.graph.codes)
        for start in range(0, len(others), _BLOCK):
            block = others[start : start + _BLOCK]
            found = nearest.kneighbors(self.graph.codes_of(X[block]), return_distance=False)
            values[block], reached[block] = self.values[found].mean(axis=1), self.reached[found].any(axis=1)
        if self.share < 1:
            reached[:] = True
            for start in range(0, len(X), _BLOCK):
                part = slice(start, start + _BLOCK)
                straight = self.linear(self.graph.codes_of(X[part]))
                values[part] = self.share * values[part] + (1 - self.share) * straight
        return values, np.where(reached, np.float32(TAUGHT), np.float32(0))


def linear_output(raw: np.ndarray, *, is_class: bool) -> np.ndarray:
    """Probabilities of classes, or the value itself."""
    if not is_class:
        return raw
    raised = np.exp(raw - raw.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def sharpened(probabilities: np.ndarray, power: int) -> np.ndarray:
    r""":math:`p_k^r / \sum_j p_j^r` of each row, nearer to the most probable class; ``(n, k)``."""
    raised = probabilities**power
    return raised / np.maximum(raised.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)


def fit_baseline(
    graph: Graph, target: np.ndarray, known: np.ndarray, *, is_class: bool, choice: str, seed: int
) -> Baseline:
    """Fit both models to the rows that are known; held-out labels of four folds choose share and power of the graph.

    Parameters
    ----------
    graph : Graph
        It holds all rows that are known.
    target : ndarray of shape (n, k)
        Indicators of classes, or standardised values.
    known : ndarray of int
        Numbers of the rows with a target, ascending.
    is_class : bool
        Whether targets are classes.
    choice : {"auto", "graph", "linear"}
        Which of the models may be chosen.
    seed : int
        Seeds the folds.
    """
    place = np.searchsorted(graph.rows, known)
    truth, codes = target[known].astype(np.float64), graph.codes[place]
    mixtures = [
        Mixture(share, power)
        for share in SHARES[choice]
        for power in (_POWERS if is_class and share > 0 else _POWERS[:1])
    ]
    best = mixtures[0]
    if len(mixtures) > 1 and len(known) >= _N_FOLDS * _LEAST:
        best = _best_mixture(graph, place, truth, mixtures, is_class=is_class, seed=seed)
    values, reached = _spread(graph, [place], [truth], is_class=is_class)[0]
    if is_class:
        values = sharpened(values, best.power)
    slope, bias = _fit_linear(codes, truth, is_class=is_class)
    values, slope, bias = (array.astype(np.float32) for array in (values, slope, bias))
    return Baseline(graph, values, reached, slope, bias, best.share, is_class)


def _best_mixture(
    graph: Graph, place: np.ndarray, truth: np.ndarray, mixtures: list[Mixture], *, is_class: bool, seed: int
) -> Mixture:
    """That with the lowest Brier score, or squared error, of labels that are left out; the first among equals."""
    folds = stratified_folds(truth.argmax(axis=1) if is_class else truth[:, 0], _N_FOLDS, np.random.default_rng(seed))
    kept = [folds != fold for fold in range(_N_FOLDS)]
    spread = _spread(graph, [place[rows] for rows in kept], [truth[rows] for rows in kept], is_class=is_class)
    losses = np.zeros(len(mixtures))
    for rows, (values, _) in zip(kept, spread, strict=True):
        codes = graph.codes[place]
        slope, bias = _fit_linear(codes[rows], truth[rows], is_class=is_class)
        straight = linear_output(codes[~rows] @ slope.T + bias, is_class=is_class)
        for i, (share, power) in enumerate(mixtures):
            spread_ones = sharpened(values[place[~rows]], power) if is_class else values[place[~rows]]
            mixed = share * spread_ones + (1 - share) * straight
            losses[i] += np.square(mixed - truth[~rows]).sum()
    return mixtures[int(losses.argmin())]


def stratified_folds(labels: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """The number of each row's fold; rows of one class, or of similar values, are divided among the folds."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(len(labels), dtype=int)
    folds[order] = np.arange(len(labels)) % n_folds
    return folds


def _spread(
    graph: Graph, places: list[np.ndarray], truths: list[np.ndarray], *, is_class: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Outputs for the rows of the graph, and which of these a target reaches, for each of several sets of targets.

    The sets are spread in one iteration.
    """
    n_columns = truths[0].shape[1] + 1
    start = np.zeros((len(graph.codes), len(places), n_columns))
    for i, (place, truth) in enumerate(zip(places, truths, strict=True)):
        start[place, i, :-1], start[place, i, -1] = truth, 1.0
    found = graph.spread(start.reshape(len(start), -1)).reshape(start.shape)
    outputs = []
    for i, (place, truth) in enumerate(zip(places, truths, strict=True)):
        reached = found[:, i, -1] > 0
        values = (_class_shares if is_class else _means)(found[:, i], reached, truth)
        values[place] = truth
        outputs.append((values, reached))
    return outputs


def _class_shares(found: np.ndarray, reached: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Probabilities of classes, whose masses in the graph are made those among the labels (Zhu et al. 2003)."""
    shares, mass = truth.mean(axis=0), found[:, :-1]
    mass = mass * shares / np.maximum(mass.sum(axis=0), np.finfo(float).tiny)
    return np.where(reached[:, None], mass / np.where(reached, mass.sum(axis=1), 1.0)[:, None], shares)


def _means(found: np.ndarray, reached: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Means of the values that reach a row, weighted as they arrive."""
    weight = np.where(reached, found[:, -1], 1.0)[:, None]
    return np.where(reached[:, None], found[:, :-1] / weight, truth.mean(axis=0))


def _fit_linear(codes: np.ndarray, truth: np.ndarray, *, is_class: bool) -> tuple[np.ndarray, np.ndarray]:
    """Slope and bias of logistic regression, or of ridge regression, on codes; float64."""
    with warnings.catch_warnings(), config_context(array_api_dispatch=False):
        warnings.simplefilter("ignore", ConvergenceWarning)
        if not is_class:
            ridge = Ridge().fit(codes.astype(np.float64), truth)
            return np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_)
        labels, n_classes = truth.argmax(axis=1), truth.shape[1]
        slope, bias = np.zeros((n_classes, codes.shape[1])), np.full(n_classes, -20.0)  # unseen classes: never
        present = np.unique(labels)
        bias[present] = 0.0
        if len(present) > 1:
            model = LogisticRegression(max_iter=1000).fit(codes.astype(np.float64), labels)
            if len(present) == 2:
                slope[present[1]], bias[present[1]] = model.coef_[0], model.intercept_[0]
            else:
                slope[present], bias[present] = model.coef_, model.intercept_
        return slope, bias
