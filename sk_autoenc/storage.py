"""What may stand in a file: a registry of classes, and for each the names and kinds of values that its file holds.

A class is registered where it is defined, by :func:`by_params` (what is made of parameters) or :func:`by_state` (what
was fitted, and parts of that). ``persistence.py`` reads and writes only what stands here.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Cells of a row, or other sizes that are given by a number alone: no array of a file needs to be as large.
MOST_CELLS = 2**24

#: Largest size of an integer.
_MOST_INTEGER = 2**63 - 1

#: ``(value, where)``: raises ``ValueError`` for a value that cannot stand there.
Check = Callable[[Any, str], None]

#: A dict of values by their names, as it stands in a file.
Plain = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """One way in which objects of a class stand in a file.

    Parameters
    ----------
    take : callable
        An object as plain values, and objects of other registered classes, by their names.
    check : callable
        Raises ``ValueError`` for such values if they are not those of an object of the class; returns the values
        without those that have no place in a file.
    make : callable
        The object.
    holds_fitted : bool
        Whether objects inside are fitted and stand there with their state.
    """

    take: Callable[[Any], Plain]
    check: Callable[[Plain], Plain]
    make: Callable[[Plain], Any]
    holds_fitted: bool = False


_KINDS: dict[str, type] = {}
_FORMS: dict[tuple[type, str], Form] = {}


def register(kind: type, name: str, form: Form) -> None:
    """Let objects of this very class stand in files, in the form of this name: ``"params"`` or ``"state"``."""
    if _KINDS.setdefault(kind.__name__, kind) is not kind:
        raise ValueError(f"{kind.__name__} is the name of another class that files may hold.")
    _FORMS[kind, name] = form


def form_of(kind: type, name: str) -> Form | None:
    """How objects of this very class stand in a file; None if they cannot, as those of derived classes cannot."""
    return _FORMS.get((kind, name))


def named(name: Any, form: str) -> Form:
    """The form of a registered class; ``ValueError`` for any other."""
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"the file names the class {short(name)}, which is none of this library's.")
    if (kind, form) not in _FORMS:
        raise ValueError(f"the class {name} does not stand in files by its {form}.")
    return _FORMS[kind, form]


def is_registered(value: Any) -> bool:
    """Whether the value is of a class that files may hold."""
    return _KINDS.get(type(value).__name__) is type(value)


def by_params(check: Callable[[Any], None] | None = None, reduce: Callable[[Plain], Plain] | None = None):
    """Class decorator: objects without fitted state, made of the parameters that ``get_params`` gives.

    Values are checked by scikit-learn's validation, where the class has constraints, and then by ``check`` of an
    object made of them. ``reduce`` takes out of the values what a file cannot decide.
    """

    def decorate(kind: Any) -> Any:
        def checked(plain: Plain) -> Plain:
            check_names(plain, kind.__name__, required=kind._get_param_names())
            plain = plain if reduce is None else reduce(plain)
            made = kind(**plain)
            if hasattr(kind, "_parameter_constraints"):
                made._validate_params()
            if check is not None:
                check(made)
            return plain

        form = Form(lambda made: made.get_params(deep=False), checked, lambda plain: kind(**plain))
        register(kind, "params", form)
        return kind

    return decorate


def by_state(
    fields: Mapping[str, Check],
    *,
    optional: Collection[str] = (),
    check: Callable[[Any, Plain], None] | None = None,
    take: Callable[[Any], Plain] | None = None,
    make: Callable[[Plain], Any] | None = None,
    holds_fitted: bool = False,
):
    """Class decorator: objects whose state has these names, each with what is checked of its value.

    An estimator that is registered by its parameters, too, has them in its state; it is taken and made as by pickle.
    ``check`` gets the class and all values, which are right one by one.
    """

    def decorate(kind: Any) -> Any:
        params = _FORMS.get((kind, "params"))
        names = set() if params is None else set(kind._get_param_names())

        def checked(plain: Plain) -> Plain:
            check_names(plain, kind.__name__, required=(names | set(fields)) - set(optional), allowed=optional)
            if params is not None:
                plain = {**plain, **params.check({name: plain[name] for name in plain if name in names})}
            for name in plain.keys() - names:
                fields[name](plain[name], f"{kind.__name__}.{name}")
            if check is not None:
                check(kind, plain)
            return plain

        form = Form(take or (lambda fitted: fitted.__getstate__()), checked, make or _revived(kind), holds_fitted)
        register(kind, "state", form)
        return kind

    return decorate


def _revived(kind: Any) -> Callable[[Plain], Any]:
    """Makes an object of a class of its state, as pickle does."""

    def revive(plain: Plain) -> Any:
        fitted: Any = kind.__new__(kind)
        fitted.__setstate__(plain)
        return fitted

    return revive


# -- what values may be


def short(value: Any) -> str:
    """The value in a message, with no more of it than helps."""
    text = f"{value!r:.60}" if isinstance(value, str | bool | float | None) else type(value).__name__
    return f"{value:.6g}" if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else text


def check_names(plain: Any, where: str, *, required: Collection[str], allowed: Collection[str] = ()) -> None:
    """Refuse names that are unknown or missing."""
    if not isinstance(plain, dict):
        raise ValueError(f"{where} must be values by their names, got {short(plain)}.")
    if unknown := sorted(plain.keys() - set(required) - set(allowed)):
        raise ValueError(f"{where} has {unknown[0]!r:.60}, which is no name of its values.")
    if missing := sorted(set(required) - plain.keys()):
        raise ValueError(f"{where} lacks {missing[0]!r}.")


def integer(low: int = 0, high: int = _MOST_INTEGER) -> Check:
    """A whole number in a range."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{where} must be an integer from {low} to {high}, got {short(value)}.")

    return check


