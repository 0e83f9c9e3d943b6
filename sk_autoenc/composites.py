"""Pipelines and searches of scikit-learn in files: their own part as skops' nodes, our objects as numbered parts.

skops decides which types may be built. What it reads is made here of nodes and arrays that have been checked: each node
and each array stands once, so that nothing takes more memory than the file has.
"""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator

from sk_autoenc.storage import is_registered, short

#: Where an object of this library stands in scikit-learn's part: a slice from this name to the number of the part.
_MARK = "sk_autoenc.part"

#: Types beside those that skops trusts: values without code, and functions of arrays.
_TRUSTED = [
    "numpy.dtype",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.utils._bunch.Bunch",
]

#: What scikit-learn keeps on an estimator for a program that is running.
LEFT_OUT = ("_skl_callbacks", "_metadata_request")

_Swap = Callable[[Any], Any]


class Composite(NamedTuple):
    """An estimator of scikit-learn, taken apart."""

    nodes: Any  #: skops' schema, without identities of objects
    files: dict[str, np.ndarray]  #: bytes of the arrays (npy) by their names in the nodes
    parts: list[Any]  #: the objects of this library


def is_composite(estimator: Any) -> bool:
    """Whether this is an estimator of scikit-learn."""
    return isinstance(estimator, BaseEstimator) and type(estimator).__module__.startswith("sklearn.")


def take_apart(estimator: Any) -> Composite:
    """Nodes, arrays and parts of an estimator of scikit-learn; ``ValueError`` for what needs pickle."""
    parts: list[Any] = []

    def number_of(value: Any) -> Any:
        if not is_registered(value):
            return value
        if not any(part is value for part in parts):
            parts.append(value)
        return slice(_MARK, next(i for i, part in enumerate(parts) if part is value))

    skops, called = _skops(), type(estimator).__name__
    try:
        theirs = _swapped(estimator, number_of)
    except RecursionError as error:
        raise ValueError(f"{called} holds itself, so it cannot be stored.") from error
    if not parts:
        raise ValueError(f"estimator must hold a model of this library, but {called} has none; use skops.io.dump.")
    try:
        dumped = skops.dumps(theirs)
        unknown = sorted(set(skops.get_untrusted_types(data=dumped)) - set(_TRUSTED))
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{called} cannot be stored without pickle: {error} Use joblib.") from error
    if unknown:
        raise ValueError(
            f"{called} holds {unknown[0]}, which cannot be stored without pickle, since skops does not trust it; save "
            "the models of this library one by one (of a search, best_estimator_), or use joblib."
        )
    with zipfile.ZipFile(io.BytesIO(dumped)) as archive:
        files: dict[str, np.ndarray] = {}
        nodes = _with_own_files(json.loads(archive.read("schema.json")), archive, files)
    return Composite(nodes, files, parts)


def put_together(composite: Composite) -> Any:
    """The estimator; ``ValueError`` for nodes, arrays or parts that are not those of one."""
    nodes, files, parts = composite
    for name, content in files.items():
        _check_array(content, name)
    if sorted(_files_of(nodes)) != sorted(files):
        raise ValueError("nodes of scikit-learn's part must have each array once.")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("schema.json", json.dumps(nodes))
        for name, content in files.items():
            zipped.writestr(name, content.tobytes())
    used: set[int] = set()

    def part_of(value: Any) -> Any:
        if not isinstance(value, slice) or not isinstance(value.start, str) or value.start != _MARK:
            return value
        number = value.stop
        if type(number) is not int or not 0 <= number < len(parts):
            raise ValueError(f"scikit-learn's part has the part {short(number)}, of {len(parts)}.")
        used.add(number)
        return parts[number]

    try:
        found = _swapped(_skops().loads(archive.getvalue(), trusted=_TRUSTED), part_of)
    except MemoryError as error:
        raise ValueError("scikit-learn's part asks for more memory than there is.") from error
    if not is_composite(found):
        raise ValueError(f"scikit-learn's part is a {type(found).__name__}, which is no estimator of scikit-learn.")
    if len(used) < len(parts) or not parts:
        raise ValueError(f"scikit-learn's part has {len(used)} parts, but the file {len(parts)}.")
    return found


def _skops() -> Any:
    """The module ``skops.io``, which is an extra."""
    try:
        import skops.io
    except ImportError as error:
        raise ImportError(
            'Pipelines and searches are stored by skops; install it: pip install "sk-autoenc[skops]".'
        ) from error
    return skops.io


