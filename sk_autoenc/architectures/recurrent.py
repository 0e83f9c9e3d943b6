"""Recurrent networks, for series and sequences of tokens."""

import math
from typing import Any

from sklearn.base import clone
from torch import nn

from sk_autoenc.architectures.base import Architecture
from sk_autoenc.nn.blocks import ACTIVATIONS, Linear, SteadyNetwork
from sk_autoenc.nn.recurrent import CELLS, ReadSeries, SeriesDecoder, SeriesLayout, ToSeries, UnrollCode
from sk_autoenc.nn.tokens import ReadTokens, WriteTokens
from sk_autoenc.storage import by_params


@by_params(check=lambda architecture: architecture.check())
class Recurrent(Architecture):
    """Recurrent encoder of series or sequences of tokens, and a recurrent decoder.

    The encoder reads a series step by step; a linear layer makes the code of its last states. The decoder's first state
    is made of the code, and at every step it reads the code and the time, as sines and cosines [1]_; a linear layer
    makes the values of all channels of its state. It never reads values that it has made, so errors do not add up
    along the series. The encoder may read both ways; the decoder goes forward.

    With ``likelihood="categorical"`` rows are sequences of tokens [4]_. Their decoder also reads the token before,
    since which one comes next depends on what has come; what is decoded is, at each step, the most probable token.

    Parameters
    ----------
    hidden_size : int, default=64
        Length of a state.
    cell : {"gru", "lstm"}, default="gru"
        How a state goes on: by gated recurrent units [2]_, or by long short-term memory [3]_, which has a third more
        weights; on a CPU torch trains it faster nevertheless.
    num_layers : int, default=1
        Number of recurrent layers, each of which reads the states of the one below.
    bidirectional : bool, default=True
        Whether the encoder reads series from both ends, with a state for each direction.
    input_shape : tuple of two int or None, default=None
        What series a flat row holds, channel after channel: channels and timepoints. None where ``X`` has three axes,
        (cases, channels, timepoints), or where a flat row is a single channel.
    unequal_lengths : bool, default=False
        Whether series differ in length: ``X`` is then a list or a pandas Series of arrays of shape (channels,
        timepoints) or (timepoints,), or one array with NaN after the ends. The longest series of ``fit``, or
        ``input_shape``, says how long one may be. Training starts at random. Codes of real values say no length; the
        end of a sequence of tokens is learned and decoded like a token.
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

    def fitted_to(self, row_shape: tuple[int, ...]) -> "Recurrent":
        """This architecture with the shape of the series, where rows of this shape hold some."""
        if self.input_shape is not None:
            shape = tuple(int(side) for side in self.input_shape)
        elif len(row_shape) in (1, 2):
            shape = (1, *row_shape)[-2:]
        else:
            raise ValueError(
                f"Recurrent: rows of shape {row_shape} hold no series; X must have the axes (cases, timepoints) or "
                "(cases, channels, timepoints), or input_shape=(channels, timepoints) say what flat rows hold."
            )
        if row_shape not in (shape, (math.prod(shape),)):
            raise ValueError(
                f"Recurrent: input_shape={shape} has {math.prod(shape)} cells, but rows have shape {row_shape}."
            )
        return clone(self).set_params(input_shape=shape)

    @property
    def series_shape(self) -> tuple[int, int] | None:
        """Channels and timepoints of a row; None as long as that is not known."""
        return self.input_shape

    def _series_layout(self) -> SeriesLayout:
        assert self.input_shape is not None, "fitted_to comes first"
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
        """Encoder and decoder; of tokens they are networks of their own."""
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
            raise ValueError(
                f"likelihood='categorical': sequences of tokens have one channel, but rows hold {n_channels}."
            )
        reader = ReadTokens(n_tokens, self.cell, self.hidden_size, self.num_layers, bidirectional=self.bidirectional)
        network = SteadyNetwork(reader, Linear(reader.n_directions * self.hidden_size, n_components))
        return self._with_code_activation(network)

    def make_token_decoder(self, n_components: int, n_tokens: int, *, bounded: bool) -> nn.Module:
        """``(..., n_components)`` to the sequences of tokens that they may stand for; a bound on columns is refused."""
        self._refuse_bound(bounded)
        return WriteTokens(
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
                f"Recurrent: the encoder would read {n_features} columns where a series has {layout.n_cells} cells."
            )
        reader = ReadSeries(
            layout,
            self.cell,
            self.hidden_size,
            self.num_layers,
            bidirectional=self.bidirectional,
            unequal=self.unequal_lengths,
        )
        network = SteadyNetwork(reader, Linear(reader.n_directions * self.hidden_size, n_components))
        encoder = self._maybe_with_linear_path(network, n_features, n_components, linear_path, Linear)
        return self._with_code_activation(encoder)

    def make_decoder(self, n_components: int, n_outputs: int, *, linear_path: bool, bounded: bool) -> nn.Module:
        """``(..., n_components) -> (..., n_outputs)``; a bound on columns is refused, since gates have none."""
        self._refuse_bound(bounded)
        layout = self._series_layout()
        states = UnrollCode(n_components, layout.n_timepoints, self.cell, self.hidden_size, self.num_layers)
        n_series = n_outputs // layout.n_cells
        network = SeriesDecoder(states, ToSeries(self.hidden_size, layout, n_series, unequal=self.unequal_lengths))
        return self._maybe_with_linear_path(network, n_components, n_outputs, linear_path, Linear)

    def _refuse_bound(self, bounded: bool) -> None:
        if bounded:
            raise ValueError(
                "architecture=Recurrent(...) does not go with contraction, nor with sparsity without a target: both "
                "need a decoder whose scale is bounded; set sparsity_target, or use MLP."
            )
