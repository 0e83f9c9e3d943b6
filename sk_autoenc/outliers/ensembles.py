"""The members of an outlier detector: small networks trained together, or clones of a transformer on subsamples.

Both kinds have the same methods: ``standardize`` rows, ``reconstruct`` them by every member, and ``encode`` them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import joblib
import numpy as np
import torch
from joblib.parallel import get_active_backend
from sklearn.base import clone
from torch import Tensor

from sk_autoenc.data.scaling import Scaling
from sk_autoenc.outliers.batched_networks import AutoencoderEnsemble, train_ensemble
from sk_autoenc.outliers.progress import Progress
from sk_autoenc.outliers.scores import CLIP
from sk_autoenc.outliers.stored import storable_members
from sk_autoenc.outliers.transformers import is_of_categories, with_seed

#: Networks are trained on standardised values clipped to this range.
_TRAINING_CLIP = 20.0

#: Clones read rows in their own units. Their standardised values are clipped only where squares would overflow.
_CLONE_CLIP = 1e100


def draw_without_replacement(n_rows: int, size: int, n_members: int, generator: torch.Generator) -> Tensor:
    """Row numbers for each member, ``(n_members, size)``; no member has a row twice.

    Members share a row only when all rows are used up: the next member then draws from all rows again. So the members
    together see as many rows as they can. With independent draws the variance of scores would be twice as large.
    """
    subsamples, remaining = [], torch.empty(0, dtype=torch.long)
    for _ in range(n_members):
        if len(remaining) < size:
            remaining = torch.randperm(n_rows, generator=generator)
        subsamples.append(remaining[:size])
        remaining = remaining[size:]
    return torch.stack(subsamples)


@storable_members
class Members:
    """A list of fitted transformers. It has a class of its own, so that ``save`` can recognise and store it."""

    def __init__(self, fitted: Iterable[Any]):
        self.fitted = list(fitted)

    def __iter__(self):
        return iter(self.fitted)


class NetworkEnsemble:
    """Small autoencoders of standardised rows, trained as one computation.

    Parameters
    ----------
    scaling : Scaling
        Standardises rows.
    networks : AutoencoderEnsemble
        Trained.
    """

    def __init__(self, scaling: Scaling, networks: AutoencoderEnsemble):
        self.scaling, self.networks = scaling, networks

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        scaling: Scaling,
        *,
        n_members: int,
        sizes: list[int],
        generators: tuple[torch.Generator, torch.Generator],
        **training: Any,
    ) -> tuple["NetworkEnsemble", list[float]]:
        """Train on rows, and return the loss of each step, too.

        ``generators`` draw the weights and the batches; ``training`` goes to :func:`train_ensemble`.
        """
        with torch.inference_mode(False), torch.enable_grad():
            networks = AutoencoderEnsemble(n_members, sizes)
            networks.initialize(generators[0])
            rows = torch.from_numpy(scaling.apply_clipped(X, _TRAINING_CLIP)).float()
            losses = train_ensemble(networks, rows, generator=generators[1], **training)
        return cls(scaling, networks), losses

    @property
    def state(self) -> dict[str, Any]:
        """Plain arrays and numbers that :meth:`from_state` reads."""
        weights = {name: value.detach().numpy().copy() for name, value in self.networks.state_dict().items()}
        return {"scaling": self.scaling, "sizes": self.networks.sizes, "weights": weights}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "NetworkEnsemble":
        """The inverse of ``state``."""
        weights = {name: torch.from_numpy(np.array(value)) for name, value in state["weights"].items()}
        networks = AutoencoderEnsemble(len(weights["biases.0"]), list(state["sizes"]))
        networks.load_state_dict(weights)
        return cls(state["scaling"], networks.eval())

    def standardize(self, X: np.ndarray) -> Tensor:
        """Standardised and clipped rows as the networks read them, float32."""
        return torch.from_numpy(self.scaling.apply_clipped(X, CLIP)).float()

    def reconstruct(self, X: np.ndarray) -> Tensor:
        """Standardised reconstructions, ``(n_members, n, n_features)``."""
        return self.networks(self.standardize(X))

    def reconstruct_subsamples(self, X: np.ndarray, subsamples: Tensor) -> Tensor:
        """Each member's reconstructions of its own rows, whose numbers are ``(n_members, size)``."""
        with torch.no_grad():
            return self.networks(self.standardize(X)[subsamples])

    def is_finite(self) -> bool:
        """Whether all weights are finite after training."""
        return all(bool(weights.isfinite().all()) for weights in self.networks.parameters())

    def encode(self, X: np.ndarray) -> list[Tensor]:
        """Codes of each member."""
        return list(self.networks.encode(self.standardize(X)))