def _swapped(value: Any, swap: _Swap) -> Any:
    """The value, where objects inside are what ``swap`` makes of them; what holds none of these is not copied."""
    if (found := swap(value)) is not value:
        return found
    if type(value) in (list, tuple):
        items = [_swapped(item, swap) for item in value]
        return type(value)(items) if any(a is not b for a, b in zip(items, value, strict=True)) else value
    if isinstance(value, dict):
        named = {key: _swapped(item, swap) for key, item in value.items()}
        return value if _is_same(value, named) else _dict_of(type(value), named)
    if isinstance(value, np.ndarray) and value.dtype == object:
        return _array_swapped(value, swap)
    if type(value).__module__.startswith("sklearn.") and hasattr(value, "__dict__"):
        state = {name: _swapped(item, swap) for name, item in vars(value).items() if name not in LEFT_OUT}
        if state.get("memory") is not None:  # a folder of pickles
            state["memory"] = None
        return value if _is_same(vars(value), state) else _object_of(type(value), state)
    return value


def _is_same(before: dict, after: dict) -> bool:
    return before.keys() == after.keys() and all(after[key] is before[key] for key in before)


def _dict_of(kind: Any, items: dict) -> Any:
    """A dict, or one of a derived class, such as a Bunch."""
    made = kind()
    made.update(items)
    return made


def _array_swapped(value: np.ndarray, swap: _Swap) -> np.ndarray:
    """The same for an array of objects, which may be masked."""
    cells = np.empty(value.size, dtype=object)
    for i, item in enumerate(np.ma.getdata(value).ravel().tolist()):
        cells[i] = _swapped(item, swap)
    made = cells.reshape(value.shape)
    return np.ma.MaskedArray(made, value.mask) if isinstance(value, np.ma.MaskedArray) else made


def _object_of(kind: Any, state: dict[str, Any]) -> Any:
    """An object of a class with this state."""
    made = kind.__new__(kind)
    made.__dict__.update(state)
    return made


def _with_own_files(node: Any, archive: zipfile.ZipFile, files: dict[str, np.ndarray]) -> Any:
    """Nodes without identities, each of which has an array of its own, that goes to ``files``."""
    if isinstance(node, list):
        return [_with_own_files(item, archive, files) for item in node]
    if not isinstance(node, dict):
        return node
    if not _is_node(node):
        return {key: _with_own_files(item, archive, files) for key, item in node.items()}
    made = {key: _with_own_files(item, archive, files) for key, item in node.items() if key != "__id__"}
    if "file" in made:
        name = f"{len(files)}.npy"
        files[name] = np.frombuffer(archive.read(made["file"]), dtype=np.uint8)
        _check_array(files[name], made["__class__"])
        made["file"] = name
    return made


def _files_of(node: Any) -> list[str]:
    """Names of the arrays of nodes, which have no identities, since one that stands twice may multiply."""
    if isinstance(node, list):
        return [name for item in node for name in _files_of(item)]
    if not isinstance(node, dict):
        return []
    found = [name for item in node.values() for name in _files_of(item)]
    if not _is_node(node):
        return found
    if "__id__" in node:
        raise ValueError("nodes of scikit-learn's part must have no identities.")
    # One kind calls its class, of which a dtype alone needs it, and a void would be as large as its argument says.
    is_call = node["__loader__"] == "ConstructorFromReduceNode" and node.get("__class__") != "dtype"
    if is_call or (node["__loader__"] == "NdArrayNode" and node.get("__class__") in ("void", "dtype")):
        raise ValueError(f"{node['__loader__']} of scikit-learn's part must not make a {short(node.get('__class__'))}.")
    return [*found, str(node["file"])] if "file" in node else found


def _is_node(value: dict[str, Any]) -> bool:
    """Whether this is a node, and not values by names of their own."""
    return isinstance(value.get("__loader__"), str)


def _check_array(content: Any, name: str) -> None:
    """Refuse bytes that are not one array (npy) of numbers, dates or strings of the size that its header says."""
    if not isinstance(content, np.ndarray) or content.dtype != np.uint8 or content.ndim != 1:
        raise ValueError(f"the array {name!r:.60} of scikit-learn's part must be bytes.")
    file = io.BytesIO(content.tobytes())
    try:
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = readers[np.lib.format.read_magic(file)](file)
    except (ValueError, LookupError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError) as error:
        raise ValueError(f"{name!r:.60} of scikit-learn's part is no array that can be stored.") from error
    n_cells = int(np.prod(shape, dtype=object))
    if dtype.kind not in "biufcSUmM" or not dtype.itemsize or len(shape) > 64:
        raise ValueError(f"{name!r:.60} of scikit-learn's part has the dtype {dtype}, which cannot be stored.")
    if n_cells < 0 or n_cells * dtype.itemsize != content.size - file.tell():
        raise ValueError(f"{name!r:.60} of scikit-learn's part has another size than its header says.")
