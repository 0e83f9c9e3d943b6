"""What torch imports in the first step of an optimizer, imported before training starts, and not to be interrupted.

A Ctrl-C in the middle of that import, which takes a second or two, would leave torch broken in this process.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Reads all that optimizers ask it for, sympy included.
_LAZY = "torch._dynamo"


def import_for_training() -> None:
    """Import what the first step would import; once in a process."""
    if _LAZY not in sys.modules:
        with interrupt_delayed():
            __import__(_LAZY)


@contextmanager
def interrupt_delayed() -> Iterator[None]:
    """Let a Ctrl-C in the block take effect at its end; signals come to the main thread alone."""
    before: Any = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    caught: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda number, frame: caught.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught:
        before(*caught[0])
