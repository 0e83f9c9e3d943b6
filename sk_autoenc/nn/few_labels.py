"""Containers of networks that learn from few labels, each with the baseline that it is compared with."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sk_autoenc.nn.blocks import ALIGNED_WIDTH, Linear

#: Changes rows in training: ``(rows, generator) -> rows``.
Augmentation = Callable[[Tensor, torch.Generator], Tensor]

#: Largest move of images, as a share of a side; largest angle, in radians; largest change of size.
_MOVE, _ANGLE, _ZOOM = 0.07, 0.25, 0.12


class BaselineModel(nn.Module):
    """The mean of a vote of nearest neighbours and a linear model, both of PCA codes; nothing of it is trained.

    ``(n, n_features) -> (n, n_outputs)``: probabilities of classes, or a value.

    Parameters
    ----------
    n_features : int
        Number of columns that it reads.
    n_outputs : int
        Number of classes, or 1.
    is_class : bool
        Whether outputs are probabilities.
    n_neighbors : int
        Neighbours that vote.
    """

    mean: Tensor  # (n_features,)
    axes: Tensor  # (p, n_features)
    codes: Tensor  # (m, p)
    values: Tensor  # (m, n_outputs)
    slope: Tensor  # (n_outputs, p)
    bias: Tensor  # (n_outputs,)
    share: Tensor  # (): of the vote

    def __init__(self, n_features: int, n_outputs: int, *, is_class: bool, n_neighbors: int):
        super().__init__()
        self.is_class, self.n_neighbors = is_class, n_neighbors
        sizes = {"mean": (n_features,), "axes": (ALIGNED_WIDTH, n_features), "codes": (1, ALIGNED_WIDTH)}
        sizes |= {"values": (1, n_outputs), "slope": (n_outputs, ALIGNED_WIDTH), "bias": (n_outputs,), "share": ()}
        for name, shape in sizes.items():
            self.register_buffer(name, torch.zeros(shape))

    def initialize(self, generator: torch.Generator) -> None:
        """Fill what a start sets; nothing is drawn."""
        for buffer in self.buffers():
            buffer.zero_()

    def set(self, *, axes: Tensor, codes: Tensor, slope: Tensor, **others: Tensor) -> None:
        """Become this model; codes get columns of zeros, for products that compute every row alike."""
        spare = -len(axes) % ALIGNED_WIDTH
        padded = {"axes": F.pad(axes, (0, 0, 0, spare)), "codes": F.pad(codes, (0, spare))}
        padded["slope"] = F.pad(slope, (0, spare))
        for name, value in (padded | others).items():
            setattr(self, name, value.to(self.mean))

    def take_sizes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Become a model of unset numbers with arrays of these shapes, if they go together."""
        n_outputs, n_features = len(self.bias), len(self.mean)
        m, p = (*shapes.get("codes", ()), 0, 0)[:2]
        found = {name: shapes.get(name) for name in _SIZED}
        wanted = {"axes": (p, n_features), "codes": (m, p), "values": (m, n_outputs), "slope": (n_outputs, p)}
        if found == wanted and m and p:
            for name, shape in wanted.items():
                setattr(self, name, self.mean.new_empty(shape))

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        for name in _SIZED:
            if (given := state_dict.get(prefix + name)) is not None and given.shape != getattr(self, name).shape:
                setattr(self, name, self.mean.new_empty(given.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        code = (x - self.mean) @ self.axes.T
        straight = (code[:, None, :] * self.slope).sum(-1) + self.bias
        if self.is_class:
            straight = straight.softmax(-1)
        # Not by matrix products, which would round a row's distances by its place in the block.
        distances = torch.cdist(code, self.codes, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = distances.topk(min(self.n_neighbors, len(self.codes)), largest=False).indices
        return torch.lerp(straight, self.values[nearest].mean(1), self.share)


_SIZED = ("axes", "codes", "values", "slope")


class FewLabelNetwork(nn.Module):
    """A network that answers for rows, beside its baseline; ``kept`` says that the baseline is the result.

    Parameters
    ----------
    baseline : BaselineModel
        The baseline.
    """

    kept: Tensor  # (): bool

    def __init__(self, baseline: BaselineModel):
        super().__init__()
        self.baseline = baseline
        self.register_buffer("kept", torch.zeros((), dtype=torch.bool))

    def initialize(self, generator: torch.Generator) -> None:
        """Fill what training does not learn; nothing is drawn."""
        self.kept.fill_(False)

    @property
    def is_class(self) -> bool:
        """Whether answers are probabilities of classes."""
        return self.baseline.is_class

    @abstractmethod
    def answer(self, x: Tensor) -> Tensor:
        """The network's probabilities of classes, or its standardised value; ``(n, n_outputs)``, float64."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """The code of each row."""

    def result(self, x: Tensor) -> Tensor:
        """Probabilities or values of the baseline, if this is the result, else of the network; float64."""
        return self.baseline_answer(x) if self.kept else self.answer(x)

    def baseline_answer(self, x: Tensor) -> Tensor:
        """The same of the baseline."""
        found = self.baseline(x).double()
        return found / found.sum(-1, keepdim=True) if self.is_class else found


class FineTunedOutput(NamedTuple):
    """The output of a training step's forward pass."""

    raw: Tensor  # (batch, n_outputs): log-odds of classes, or a value, of augmented rows
    plain: Tensor | None  # (batch, n_outputs): the same of the rows themselves, without gradients; None for values


class FineTunedNetwork(FewLabelNetwork):
    """The encoder of an autoencoder, and a linear layer on its codes.

    Parameters
    ----------
    autoencoder : nn.Module
        Has ``encode``; what only decodes is dropped.
    output : Linear
        ``(batch, n_components) -> (batch, n_outputs)``.
    baseline : BaselineModel
        The baseline.
    augmentation : callable or None
        Changes rows in training.
    layer_decay : float
        Learning rate of a layer, in units of that of the layer above it.
    """

    def __init__(
        self,
        autoencoder: Any,
        output: Linear,
        baseline: BaselineModel,
        *,
        augmentation: Augmentation | None = None,
        layer_decay: float = 1.0,
    ):
        super().__init__(baseline)
        for part in ("decoder", "head", "critic"):
            if hasattr(autoencoder, part):
                setattr(autoencoder, part, nn.Identity())
        self.autoencoder, self.output = autoencoder, output
        self.augmentation, self.layer_decay = augmentation, layer_decay

    def encode(self, x: Tensor) -> Tensor:
        return self.autoencoder.encode(x)

    def answer(self, x: Tensor) -> Tensor:
        raw = self.output(self.encode(x)).double()
        return raw.softmax(-1) if self.is_class else raw

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> FineTunedOutput:
        plain = None
        if self.is_class and generator is not None and self.training:
            with torch.no_grad():
                plain = self.output(self.encode(x))
        if self.augmentation is not None and generator is not None:
            x = self.augmentation(x, generator)
        return FineTunedOutput(self.output(self.encode(x)), plain)

    def take_weights(self, autoencoder: nn.Module) -> None:
        """Copy the encoder of a trained autoencoder."""
        wanted = self.autoencoder.state_dict()
        self.autoencoder.load_state_dict({n: w for n, w in autoencoder.state_dict().items() if n in wanted})

    def rate_of(self, name: str) -> float:
        """Learning rate of a parameter in units of that of the output layer (Howard and Ruder 2018)."""
        layers = [found for found, _ in self.autoencoder.named_parameters()]
        owners = list(dict.fromkeys(found.rpartition(".")[0] for found in layers))
        owner = name.removeprefix("autoencoder.").rpartition(".")[0]
        if owner not in owners or "linear_path" in owner:
            return 1.0 if owner not in owners else self.layer_decay
        depth = [found for found in owners if "linear_path" not in found]
        return self.layer_decay ** (len(depth) - depth.index(owner))


class MovedImages:
    """Images that are moved at random, and with ``turns`` also turned and scaled; cells at the edges are repeated.

    Parameters
    ----------
    layout : ImageLayout
        How rows hold images.
    turns : bool
        Whether images are also turned, by 0.25 radians at most, and scaled, by 12 % at most.
    """

    def __init__(self, layout: Any, *, turns: bool):
        self.layout, self.turns = layout, turns

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        maps = self.layout.to_maps(rows.flatten(1))
        grid = F.affine_grid(self._transforms(len(rows), generator, rows), list(maps.shape), align_corners=False)
        moved = F.grid_sample(maps, grid, padding_mode="border", align_corners=False)
        return self.layout.to_rows(moved)

    def _transforms(self, n: int, generator: torch.Generator, like: Tensor) -> Tensor:
        """An affine map of each image; ``(n, 2, 3)``."""
        drawn = 2 * torch.rand(4, n, generator=generator, device=like.device, dtype=like.dtype) - 1
        across, down = 2 * _MOVE * drawn[:2]  # an image is 2 wide and 2 high here
        angle, size = _ANGLE * drawn[2] * self.turns, 1 + _ZOOM * drawn[3] * self.turns
        if self.layout.height == 1:  # a series
            down, angle = torch.zeros_like(down), torch.zeros_like(angle)
        cosine, sine = size * angle.cos(), size * angle.sin()
        ratio = self.layout.height / self.layout.width  # units of both axes differ
        return torch.stack([cosine, -sine * ratio, across, sine / ratio, cosine, down], dim=1).view(n, 2, 3)


class InUnits:
    """A change of rows as the network reads them, by a function of rows in the units and the shape of ``X``.

    Parameters
    ----------
    function : callable
        ``(rows, generator) -> rows``, of shape ``(n, *shape)``.
    shape : tuple of int
        Shape of a row.
    center, scale : ndarray of shape (n_features,), float32
        Those of the rows that the network reads.
    """

    def __init__(self, function: Augmentation, shape: tuple[int, ...], center: np.ndarray, scale: np.ndarray):
        self.function, self.shape, self.center, self.scale = function, shape, center, scale

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        center, scale = (torch.from_numpy(known).to(x) for known in (self.center, self.scale))
        rows = (x * scale + center).unflatten(1, self.shape)
        changed = self.function(rows, generator)
        if not isinstance(changed, Tensor) or len(changed) != len(x) or changed.numel() != x.numel():
            found = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise ValueError(f"augment must return a tensor of shape {tuple(rows.shape)}, got {found}.")
        return (changed.reshape(len(x), -1).to(x) - center) / scale
