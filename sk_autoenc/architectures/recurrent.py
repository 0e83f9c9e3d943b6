"""Recurrent networks, for series and sequences of tokens."""

import math
from typing import Any

from sklearn.base import clone
from torch import nn

from sk_autoenc.architectures.base import Architecture
from sk_autoenc.nn.blocks import ACTIVATIONS, BatchInvariantNetwork, Linear
from sk_autoenc.nn.recurrent import CELLS, CodeUnroller, SeriesDecoder, SeriesEncoder, SeriesLayout, ToSeries
from sk_autoenc.nn.tokens import TokenDecoder, TokenEncoder
from sk_autoenc.storage import by_params

#: Series that are not longer than this and have more channels have their axes in the other order, or must say so.
_FEW_TIMEPOINTS = 4


@by_params(check=lambda architecture: architecture.check())
class Recurrent(Architecture):
    """Recurrent encoder of series or sequences of tokens, and a recurrent decoder.

    The encoder reads a series step by step, and a linear layer turns its last states into the code. The decoder's first
    state is computed from the code. At every step it reads the code and a positional encoding of the time [1]_, and a
    linear layer turns its state into the values of all channels. It never reads its own output, so errors do not add
    up along the series. The encoder may read in both directions; the decoder goes forward.

    With ``likelihood="categorical"`` rows are sequences of tokens [4]_. Their decoder also reads the token before,
    because the next token depends on those that have come. Decoding takes the most probable token at each step.

    Parameters
    ----------
    hidden_size : int, default=64
        Length of a state.
    cell : {"gru", "lstm"}, default="gru"
        Gated recurrent units [2]_, or long short-term memory [3]_, which has a third more weights but trains faster in
        torch on a CPU.
    num_layers : int, default=1
        Number of recurrent layers, each of which reads the states of the one below.
    bidirectional : bool, default=True
        Whether the encoder reads series from both ends, with a state for each direction.
    input_shape : tuple of two int or None, default=None
        What series a flat row holds, channel after channel: channels and timepoints. None where ``X`` has three axes,
        (cases, channels, timepoints), or where a flat row is a single channel. With None, series of 4 timepoints or
        fewer with more channels are refused, because their axes seem to be in the order timepoints, channels.
    unequal_lengths : bool, default=False
        Whether series differ in length: ``X`` is then a list or a pandas Series of arrays of shape (channels,
        timepoints) or (timepoints,), or one array with NaN after the ends. The longest series of ``fit``, or
        ``input_shape``, sets the largest length. Training starts at random. Codes of real values do not contain the
        length. The end of a sequence of tokens is learned and decoded like a token.
    code_activation : {"identity", "relu", "sigmoid", "tanh", ...}, default="identity"
        Function applied to the code; any of the names that ``MLP`` takes.

    References
    ----------
    .. [1] Vaswani et al. (2017). Attention is all you need. NeurIPS.
    .. [2] Cho et al. (2014). Learning phrase representations using RNN encoder-decoder for statistical machine
       translation. EMNLP.
    .. [3] Hochreiter, Schmidhuber (1997). Long short-term memory. Neural Computation 9(8).
    .. [4] Sutskever, Vinyals, Le (2014). Sequence to sequence learning with neural networks. NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_autoenc import AutoencoderTransformer, Recurrent
    >>> rng = np.random.default_rng(0)
    >>> series = np.sin(np.linspace(0, 6, 30) * rng.uniform(1, 2, (80, 2, 1)))  # (cases, channels, timepoints)
    >>> model = AutoencoderTransformer(3, architecture=Recurrent(8), max_iter=2, random_state=0).fit(series)
    >>> model.transform(series).shape
    (80, 3)
    >>> model.reconstruct(series).shape
    (80, 2, 30)
    """

    reads_sequences = True

    def __init__(
        self,
        hidden_size: int = 64,
        *,
        cell: str = "gru",
        num_layers: int = 1,
        bidirectional: bool = True,
        input_shape: tuple[int, int] | None = None,
        unequal_lengths: bool = False,
        code_activation: str = "identity",
    ):
        self.hidden_size = hidden_size
        self.cell = cell
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.input_shape = input_shape
        self.unequal_lengths = unequal_lengths
        self.code_activation = code_activation

    @property
    def n_layers(self) -> int:
        """Layers of the encoder."""
        return self.num_layers + 1

    def check(self) -> None:
        """Raise ``ValueError`` for parameters out of range."""
        self._check_counts("hidden_size", "num_layers")
        self._check_choice("cell", sorted(CELLS))
        self._check_flags("bidirectional", "unequal_lengths")
        self._check_choice("code_activation", sorted(ACTIVATIONS))
        if self.input_shape is not None:
            self._check_widths("input_shape")
            if len(self.input_shape) != 2:
                raise ValueError(
                    f"Recurrent: input_shape must be (channels, timepoints), two integers, got {self.input_shape!r}."
                )

    def bind(self, row_shape: tuple[int, ...]) -> "Recurrent":
        """This architecture with ``input_shape`` set to that of the series; ``ValueError`` if rows hold none."""
        if self.input_shape is not None:
            shape = tuple(int(side) for side in self.input_shape)
        elif len(row_shape) in (1, 2):
            shape = (1, *row_shape)[-2:]
            if shape[1] <= _FEW_TIMEPOINTS and shape[0] > shape[1]:
                raise ValueError(
                    f"Recurrent: rows of shape {row_shape} would be series of {shape[0]} channels and {shape[1]} "
                    "timepoints; bring channels before time by X.transpose(0, 2, 1), or set "
                    f"input_shape={row_shape} if they are."
                )
        else:
            raise ValueError(
                "Recurrent: X must have the axes (cases, timepoints) or (cases, channels, timepoints), got rows of "
                f"shape {row_shape}; for flat rows with several channels set input_shape=(channels, timepoints)."
            )
        if row_shape not in (shape, (math.prod(shape),)):
            raise ValueError(
                f"Recurrent: rows must have shape {shape} or {math.prod(shape)} cells because of input_shape, got "
                f"shape {row_shape}."
            )
        return clone(self).set_params(input_shape=shape)

    @property
    def series_shape(self) -> tuple[int, int] | None:
        """Channels and timepoints of a row; None if ``input_shape`` is."""
        return self.input_shape

    def _series_layout(self) -> SeriesLayout:
        assert self.input_shape is not None, "bind must be called first"
        return SeriesLayout(*self.input_shape)

    def make_coders(
        self,
        likelihood: Any,
        n_features: int,
        n_components: int,
        *,
        n_encoded: int,
        noise: bool,
        linear_path: bool = False,
        bounded: bool = False,
    ) -> dict[str, nn.Module]:
        """Encoder and decoder; tokens have their own networks."""
        if not likelihood.is_sequential:
            return super().make_coders(
                likelihood,
                n_features,
                n_components,
                n_encoded=n_encoded,
                noise=noise,
                linear_path=linear_path,
                bounded=bounded,
            )
        return {
            "encoder": self.make_token_encoder(likelihood.n_tokens, n_encoded),
            "decoder": self.make_token_decoder(n_components, likelihood.n_tokens, bounded=bounded),
        }

    def make_token_encoder(self, n_tokens: int, n_components: int) -> nn.Module:
        """``(batch, n_timepoints) -> (batch, n_components)``: rows of tokens as codes."""
        if (n_channels := self._series_layout().n_channels) != 1:
            raise ValueError(f"likelihood='categorical': sequences of tokens must have 1 channel, got {n_channels}.")
        reader = TokenEncoder(n_tokens, self.cell, self.hidden_size, self.num_layers, bidirectional=self.bidirectional)
        network = BatchInvariantNetwork(reader, Linear(reader.n_directions * self.hidden_size, n_components))
        return self._with_code_activation(network)

    def make_token_decoder(self, n_components: int, n_tokens: int, *, bounded: bool) -> nn.Module:
        """Codes ``(..., n_components)`` to distributions of sequences of tokens; a bound on columns is refused."""
        self._refuse_bound(bounded)
        return TokenDecoder(
            n_components,
            self._series_layout().n_timepoints,
            n_tokens,
            self.cell,
            self.hidden_size,
            self.num_layers,
            may_end=self.unequal_lengths,
        )

    def make_encoder(self, n_features: int, n_components: int, *, linear_path: bool) -> nn.Module:
        """``(batch, n_features) -> (batch, n_components)``; with ``linear_path`` a linear map is added."""
        layout = self._series_layout()
        if n_features != layout.n_cells:
            raise ValueError(
                f"Recurrent: the encoder must read the {layout.n_cells} cells of a series, got {n_features} columns."
            )
        reader = SeriesEncoder(
            layout,
            self.cell,
            self.hidden_size,
            self.num_layers,
            bidirectional=self.bidirectional,
            unequal=self.unequal_lengths,
        )
        network = BatchInvariantNetwork(reader, Linear(reader.n_directions * self.hidden_size, n_components))
        encoder = self.beside_linear_path(network, n_features, n_components, linear_path, Linear)
        return self._with_code_activation(encoder)

    def make_decoder(self, n_components: int, n_outputs: int, *, linear_path: bool, bounded: bool) -> nn.Module:
        """``(..., n_components) -> (..., n_outputs)``; ``bounded`` is refused, because gates cannot be bounded."""
        self._refuse_bound(bounded)
        layout = self._series_layout()
        states = CodeUnroller(n_components, layout.n_timepoints, self.cell, self.hidden_size, self.num_layers)
        n_series = n_outputs // layout.n_cells
        network = SeriesDecoder(states, ToSeries(self.hidden_size, layout, n_series, unequal=self.unequal_lengths))
        return self.beside_linear_path(network, n_components, n_outputs, linear_path, Linear)

    def _refuse_bound(self, bounded: bool) -> None:
        if bounded:
            raise ValueError(
                "architecture=Recurrent(...) cannot be combined with contraction, nor with sparsity without "
                "sparsity_target, because both need a decoder whose scale is bounded; set sparsity_target, or use MLP."
            )
