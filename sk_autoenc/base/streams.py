"""Methods of fitted models that take streams: they compute block by block."""

import functools
from collections.abc import Callable
from typing import Any

from sklearn.utils.validation import check_is_fitted

from sk_autoenc.data.streamed import as_streamed


def by_block(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method give a stream of its results if it is given a stream."""

    @functools.wraps(method)
    def of_rows(self, X, *args, **kwargs):
        if (stream := as_streamed(X)) is None:
            return method(self, X, *args, **kwargs)
        check_is_fitted(self)
        return stream.map(lambda block: method(self, block, *args, **kwargs))

    return of_rows


def averaged_over_blocks(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method that gives a mean over rows give that of a stream."""

    @functools.wraps(method)
    def of_rows(self, X, *args, **kwargs):
        if (stream := as_streamed(X)) is None:
            return method(self, X, *args, **kwargs)
        found = [(len(block), method(self, block, *args, **kwargs)) for block in stream]
        if not found:
            raise ValueError(f"{stream!r} has no rows.")
        return sum(n * mean for n, mean in found) / sum(n for n, _ in found)

    return of_rows


def reads_streams(*names: str) -> Callable[[type], type]:
    """Let methods of a class go block by block, outside of what ``set_output`` does to each block."""

    def decorated(kind: Any) -> Any:
        for name in names:
            setattr(kind, name, by_block(getattr(kind, name)))
        return kind

    return decorated
