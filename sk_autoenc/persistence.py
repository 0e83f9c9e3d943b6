"""Save and load fitted estimators without pickle: arrays as safetensors, the rest as JSON, and a checksum over both.

Loading builds only classes that are registered in ``storage.py``, checks every value that a file holds before it builds
anything of it, and runs nothing that the file holds.
"""

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from sk_autoenc.composites import LEFT_OUT, Composite, is_composite, put_together, take_apart
from sk_autoenc.storage import Form, form_of, is_registered, named, short

_FORMAT = "2"

#: Bytes of everything that is no array; of brackets, each of which costs more memory than its byte; of arrays; and how
#: deep values stand in each other.
_MOST_BYTES, _MOST_BRACKETS, _MOST_ARRAYS, _MOST_LEVELS = 2**25, 2**20, 2**17, 32

#: Bytes of the head of a file, in which that stands with names and shapes of the arrays.
_MOST_HEADER = 2**26

#: Names that safetensors has for dtypes that NumPy has, too; it has no bfloat16.
_DTYPES = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64"}

#: What a value that is not as it should be may lead to, beside ``ValueError``; not a lack of memory.
_CONSEQUENCES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError)


def save(estimator: BaseEstimator, path: str | os.PathLike) -> None:
    """Write a fitted estimator to one file that holds no code.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of this library, or a Pipeline, ColumnTransformer, FeatureUnion or search of scikit-learn
        that holds some; these need the extra ``skops``. Parameters have plain values; ``callbacks`` cannot be stored,
        nor can objects of derived classes, or the PCA of a detector. Of scikit-learn's objects, those can be stored
        that skops trusts, which are linear models, scalers and encoders, but no trees. Requests for metadata and
        ``memory`` are not stored, and of ``net_params`` only ``optimizer__*``: a compiled model opens uncompiled.
    path : path-like
        A new file, or a regular file to replace. It is written beside its place and then renamed, so that an
        error leaves the old file as it was.

    Raises
    ------
    ValueError
        If something of the estimator cannot be stored, or if ``path`` is a folder, a link, or a device.
    OSError
        If the file cannot be written.
    ImportError
        If ``skops`` is not installed, for objects of scikit-learn: ``pip install "sk-autoenc[skops]"``.

    See Also
    --------
    load : Read it back.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sk_autoenc import AutoencoderTransformer, load, save
    >>> model = AutoencoderTransformer(1, max_iter=1, random_state=0).fit([[0.0, 1.0], [2.0, 3.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model, pathlib.Path(folder) / "model.safetensors")
    ...     print(load(pathlib.Path(folder) / "model.safetensors"))
    AutoencoderTransformer(max_iter=1, n_components=1, random_state=0)
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ValueError(f"path={str(path)!r} is a folder, a link or a device; name a new file or a regular one.")
    arrays: dict[str, np.ndarray] = {}
    config = json.dumps(_encode_file(estimator, arrays))
    _check_size(config, len(arrays), "estimator")
    metadata = {"format": _FORMAT, "config": config, "sha256": _checksum(config, arrays)}
    _write(path, to_safetensors(arrays, metadata=metadata))


def load(path: str | os.PathLike) -> Any:
    """Read an estimator that :func:`save` has written.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    estimator
        Fitted; on the CPU, with a warning, if the device that it was fitted on is not there.

    Raises
    ------
    ValueError
        If the file is truncated, was changed, or is of another kind, if it is no regular file, or if what it holds
        does not make an estimator of this library; nothing is loaded then.

    See Also
    --------
    save : Write a file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sk_autoenc import AutoencoderTransformer, load, save
    >>> model = AutoencoderTransformer(1, max_iter=1, random_state=0).fit([[0.0, 1.0], [2.0, 3.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model, pathlib.Path(folder) / "model.safetensors")
    ...     load(pathlib.Path(folder) / "model.safetensors").n_features_in_
    2
    """
    path = Path(path)
    metadata, arrays = _read(path)
    config = metadata.get("config", "")
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"path={str(path)!r} has format {metadata.get('format')!r}; this version reads {_FORMAT!r}.")
    if metadata.get("sha256") != _checksum(config, arrays):
        raise ValueError(f"path={str(path)!r} was changed or damaged: its checksum does not fit.")
    try:
        _check_size(config, len(arrays), "file")
        return _Decoder(arrays).estimator(_parse(config))
    except torch.OutOfMemoryError:
        raise
    except ValueError as error:
        raise ValueError(f"path={str(path)!r} holds no estimator that can be used: {error}") from error
    except _CONSEQUENCES as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"path={str(path)!r} holds no estimator that can be used: {reason}") from error


# -- objects as JSON and arrays


def _encode_file(estimator: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """A fitted estimator as the JSON of a file."""
    if is_composite(estimator):
        check_is_fitted(estimator)
        composite = take_apart(estimator)
        arrays.update({f"composite.{name}": content for name, content in composite.files.items()})
        parts = [
            _encode_object(part, "state" if _is_fitted(part) else "params", f"parts.{i}.", arrays)
            for i, part in enumerate(composite.parts)
        ]
        return {"composite": composite.nodes, "parts": parts}
    if form_of(type(estimator), "state") is None or not isinstance(estimator, BaseEstimator):
        if type(estimator).__module__.startswith(f"{__package__}."):
            raise ValueError(f"estimator is {type(estimator).__name__}, whose parts may be of any library; use joblib.")
        raise ValueError(
            f"estimator must be one of this library, and of no derived class, got {type(estimator).__name__}; use "
            f"joblib. (Its class is {type(estimator).__module__}.{type(estimator).__qualname__}.)"
        )
    check_is_fitted(estimator)
    return _encode_object(estimator, "state", "", arrays)


def _is_fitted(part: Any) -> bool:
    """Whether an object has a fitted state to store."""
    if form_of(type(part), "state") is None or not isinstance(part, BaseEstimator):
        return form_of(type(part), "params") is None
    try:
        check_is_fitted(part)
    except NotFittedError:
        return False
    return True


def _encode_object(value: Any, form: str, where: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """An object of a registered class as JSON: its class, and its parameters or its state."""
    kind = type(value)
    how: Form = named(kind.__name__, form)
    taken = {name: item for name, item in how.take(value).items() if name not in LEFT_OUT}
    taken = {name: item.item() if isinstance(item, np.generic) else item for name, item in taken.items()}
    inside = "state" if how.holds_fitted else "params"
    plain = {name: _encode(item, f"{where}{name}", arrays, inside) for name, item in how.check(taken).items()}
    return {"class": kind.__name__, form: plain}


def _encode(value: Any, where: str, arrays: dict[str, np.ndarray], form: str) -> Any:
    """A value as JSON; numeric arrays go to ``arrays`` under the name of where they stand."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind == "U" and value.ndim == 1:
        return {"strings": value.tolist()}
    if isinstance(value, np.ndarray) and value.dtype != object:
        arrays[where] = np.asarray(value, order="C")
        return {"array": where}
    if is_registered(value):
        form = form if form_of(type(value), form) is not None else "state"
        return _encode_object(value, form, f"{where}.", arrays)
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        names = [key.item() if isinstance(key, np.generic) else key for key in value]
        if not all(isinstance(key, bool | int | float | str) for key in names):
            raise ValueError(f"{where} has names that are neither numbers nor strings; use plain values, or joblib.")
        items = (_encode(item, f"{where}.{key}", arrays, form) for key, item in value.items())
        return {"pairs": [list(pair) for pair in zip(names, items, strict=True)]}
    if isinstance(value, dict):
        return {"dict": {key: _encode(item, f"{where}.{key}", arrays, form) for key, item in value.items()}}
    if isinstance(value, list | tuple | np.ndarray):
        kind = "list" if isinstance(value, list) else "tuple" if isinstance(value, tuple) else "objects"
        return {kind: [_encode(item, f"{where}.{i}", arrays, form) for i, item in enumerate(value)]}
    raise ValueError(f"{where} holds {value!r}, which cannot be stored without pickle; use plain values, or joblib.")


class _Decoder:
    """Values out of JSON and the arrays of one file, each of which has one place."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.arrays = dict(arrays)

    def estimator(self, content: Any) -> Any:
        """The fitted estimator that a whole file is."""
        if isinstance(content, dict) and content.keys() == {"composite", "parts"}:
            return self._composite(content["composite"], content["parts"])
        if not isinstance(content, dict) or content.keys() != {"class", "state"}:
            raise ValueError("the file must hold a class and its state.")
        found = self._object(content, "state", 0)
        if not isinstance(found, BaseEstimator):
            raise ValueError(f"the file holds a {type(found).__name__}, which is no estimator.")
        if self.arrays:
            raise ValueError(f"the file has the array {min(self.arrays)!r:.60}, which belongs nowhere.")
        return found

    def _composite(self, nodes: Any, parts: Any) -> Any:
        """An estimator of scikit-learn that holds some of this library's."""
        if not isinstance(parts, list):
            raise ValueError(f"parts must be a list, got {short(parts)}.")
        found = [self._value(part, 0) for part in parts]
        if not all(map(is_registered, found)):
            raise ValueError("parts must be objects of this library.")
        files = {name.removeprefix("composite."): content for name, content in self.arrays.items()}
        if len(files) < len(self.arrays) or not all(f"composite.{name}" in self.arrays for name in files):
            raise ValueError("the file has an array that belongs nowhere.")
        # Strings of the nodes are JSON, too, whose brackets may have been written as numbers of characters.
        _check_size(json.dumps(nodes, ensure_ascii=False), len(files), "part of scikit-learn")
        return put_together(Composite(nodes, files, found))

    def _object(self, content: dict[str, Any], form: str, level: int) -> Any:
        how, values = named(content["class"], form), content[form]
        if not isinstance(values, dict):
            raise ValueError(f"{form} of {content['class']} must be values by their names, got {short(values)}.")
        return how.make(how.check({name: self._value(value, level + 1) for name, value in values.items()}))

    def _value(self, value: Any, level: int) -> Any:
        """The inverse of ``_encode``."""
        if level > _MOST_LEVELS:
            raise ValueError(f"values stand in each other more than {_MOST_LEVELS} levels deep.")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError("an integer has more than 64 bits.")
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, dict) and value.keys() in ({"class", "params"}, {"class", "state"}):
            return self._object(value, max(value.keys() - {"class"}), level)
        if not isinstance(value, dict) or len(value) != 1:
            raise ValueError("a value must be plain, or an object with its kind and its content.")
        ((kind, content),) = value.items()
        if kind == "array":
            if not isinstance(content, str) or content not in self.arrays:
                raise ValueError(f"the array {short(content)} is not there, or has two places.")
            return self.arrays.pop(content)
        return self._container(kind, content, level)

    def _container(self, kind: str, content: Any, level: int) -> Any:
        if kind == "dict" and isinstance(content, dict):
            return {key: self._value(item, level + 1) for key, item in content.items()}
        if kind == "pairs":
            return self._pairs(content, level)
        if kind == "strings":
            return _strings(content)
        if kind not in ("list", "tuple", "objects") or not isinstance(content, list):
            raise ValueError(f"a value has the kind {kind!r:.60}, which is unknown or does not go with its content.")
        items = [self._value(item, level + 1) for item in content]
        if kind != "objects":
            return tuple(items) if kind == "tuple" else items
        made = np.empty(len(items), dtype=object)
        made[:] = items
        return made

    def _pairs(self, content: Any, level: int) -> dict[Any, Any]:
        """A dict with names that are not all strings."""
        if not isinstance(content, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in content):
            raise ValueError("pairs must be a list of lists of a name and a value.")
        made = {key: self._value(item, level + 1) for key, item in content if isinstance(key, bool | int | float | str)}
        if len(made) < len(content) or all(isinstance(key, str) for key in made):
            raise ValueError("pairs must have names that are plain, differ, and are not all strings.")
        return made


def _strings(content: Any) -> np.ndarray:
    """An array of strings of one width, which may take much more memory than they take in the file."""
    if not isinstance(content, list) or not all(isinstance(item, str) for item in content):
        raise ValueError("strings must be a list of strings.")
    if len(content) * max(map(len, content), default=0) > _MOST_BYTES:
        raise ValueError(f"strings of an array would take more than {_MOST_BYTES} characters, filled up to one width.")
    made = np.array(content, dtype=str)
    if made.tolist() != content:
        raise ValueError("strings of an array must not end in a character of code 0.")
    return made


# -- files


def _check_size(config: str, n_arrays: int, what: str) -> None:
    """Refuse what would take much time and memory to read, whoever has written it."""
    brackets = config.count("[") + config.count("{")
    for found, most, called in (
        (len(config), _MOST_BYTES, "characters that are no arrays"),
        (brackets, _MOST_BRACKETS, "lists and objects, or brackets in strings"),
        (n_arrays, _MOST_ARRAYS, "arrays"),
    ):
        if found > most:
            raise ValueError(f"the {what} has {found} {called}; a file may have {most} at most.")


def _parse(config: str) -> Any:
    try:
        return json.loads(config, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        raise ValueError(f"its JSON cannot be read: {error}.") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """What an object of JSON holds, of which only the last would count where two have one name."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {max(names, key=names.count)!r:.60} stands twice.")
    return found


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Metadata and arrays of a regular file; nothing else is opened, since that may wait, or do something."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"path={str(path)!r} does not exist.") from None
    if not stat.S_ISREG(mode):
        raise ValueError(f"path={str(path)!r} is no regular file, but a folder, a pipe or a device; it was not opened.")
    with open(path, "rb") as file:
        n_bytes = int.from_bytes(file.read(8), "little")
    if _MOST_HEADER < n_bytes < path.stat().st_size:
        raise ValueError(f"path={str(path)!r} has a header of {n_bytes} bytes; it may have {_MOST_HEADER} at most.")
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            names = list(opened.keys())
            for name in names:
                if (dtype := opened.get_slice(name).get_dtype()) not in _DTYPES:
                    raise ValueError(f"path={str(path)!r} has an array {name!r:.60} of dtype {dtype}, which none has.")
            return metadata, {name: opened.get_tensor(name) for name in names}
    except (SafetensorError, OSError, UnicodeDecodeError, OverflowError) as error:
        raise ValueError(f"path={str(path)!r} is truncated, or no file of this library: {error}") from error


def _checksum(config: str, arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over the JSON and every array with its name, dtype and shape; it finds accidents, not forgery."""
    digest = hashlib.sha256(config.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _ordinary_mode() -> int:
    """The mode of a file that is simply opened for writing; temporary files are for their owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _write(path: Path, content: bytes) -> None:
    """Write beside the place, make sure that it is on the disk, and rename."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else _ordinary_mode())
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(error.errno, f"path={str(path)!r} could not be written: {error.strerror}") from error
        raise
