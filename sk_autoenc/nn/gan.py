"""The container of a generative adversarial network: a generator, its running average, and a critic of rows."""

from typing import Any

import torch
from torch import Tensor, nn

from sk_autoenc.nn import averages
from sk_autoenc.nn.blocks import Activation, Linear

#: Frequencies at which a critic of few columns also reads sine and cosine of each.
FREQUENCIES = (1.0, 2.0, 4.0)

#: Slope of the leaky ReLU for negative values, which the initial weights allow for.
_SLOPE = 0.2


class MixtureMap(nn.Module):
    """Latent numbers as draws of a gaussian mixture: the first chooses the component, others are noise within it.

    ``(n, 1 + n_features or more) -> (n, n_features)``. A mixture of any size can be set or loaded.

    Parameters
    ----------
    n_features : int
        Number of columns.
    """

    thresholds: Tensor  # (n_clusters - 1,): where the first number passes from one component to the next
    means: Tensor  # (n_clusters, n_features)
    factors: Tensor  # (n_clusters, n_features, n_features): Cholesky factors; or (n_clusters, n_features): deviations

    def __init__(self, n_features: int):
        super().__init__()
        self.register_buffer("thresholds", torch.zeros(0))
        self.register_buffer("means", torch.zeros(1, n_features))
        self.register_buffer("factors", torch.ones(1, n_features))

    def set(self, weights: Tensor, means: Tensor, factors: Tensor) -> None:
        """Become this mixture."""
        cumulated = weights.double().cumsum(0)[:-1].clamp(0, 1)
        for name, value in (("thresholds", torch.special.ndtri(cumulated)), ("means", means), ("factors", factors)):
            setattr(self, name, value.to(self.means))

    def take_sizes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Become a mixture of unset numbers with arrays of these shapes, if they go together."""
        means = shapes.get("means", ())
        n_clusters, n_features = means[:1], self.means.shape[1:]
        factors = ((*n_clusters, *n_features), (*n_clusters, *n_features, *n_features))
        if means != factors[0] or not n_clusters[0] or shapes.get("factors") not in factors:
            return
        if shapes.get("thresholds") == (n_clusters[0] - 1,):
            for name, buffer in list(self.named_buffers()):
                setattr(self, name, buffer.new_empty(shapes[name]))

    def forward(self, code: Tensor) -> Tensor:
        chosen = (code[:, :1] > self.thresholds).sum(-1)
        means, factors = self.means[chosen], self.factors[chosen]
        noise = code[:, 1 : 1 + means.shape[1]]
        spread = factors * noise if factors.ndim == 2 else (factors * noise[:, None]).sum(-1)
        return means + spread

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        for name, buffer in self.named_buffers():
            if (given := state_dict.get(prefix + name)) is not None and given.shape != buffer.shape:
                setattr(self, name, buffer.new_empty(given.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class SpectralLinear(Linear):
    """A linear layer divided by its largest singular value, which one power iteration a call follows.

    Miyato et al. (2018), https://arxiv.org/abs/1802.05957.
    """

    left: Tensor  # (out_features,)

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features)
        self.register_buffer("left", torch.zeros(out_features))

    def initialize(self, generator: torch.Generator) -> None:
        """Fill what training does not learn."""
        self.left.copy_(nn.functional.normalize(torch.randn(self.left.shape, generator=generator), dim=0))

    def weights(self) -> Tensor:
        with torch.no_grad():
            right = nn.functional.normalize(self.weight.T @ self.left, dim=0)
            left = nn.functional.normalize(self.weight @ right, dim=0)
            if self.training:
                self.left.copy_(left)
        return self.weight / (left @ self.weight @ right).clamp_min(torch.finfo(self.weight.dtype).tiny)


class Critic(nn.Module):
    """What a critic says of rows, ``(n,)``: any number, high for rows that it takes for real.

    Parameters
    ----------
    network : nn.Module
        Reads rows, their waves and, with ``n_read``, the condition; gives one number, or features for ``n_projected``.
    has_waves : bool
        Whether it reads sine and cosine of every column, which let it see finer structure.
    reads_condition : bool
        Whether the network reads the condition beside the row.
    n_projected, n_features : int
        Length of a condition that meets ``n_features`` features in an inner product (Miyato and Koyama 2018); or 0.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        has_waves: bool = False,
        reads_condition: bool = False,
        n_projected: int = 0,
        n_features: int = 0,
    ):
        super().__init__()
        self.network, self.has_waves, self.reads_condition = network, has_waves, reads_condition
        self.head = self.projection = None
        if n_projected:
            self.activation = Activation("leaky_relu")
            self.head, self.projection = Linear(n_features, 1), Linear(n_projected, n_features)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        read = [x]
        if self.has_waves:
            angles = torch.cat([frequency * x for frequency in FREQUENCIES], dim=1)
            read += [angles.sin(), angles.cos()]
        if self.reads_condition and condition is not None:
            read.append(condition)
        out = self.network(torch.cat(read, dim=1) if len(read) > 1 else x)
        if self.head is None or self.projection is None:
            return out[:, 0]
        features = self.activation(out)
        return self.head(features)[:, 0] + (self.projection(condition) * features).sum(-1)

    @staticmethod
    def n_inputs(n_features: int, *, has_waves: bool, n_condition: int = 0) -> int:
        """Number of columns that the network reads."""
        return n_features * (1 + 2 * len(FREQUENCIES) * has_waves) + n_condition


