"""Fully connected networks, for rows of a table."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from sk_autoenc.architectures.base import Architecture
from sk_autoenc.nn.blocks import (
    ACTIVATIONS,
    POSITIVELY_HOMOGENEOUS,
    BoundedLinear,
    Linear,
    LinearPlusNonlinear,
    multilayer_perceptron,
)
from sk_autoenc.storage import by_params


@by_params(check=lambda architecture: architecture.check())
class MLP(Architecture):
    """Fully connected encoder and the mirrored decoder.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(128, 64)
        Widths of the encoder's hidden layers, from the rows to the code; the decoder has them in reverse.
        Empty for a linear map.
    activation : {"relu", "leaky_relu", "silu", "gelu", "tanh", ...}, default="silu"
        Function of the hidden layers; also ``"sigmoid"``, ``"softplus"``, ``"asinh"`` and ``"identity"``.
    code_activation : {"identity", "relu", "sigmoid", "tanh", ...}, default="identity"
        Function applied to the code; any of the names that ``activation`` takes. ``"relu"`` gives sparse codes
        exact zeros, ``"sigmoid"`` codes in (0, 1).
    residual : bool, default=False
        Whether a hidden layer as wide as the one before it adds to its input, ``x + activation(W norm(x))``,
        instead of replacing it. Deep networks train better this way.

    Examples
    --------
    >>> from sk_autoenc import MLP, AutoencoderTransformer
    >>> AutoencoderTransformer(architecture=MLP((32,), activation="tanh"))
    AutoencoderTransformer(architecture=MLP(activation='tanh',
                                            hidden_layer_sizes=(32,)))
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (128, 64),
        *,
        activation: str = "silu",
        code_activation: str = "identity",
        residual: bool = False,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.code_activation = code_activation
        self.residual = residual

    reads_columns, is_batchable = True, True

    @property
    def has_first_layer_gain(self) -> bool:
        """Whether a gain of the first layer has an effect; if units are homogeneous, it has none."""
        return self.activation not in POSITIVELY_HOMOGENEOUS

    @property
    def n_layers(self) -> int:
        """Layers of the encoder."""
        return len(self.hidden_layer_sizes) + 1

    def check(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""
        self._check_widths("hidden_layer_sizes")
        self._check_choice("activation", sorted(ACTIVATIONS))
        self._check_choice("code_activation", sorted(ACTIVATIONS))
        self._check_flags("residual")

    def make_encoder(
        self, n_features: int, n_components: int, *, linear_path: bool, linear: type[Linear] = Linear
    ) -> nn.Module:
        """``(batch, n_features) -> (batch, n_components)``; with ``linear_path`` a linear map is added."""
        encoder = self._network([n_features, *self.hidden_layer_sizes, n_components], linear_path, linear)
        return self._with_code_activation(encoder)

    def make_decoder(self, n_components: int, n_outputs: int, *, linear_path: bool, bounded: bool) -> nn.Module:
        """``(batch, n_components) -> (batch, n_outputs)``; ``bounded``: every column has norm 1 at most."""
        sizes = [n_components, *reversed(self.hidden_layer_sizes), n_outputs]
        return self._network(sizes, linear_path, BoundedLinear if bounded else Linear)

    def _network(self, sizes: list[int], linear_path: bool, linear: type[Linear]) -> nn.Module:
        if len(sizes) == 2:
            return nn.Sequential(OrderedDict(linear_path=linear(sizes[0], sizes[1])))
        network = multilayer_perceptron(sizes, self.activation, residual=self.residual, linear=linear)
        if not linear_path:
            return network
        return LinearPlusNonlinear(linear(sizes[0], sizes[-1]), network)
