"""What an outlier detector's members are: networks trained together, or clones of a transformer on subsamples."""

from collections.abc import Iterable, Sequence
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import gen_batches
from torch import Tensor

from sk_autoenc.likelihoods import Categorical
from sk_autoenc.outliers.batched_networks import AutoencoderEnsemble, train_ensemble
from sk_autoenc.outliers.scores import FAR
from sk_autoenc.outliers.stored import storable_members

#: Standardised values that networks learn from are held to this range.
_TRAINING_RANGE = 20.0

#: Values that set a feature's mean and spread are held to the median and so many times the width of the middle 90 %,
#: of this many rows, to either side: 23 standard deviations of normal values.
_ROOM, _QUANTILE_ROWS = 7.0, 1024

_BLOCK = 4096


class Standardization:
    """A mean and a spread per feature; that of a constant feature is its size, whatever the units, or 1 if it is 0.

    Both are of values held to where most lie, so that a wild one does not make all others alike.
    """

    def __init__(self, center: np.ndarray, spread: np.ndarray):
        self.center, self.spread = center, spread

    @classmethod
    def fit(cls, X: np.ndarray) -> "Standardization":
        """From training rows in any order, in float64."""
        middle, room = _usual_range(X[:_QUANTILE_ROWS].astype(np.float64))

        def held():
            return (np.clip(X[block], middle - room, middle + room) for block in gen_batches(len(X), _BLOCK))

        guess = sum(block.sum(axis=0) for block in held()) / len(X)
        center = guess + sum((block - guess).sum(axis=0) for block in held()) / len(X)  # puts rounding right
        spread = np.sqrt(sum(np.square(block - center).sum(axis=0) for block in held()) / len(X))
        rounding = 4 * np.finfo(X.dtype).eps * np.abs(center)
        size = np.where(center == 0, 1.0, np.abs(center))
        return cls(center, np.where(spread > rounding, spread, size))

    def apply(self, X: np.ndarray, limit: float) -> Tensor:
        """Standardised values held to ±limit, float64."""
        with np.errstate(over="ignore"):
            return torch.from_numpy(np.clip((X - self.center) / self.spread, -limit, limit))


def _usual_range(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median of each feature, and how far values may lie from it."""
    middle = np.median(X, axis=0)
    # Of few rows, too, the highest and the lowest say nothing of the width.
    width = np.quantile(X, 0.95, axis=0, method="lower") - np.quantile(X, 0.05, axis=0, method="higher")
    for column in np.flatnonzero(width <= 0):  # nearly all values are one: how far the others usually lie from it
        others = np.abs(X[:, column] - middle[column])
        others = others[others > 0]
        width[column] = np.median(others) if len(others) else np.inf
    return middle, _ROOM * width


def deal(n_rows: int, size: int, n_members: int, generator: torch.Generator) -> Tensor:
    """Which rows each member gets, ``(n_members, size)``: dealt out like cards, shuffled anew when too few are left.

    Together the members see as many rows as they can; drawn independently, their scores would vary twice as much.
    """
    hands, cards = [], torch.empty(0, dtype=torch.long)
    for _ in range(n_members):
        if len(cards) < size:
            cards = torch.randperm(n_rows, generator=generator)
        hands.append(cards[:size])
        cards = cards[size:]
    return torch.stack(hands)


@storable_members
class Members:
    """Fitted transformers. A type of its own, so that saving without pickle keeps the fit, or refuses."""

    def __init__(self, fitted: Iterable[Any]):
        self.fitted = list(fitted)

    def __iter__(self):
        return iter(self.fitted)


class NetworkCommittee:
    """Small autoencoders of standardised rows, trained as one computation; codes and reconstructions of all of them."""

    def __init__(self, standardization: Standardization, ensemble: AutoencoderEnsemble):
        self.standardization, self.ensemble = standardization, ensemble

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        standardization: Standardization,
        *,
        n_members: int,
        sizes: list[int],
        generators: tuple[torch.Generator, torch.Generator],
        **training: Any,
    ) -> tuple["NetworkCommittee", list[float]]:
        """Train on rows; ``generators`` draw the weights and the batches. Returns the losses of the steps, too."""
        with torch.inference_mode(False), torch.enable_grad():
            ensemble = AutoencoderEnsemble(n_members, sizes)
            ensemble.initialize(generators[0])
            rows = standardization.apply(X, _TRAINING_RANGE).float()
            losses = train_ensemble(ensemble, rows, generator=generators[1], **training)
        return cls(standardization, ensemble), losses

    @property
    def state(self) -> dict[str, Any]:
        """What the committee is made of, as plain arrays and numbers."""
        weights = {name: value.detach().numpy().copy() for name, value in self.ensemble.state_dict().items()}
        return {**vars(self.standardization), "sizes": self.ensemble.sizes, "weights": weights}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "NetworkCommittee":
        """The inverse of ``state``."""
        weights = {name: torch.from_numpy(np.array(value)) for name, value in state["weights"].items()}
        ensemble = AutoencoderEnsemble(len(weights["biases.0"]), list(state["sizes"]))
        ensemble.load_state_dict(weights)
        return cls(Standardization(state["center"], state["spread"]), ensemble.eval())

    def standardize(self, X: np.ndarray) -> Tensor:
        """Standardised rows as the networks read them, float32."""
        return self.standardization.apply(X, FAR).float()

    def reconstruct(self, X: np.ndarray) -> Tensor:
        """Standardised reconstructions, ``(n_members, n, n_features)``."""
        return self.ensemble(self.standardize(X))

    def reconstruct_own(self, X: np.ndarray, chosen: Tensor) -> Tensor:
        """The same of each member's own rows, by their numbers ``(n_members, n_own)``."""
        with torch.no_grad():
            return self.ensemble(self.standardize(X)[chosen])

    def is_finite(self) -> bool:
        """Whether training has led to weights that can be used."""
        return all(bool(weights.isfinite().all()) for weights in self.ensemble.parameters())

    def encode(self, X: np.ndarray) -> list[Tensor]:
        """Codes of each member."""
        return list(self.ensemble.encode(self.standardize(X)))


class CloneCommittee:
    """Transformers with ``inverse_transform``, each fitted on a subsample of the rows.

    ``standardization``: None for series of unequal lengths, whose cells have no counterparts in other rows.
    """

    def __init__(self, standardization: Standardization | None, members: Iterable[Any]):
        self.standardization, self.members = standardization, Members(members)

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        standardization: Standardization | None,
        transformer: Any,
        *,
        subsamples: Tensor,
        seeds: Sequence[int],
        trim: float,
        row_shape: tuple[int, ...],
        n_jobs: int | None,
    ) -> "CloneCommittee":
        """Fit a clone on each subsample, and again without the share ``trim`` of its rows with the highest errors.

        ``row_shape``: the form in which clones are to see rows in ``fit``; they take flat ones ever after.
        """
        members = joblib.Parallel(n_jobs=n_jobs)(
            joblib.delayed(_fit_trimmed)(_seeded(clone(transformer), seed), X[own], standardization, trim, row_shape)
            for own, seed in zip(subsamples.numpy(), seeds, strict=True)
        )
        return cls(standardization, members)

    @property
    def state(self) -> dict[str, Any]:
        """What the committee is made of."""
        scales = {} if self.standardization is None else vars(self.standardization)
        return {**scales, "members": self.members}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "CloneCommittee":
        """The inverse of ``state``."""
        standardization = Standardization(state["center"], state["spread"]) if "center" in state else None
        return cls(standardization, state["members"])

    def standardize(self, X: np.ndarray) -> Tensor:
        """Standardised rows, float64."""
        assert self.standardization is not None, "series of unequal lengths are not compared cell by cell"
        return self.standardization.apply(X, 1e100)

    def reconstruct(self, X: np.ndarray) -> Tensor:
        """Standardised reconstructions, ``(n_members, n, n_features)``."""
        return torch.stack([self.standardize(_through(member, X)) for member in self.members])

    def reconstruct_own(self, X: np.ndarray, chosen: Tensor) -> Tensor:
        """The same of each member's own rows, by their numbers ``(n_members, n_own)``."""
        own = zip(self.members, chosen.numpy(), strict=True)
        return torch.stack([self.standardize(_through(member, X[numbers])) for member, numbers in own])

    def encode(self, X: np.ndarray) -> list[Tensor]:
        """Codes of each member."""
        return [torch.from_numpy(np.asarray(member.transform(X), dtype=np.float64)) for member in self.members]

    def log_likelihood(self, X: np.ndarray) -> np.ndarray:
        """``score_samples`` averaged over members, ``(n,)``; of series of unequal lengths for each cell."""
        return np.mean([_scores(member, X, per_cell=self.standardization is None) for member in self.members], axis=0)


