"""Progress of a detector's fit: printed lines, and tasks for scikit-learn's callbacks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Progress:
    """Reports the parts of a fit, such as a clone or a tenth of the steps.

    Parameters
    ----------
    root : CallbackContext or None
        The context of ``fit``. None reports to no callback.
    task_name : str
        Name of the parts' tasks.
    verbose : bool
        Whether ``print`` prints.
    **seen
        What callbacks see: the estimator, X and y.
    """

    def __init__(self, root: Any = None, *, task_name: str = "", verbose: bool = False, **seen: Any):
        self.root, self.task_name, self.verbose, self.seen = root, task_name, verbose, seen
        self.is_stopped = False  # by a callback

    @contextmanager
    def part(self) -> Iterator[None]:
        """One part, from its beginning to its end. It is no fitted model yet, so callbacks see none."""
        if self.root is None:
            yield
            return
        context = self.root.subcontext(task_name=self.task_name)
        context.call_on_fit_task_begin(**self.seen)
        yield
        self.is_stopped |= context.call_on_fit_task_end(**self.seen)

    def print(self, line: str) -> None:
        """Print a line where the user asked for it."""
        if self.verbose:
            print(line)
