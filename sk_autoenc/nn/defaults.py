"""Where torch makes tensors whose device nobody names: on the CPU here, whatever the user has set as default."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def cpu_by_default() -> Iterator[None]:
    """Make tensors on the CPU if no device is named; also a decorator.

    ``torch.set_default_device`` of a user would otherwise mix devices. Where the default is the CPU anyway, nothing is
    done, because a context of a device delays every call of torch.
    """
    if torch.get_default_device().type == "cpu":
        yield
    else:
        with torch.device("cpu"):
            yield