def _through(member: Any, X: np.ndarray) -> np.ndarray:
    """Rows through a transformer and back, as an array whatever it gives."""
    return np.asarray(member.inverse_transform(np.asarray(member.transform(X))), dtype=np.float64).reshape(X.shape)


def _fit_trimmed(
    member: Any, X: np.ndarray, standardization: Standardization | None, trim: float, row_shape: tuple[int, ...]
) -> Any:
    n_left_out = int(trim * len(X))
    member.fit(X.reshape(-1, *row_shape))
    if n_left_out:
        order = _errors(member, X, standardization).argsort(stable=True).numpy()
        kept = np.sort(order[: len(X) - n_left_out])
        try:
            member = clone(member).fit(X[kept].reshape(-1, *row_shape))
        except ValueError as error:
            raise ValueError(
                f"trim={trim} leaves {len(kept)} of {len(X)} rows to fit {type(member).__name__} again, which it "
                "refuses; use trim=0."
            ) from error
    return member


def _errors(member: Any, X: np.ndarray, standardization: Standardization | None) -> Tensor:
    """How badly a member reconstructs its rows; of series that may end early, for each cell that is there."""
    if standardization is None:
        return torch.from_numpy(-_scores(member, X, per_cell=True))
    if is_of_categories(member) and hasattr(member, "score_samples"):  # whose numbers have no distances
        return torch.from_numpy(-_scores(member, X, per_cell=False))
    residuals = standardization.apply(X, 1e100) - standardization.apply(_through(member, X), 1e100)
    return residuals.square().sum(1)


def is_of_categories(transformer: Any) -> bool:
    """Whether it is an autoencoder of categories, or a Pipeline that ends in one."""
    while isinstance(transformer, Pipeline):
        transformer = transformer.steps[-1][1]
    likelihood = getattr(transformer, "likelihood", None)
    return isinstance(likelihood, Categorical) or likelihood == "categorical"


def _scores(member: Any, X: np.ndarray, *, per_cell: bool) -> np.ndarray:
    """Log-likelihoods, float64; a sum over cells would go by their number, and for a density by the units, too."""
    scores = np.asarray(member.score_samples(X), dtype=np.float64)
    return scores / (~np.isnan(X)).sum(axis=1).clip(1) if per_cell else scores


def _seeded(transformer: Any, seed: int) -> Any:
    """With every ``random_state`` set, nested ones too."""
    names = [name for name in transformer.get_params() if name == "random_state" or name.endswith("__random_state")]
    return transformer.set_params(**dict.fromkeys(names, seed)) if names else transformer
