"""The baseline of few labels as the start of training, and as the result where the network is not better."""

from typing import Any

import torch

from sk_autoenc.data.labels import LabelledRows
from sk_autoenc.initialization.start import Start


class BaselineStart(Start):
    """Another start, beside which a module gets the baseline of the labels that it trains on.

    Parameters
    ----------
    start : Start
        Sets the network itself.
    """

    is_model = True
    is_fair_in_training = False  # the graph keeps the labels that it is given

    def __init__(self, start: Start):
        self.start = start

    def set(self, module: Any, rows: LabelledRows) -> None:  # type: ignore[override]
        self.start.set(module, rows)
        self._set_baseline(module, rows)
        module.kept.fill_(False)

    def refit(self, module: Any, rows: LabelledRows) -> None:  # type: ignore[override]
        self._set_baseline(module, rows)
        module.kept.fill_(True)

    def resume(self, module: Any) -> None:
        module.kept.fill_(False)

    def _set_baseline(self, module: Any, rows: LabelledRows) -> None:
        found = rows.baseline
        arrays = {"mean": found.graph.mean, "axes": found.graph.axes, "codes": found.graph.codes}
        arrays |= {"values": found.values, "slope": found.slope, "bias": found.bias}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        module.baseline.set(**tensors, share=torch.tensor(found.share))