def number(*, finite: bool = True) -> Check:
    """A real number, perhaps also NaN or infinity."""

    def check(value: Any, where: str) -> None:
        if not _is_number(value) or (finite and not math.isfinite(value)):
            raise ValueError(f"{where} must be a {'finite ' if finite else ''}number, got {short(value)}.")

    return check


def flag(value: Any, where: str) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{where} must be True or False, got {short(value)}.")


def text(pattern: str) -> Check:
    """A string that matches a pattern."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
            raise ValueError(f"{where} must be a string like {pattern!r}, got {short(value)}.")

    return check


def curve(value: Any, where: str) -> None:
    """A list of numbers."""
    if not isinstance(value, list) or not all(map(_is_number, value)):
        raise ValueError(f"{where} must be a list of numbers, got {short(value)}.")


def shape(value: Any, where: str) -> None:
    """The shape of a row: a tuple of integers of 1 or more."""
    if not isinstance(value, tuple) or not 1 <= len(value) <= 16:
        raise ValueError(f"{where} must be a tuple of 1 to 16 integers, got {short(value)}.")
    for side in value:
        integer(1)(side, where)
    if (n_cells := math.prod(value)) > MOST_CELLS:
        raise ValueError(f"{where} has {n_cells:.6g} cells; a file's rows have {MOST_CELLS} at most.")


def array(
    dtypes: str,
    *axes: int | None,
    low: float | None = None,
    above: float | None = None,
    finite: bool = True,
) -> Check:
    """A finite array of one of these dtypes, as in ``"f4 f8"``, with these lengths of its axes, None being any."""
    known = [np.dtype(name) for name in dtypes.split()]

    def check(value: Any, where: str) -> None:
        if not isinstance(value, np.ndarray) or value.dtype not in known:
            got = value.dtype if isinstance(value, np.ndarray) else short(value)
            raise ValueError(f"{where} must be an array of {' or '.join(map(str, known))}, got {got}.")
        fits = len(axes) == value.ndim and all(n in (None, found) for n, found in zip(axes, value.shape, strict=True))
        if not fits:
            wanted = tuple("any" if n is None else n for n in axes)
            raise ValueError(f"{where} must have the shape {wanted}, got {value.shape}.")
        if finite and value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(f"{where} must hold finite numbers, but one is NaN or infinite.")
        if value.size and low is not None and value.min() < low:
            raise ValueError(f"{where} must hold numbers of {low:g} or more, got {value.min():.6g}.")
        if value.size and above is not None and value.min() <= above:
            raise ValueError(f"{where} must hold numbers above {above:g}, got {value.min():.6g}.")

    return check


def strings(value: Any, where: str) -> None:
    """An array of strings, with dtype object."""
    is_array = isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1
    if not is_array or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{where} must be an array of strings with one axis, got {short(value)}.")


def weights(value: Any, where: str) -> None:
    """Finite arrays by their names; which names, shapes and dtypes there must be, the network says."""
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{where} must be arrays by their names, got {short(value)}.")
    for name, item in value.items():
        if not isinstance(item, np.ndarray) or item.dtype.kind not in "fiub":
            raise ValueError(f"{where}[{name!r:.60}] must be an array of numbers, got {short(item)}.")
        if item.dtype.kind == "f" and not np.isfinite(item).all():
            raise ValueError(f"{where}[{name!r:.60}] must hold finite numbers, but one is NaN or infinite.")


def values_of(check: Check) -> Check:
    """A dict of such values by names of their own."""

    def check_all(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be a dict, got {short(value)}.")
        for name, item in value.items():
            check(item, f"{where}[{name!r:.60}]")

    return check_all


def or_none(check: Check) -> Check:
    """Such a value, or None."""
    return lambda value, where: None if value is None else check(value, where)


def instance(*kinds: type) -> Check:
    """An object of one of these classes, or of one that is derived from them."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, kinds) or not is_registered(value):
            raise ValueError(f"{where} must be a {' or '.join(kind.__name__ for kind in kinds)}, got {short(value)}.")

    return check


def output_config(value: Any, where: str) -> None:
    """Which container ``transform`` gives, as ``set_output`` keeps it."""
    if not isinstance(value, dict) or set(value) - {"transform"}:
        raise ValueError(f"{where} must be a dict with 'transform' alone, got {short(value)}.")
    if (chosen := value.get("transform")) not in (None, "default", "pandas", "polars"):
        raise ValueError(f"{where}['transform'] must be 'default', 'pandas' or 'polars', got {short(chosen)}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
