"""Where training starts, as an object: the base class of starts, and the start at the training mean."""

from typing import Any

import numpy as np
from torch import Tensor

from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.preprocessing import RowPreprocessor
from sk_autoenc.initialization.linear import last_layer, start_at_mean, summarize


class Start:
    """Where training starts. This one leaves the random weights unchanged."""

    #: Whether the start is a model that can be the result in place of the network.
    is_model = False

    #: Whether training rows can compare the network with the start; not if the start knows their targets by heart.
    is_fair_in_training = True

    def set(self, module: Any, rows: Rows) -> None:
        """Set the weights that depend on data; ``rows`` are the training rows, on the CPU, without held-out rows."""

    def refit(self, module: Any, rows: Rows) -> None:
        """Set the module to the start, fitted to all rows; called if the network is not significantly better."""

    def resume(self, module: Any) -> None:
        """Prepare a module that was kept at its start for further training."""


class MeanStart(Start):
    """Random weights, with a decoder whose output is close to the training mean.

    Parameters
    ----------
    data : RowPreprocessor
        Preprocessor of the rows.
    """

    def __init__(self, data: RowPreprocessor):
        self.data = data

    def set(self, module: Any, rows: Rows) -> None:
        likelihood, mean, variance = self.data.likelihood, None, None
        if likelihood.is_sequential:
            mean = likelihood.shares(rows[:])
        elif self.data.has_missing_cells:
            variance = self._channel_variances(rows[:])  # the mean of scaled channels is zero
        else:
            seen = summarize(rows, likelihood.encoder_input)
            mean, variance = seen.mean.numpy(), seen.std.square().numpy()
            if module.standardize is not None:
                module.standardize.set(seen.mean, seen.scale, *likelihood.input_range(seen.low, seen.high))
        bias = np.zeros(len(last_layer(module.decoder).bias))
        if mean is not None:
            known = likelihood.initial_bias(mean)
            bias[: len(known)] = known
        start_at_mean(module.decoder, bias)
        if variance is not None and hasattr(module, "head"):
            likelihood.start_noise(module.head, variance, self.data.scale)

    def _channel_variances(self, rows: Tensor) -> np.ndarray:
        """Mean square of each channel of series of unequal lengths, repeated for each of its cells."""
        assert self.data.series_shape is not None
        n_channels, n_timepoints = self.data.series_shape
        by_channel = rows.numpy().reshape(len(rows), n_channels, n_timepoints)
        variance = np.nanmean(np.square(by_channel), axis=(0, 2), dtype=np.float64)
        return np.repeat(variance, n_timepoints)
