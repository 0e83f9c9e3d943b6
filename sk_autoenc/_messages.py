"""What users read: warnings at their own line, and the public class where arguments are wrong."""

import functools
import inspect
import warnings

#: Packages whose code may lie between the user's call and a warning.
_BETWEEN = {"sk_autoenc", "sklearn", "skorch", "torch", "joblib", "contextlib", "functools"}


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the first line outside of :data:`_BETWEEN`; Python 3.12 has ``skip_file_prefixes`` for this."""
    level, frame = 1, inspect.currentframe()  # None, where Python has no frames
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def names_its_class(method):
    """Let a call with an unknown argument name the public class, not the one that defines the method."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def checked(self, *args, **kwargs):
        try:
            signature.bind(self, *args, **kwargs)
        except TypeError as error:
            hint = "; rows cannot be weighted here, repeat them instead" if "sample_weight" in kwargs else ""
            raise TypeError(f"{type(self).__name__}.{method.__name__}: {error}{hint}.") from None
        return method(self, *args, **kwargs)

    return checked