class GenerativeAdversarialNetwork(nn.Module):
    """A generator and a critic; rows are made by the running average of the generator.

    Parameters
    ----------
    generator, average : nn.Module
        Networks of one shape, ``(n, n_inputs) -> (n, n_features)``; the first learns, the second follows it.
    critic : Critic
        What the generator is to deceive.
    n_components : int
        Length of a latent code.
    mixture : MixtureMap or None
        Where codes start from: the generator then reads that row and the code, and adds to the row.
    """

    age: Tensor

    def __init__(
        self,
        generator: nn.Module,
        average: nn.Module,
        critic: nn.Module,
        *,
        n_components: int,
        mixture: MixtureMap | None = None,
    ):
        super().__init__()
        self.generator, self.average, self.critic = generator, average.requires_grad_(False), critic
        self.n_components, self.mixture = n_components, mixture
        self.register_buffer("age", torch.zeros(()))  # number of steps that the average has followed

    @staticmethod
    def n_read(n_components: int, n_features: int, *, has_mixture: bool, n_condition: int = 0) -> int:
        """Number of columns that the generator's network reads."""
        return n_components + n_condition + n_features * has_mixture

    def initialize(self, generator: torch.Generator) -> None:
        """Weights of all layers for leaky ReLUs (He et al. 2015), biases zero; the average begins as the generator."""
        for part in (self.generator, self.critic):
            for layer in part.modules():
                if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, a=_SLOPE, generator=generator)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)
        self.age.zero_()
        self.restart_average()

    def draw_codes(self, n: int, generator: torch.Generator) -> Tensor:
        """Standard normal codes, on the device of the generator."""
        return torch.randn(n, self.n_components, dtype=torch.float32, generator=generator, device=generator.device)

    def generate(self, n: int, generator: torch.Generator, condition: Tensor | None = None) -> Tensor:
        """Rows as the generator makes them now, to be trained through."""
        return self._through(self.generator, self.draw_codes(n, generator), condition)

    def decode(self, code: Tensor, condition: Tensor | None = None) -> Tensor:
        """Rows as the average makes them."""
        return self._through(self.average, code, condition)

    def forward(self, code: Tensor, generator: Any = None) -> Tensor:
        return self.decode(code)

    def _through(self, network: nn.Module, code: Tensor, condition: Tensor | None) -> Tensor:
        conditions = [] if condition is None else [condition]
        if self.mixture is None:
            return network(torch.cat([code, *conditions], dim=1) if conditions else code)
        start = self.mixture(code)
        return start + network(torch.cat([start, code, *conditions], dim=1))

    def follow(self, decay: float) -> None:
        """Move the average towards the generator, faster while it is young."""
        averages.follow(self.average, self.generator, self.age, decay)

    def restart_average(self) -> None:
        """Make the average equal to the generator."""
        averages.restart(self.average, self.generator)