class CloneEnsemble:
    """Transformers with ``inverse_transform``, each fitted on a subsample of the rows.

    Parameters
    ----------
    scaling : Scaling or None
        Standardises rows and reconstructions. None for series of unequal lengths, whose cells cannot be compared
        across rows.
    members : iterable of transformers
        Fitted.
    """

    def __init__(self, scaling: Scaling | None, members: Iterable[Any]):
        self.scaling, self.members = scaling, Members(members)

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        scaling: Scaling | None,
        transformer: Any,
        *,
        subsamples: Tensor,
        seeds: Sequence[int],
        trim: float,
        row_shape: tuple[int, ...],
        n_jobs: int | None,
        progress: Progress,
    ) -> "CloneEnsemble":
        """Fit a clone on each subsample, then again without the share ``trim`` of its rows with the highest errors.

        ``row_shape`` is the shape of rows in the clones' ``fit``. All other methods of the clones read flat rows.
        """
        # A generator shows progress while clones are fitted. Some backends of joblib have none.
        backend, _ = get_active_backend()
        lazily = getattr(backend, "supports_return_generator", False)
        fitted = iter(
            joblib.Parallel(n_jobs=n_jobs, return_as="generator" if lazily else "list")(
                joblib.delayed(_fit_trimmed)(with_seed(clone(transformer), seed), X[own], scaling, trim, row_shape)
                for own, seed in zip(subsamples.numpy(), seeds, strict=True)
            )
        )
        members = []
        for i in range(len(seeds)):
            with progress.part():
                members.append(next(fitted))
                progress.print(f"clone {i + 1} of {len(seeds)} is fitted")
        return cls(scaling, members)

    @property
    def state(self) -> dict[str, Any]:
        """What :meth:`from_state` reads."""
        return {"scaling": self.scaling, "members": self.members}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "CloneEnsemble":
        """The inverse of ``state``."""
        return cls(state["scaling"], state["members"])

    def standardize(self, X: np.ndarray) -> Tensor:
        """Standardised rows, float64."""
        assert self.scaling is not None, "series of unequal lengths are not compared cell by cell"
        return _standardized(X, self.scaling)

    def reconstruct(self, X: np.ndarray) -> Tensor:
        """Standardised reconstructions, ``(n_members, n, n_features)``."""
        return torch.stack([self.standardize(_reconstructed(member, X)) for member in self.members])

    def reconstruct_subsamples(self, X: np.ndarray, subsamples: Tensor) -> Tensor:
        """Each member's reconstructions of its own rows, whose numbers are ``(n_members, size)``."""
        pairs = zip(self.members, subsamples.numpy(), strict=True)
        return torch.stack([self.standardize(_reconstructed(member, X[own])) for member, own in pairs])

    def encode(self, X: np.ndarray) -> list[Tensor]:
        """Codes of each member."""
        return [torch.from_numpy(np.asarray(member.transform(X), dtype=np.float64)) for member in self.members]

    def log_likelihood(self, X: np.ndarray) -> np.ndarray:
        """Mean of the members' ``score_samples``, ``(n,)``; for series of unequal lengths per cell."""
        per_cell = self.scaling is None
        return np.mean([_log_likelihood(member, X, per_cell=per_cell) for member in self.members], axis=0)


def reconstruction_errors(member: Any, X: np.ndarray, scaling: Scaling | None) -> Tensor:
    """The errors by which rows are trimmed, ``(n,)``.

    For numbers they are squared residuals. Categories have no distances, so there they are minus the log-likelihood;
    for series of unequal lengths (``scaling=None``) that is divided by the number of cells.
    """
    if scaling is None:
        return torch.from_numpy(-_log_likelihood(member, X, per_cell=True))
    if is_of_categories(member) and hasattr(member, "score_samples"):
        return torch.from_numpy(-_log_likelihood(member, X, per_cell=False))
    residuals = _standardized(X, scaling) - _standardized(_reconstructed(member, X), scaling)
    return residuals.square().sum(1)


def _standardized(X: np.ndarray, scaling: Scaling) -> Tensor:
    return torch.from_numpy(scaling.apply_clipped(X, _CLONE_CLIP))


def _reconstructed(member: Any, X: np.ndarray) -> np.ndarray:
    """Reconstructions as an array, also where the transformer returns data frames."""
    return np.asarray(member.inverse_transform(np.asarray(member.transform(X))), dtype=np.float64).reshape(X.shape)


def _fit_trimmed(member: Any, X: np.ndarray, scaling: Scaling | None, trim: float, row_shape: tuple[int, ...]) -> Any:
    n_left_out = int(trim * len(X))
    member.fit(X.reshape(-1, *row_shape))
    if n_left_out:
        order = reconstruction_errors(member, X, scaling).argsort(stable=True).numpy()
        kept = np.sort(order[: len(X) - n_left_out])
        try:
            member = clone(member).fit(X[kept].reshape(-1, *row_shape))
        except ValueError as error:
            raise ValueError(
                f"trim={trim} leaves {len(kept)} of {len(X)} rows for the second fit of {type(member).__name__}, which "
                "refuses them; use trim=0."
            ) from error
    return member


def _log_likelihood(member: Any, X: np.ndarray, *, per_cell: bool) -> np.ndarray:
    """``score_samples`` in float64. Per cell, neither the length of a series nor the units of ``X`` decide ranks."""
    scores = np.asarray(member.score_samples(X), dtype=np.float64)
    return scores / (~np.isnan(X)).sum(axis=1).clip(1) if per_cell else scores
