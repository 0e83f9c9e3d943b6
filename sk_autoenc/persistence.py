"""Save and load fitted estimators without pickle: arrays as safetensors, the rest as JSON, and a checksum over both.

Loading builds only the classes named below and runs nothing that the file holds.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

import sk_autoenc
from sk_autoenc.data.conditions import ConditionedRows
from sk_autoenc.data.observed import SampledRows
from sk_autoenc.data.preprocessing import RowPreprocessor
from sk_autoenc.data.scaling import Scaling
from sk_autoenc.likelihoods import Tokens
from sk_autoenc.outliers.ensembles import Members

_FORMAT = "1"

#: What turns rows into datasets and back, by the name that files have for it.
_PREPROCESSORS: dict[str, type[RowPreprocessor]] = {
    "rows": RowPreprocessor,
    "sampled rows": SampledRows,
    "conditioned rows": ConditionedRows,
}

#: What scikit-learn keeps on an estimator for a program that is running.
_LEFT_OUT = ("_skl_callbacks", "_metadata_request")


def save(estimator: BaseEstimator, path: str | os.PathLike) -> None:
    """Write a fitted estimator to one file that holds no code.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of this library, with parameters of plain values; ``callbacks`` cannot be stored, nor can
        what is not of this library, such as the PCA of a detector. Requests for metadata are not stored, either.
    path : path-like
        A new file, or a regular file to replace. It is written beside its place and then renamed, so that an
        error leaves the old file as it was.

    Raises
    ------
    ValueError
        If a parameter cannot be stored, or if ``path`` is a folder, a link, or a device.
    OSError
        If the file cannot be written.

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
    if type(estimator).__name__ not in _classes():
        raise ValueError(
            f"estimator must be one of this library, got {type(estimator).__name__}; save the steps of a Pipeline one "
            "by one, or use joblib."
        )
    check_is_fitted(estimator)
    arrays: dict[str, np.ndarray] = {}
    config = json.dumps(_encode_fitted(estimator, "", arrays))
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
        If the file is truncated, was changed, or is of another kind; nothing is loaded then.

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
    if not path.exists():
        raise FileNotFoundError(f"path={str(path)!r} does not exist.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"path={str(path)!r} is truncated, or no file of this library: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"path={str(path)!r} has format {metadata.get('format')!r}; this version reads {_FORMAT!r}.")
    if metadata.get("sha256") != _checksum(metadata.get("config", ""), arrays):
        raise ValueError(f"path={str(path)!r} was changed or damaged: its checksum does not fit.")
    return _decode_fitted(json.loads(metadata["config"]), arrays)


def _encode_fitted(estimator: BaseEstimator, where: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """A fitted estimator of this library as JSON: its class and its state."""
    state = {name: value for name, value in estimator.__getstate__().items() if name not in _LEFT_OUT}
    encoded = {name: _encode(value, f"{where}{name}", arrays) for name, value in state.items()}
    return {"class": type(estimator).__name__, "state": encoded}


def _decode_fitted(content: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    """The inverse of ``_encode_fitted``."""
    estimator = _public_class(content["class"])()
    estimator.__setstate__({name: _decode(value, arrays) for name, value in content["state"].items()})
    return estimator


def _encode(value: Any, where: str, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON; numeric arrays go to ``arrays`` under the name of where they stand."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype != object:
        arrays[where] = np.asarray(value, order="C")
        return {"array": where}
    if isinstance(value, Scaling):
        return {"Scaling": [_encode(part, f"{where}.{i}", arrays) for i, part in enumerate(value)]}
    if isinstance(value, RowPreprocessor):
        kind = next(name for name, kind in _PREPROCESSORS.items() if kind is type(value))
        return {kind: {name: _encode(part, f"{where}.{name}", arrays) for name, part in value.state.items()}}
    if isinstance(value, Members) and all(type(member).__name__ in _classes() for member in value):
        return {"fitted": [_encode_fitted(member, f"{where}.{i}.", arrays) for i, member in enumerate(value)]}
    if isinstance(value, BaseEstimator) and type(value).__name__ in _classes():
        params = value.get_params(deep=False)
        return {
            "class": type(value).__name__,
            "params": {name: _encode(param, f"{where}.{name}", arrays) for name, param in params.items()},
        }
    if isinstance(value, dict):
        return {"dict": {key: _encode(item, f"{where}.{key}", arrays) for key, item in value.items()}}
    if isinstance(value, list | tuple | np.ndarray):
        kind = "list" if isinstance(value, list) else "tuple" if isinstance(value, tuple) else "objects"
        return {kind: [_encode(item, f"{where}.{i}", arrays) for i, item in enumerate(value)]}
    raise ValueError(f"{where} holds {value!r}, which cannot be stored without pickle; use plain values, or joblib.")


def _decode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The inverse of ``_encode``."""
    if not isinstance(value, dict):
        return value
    if "class" in value:
        params = {name: _decode(param, arrays) for name, param in value["params"].items()}
        return _public_class(value["class"])(**params)
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content]
    if kind == "dict":
        return {key: _decode(item, arrays) for key, item in content.items()}
    if kind in _PREPROCESSORS:
        return _PREPROCESSORS[kind].from_state({name: _decode(part, arrays) for name, part in content.items()})
    if kind == "fitted":
        return Members(_decode_fitted(member, arrays) for member in content)
    items = [_decode(item, arrays) for item in content]
    if kind == "Scaling":
        return Scaling(*items)
    if kind == "objects":
        return np.array(items, dtype=object)
    return tuple(items) if kind == "tuple" else items


def _public_class(name: str) -> type:
    """A class of this library; no other is ever built."""
    if name not in _classes():
        raise ValueError(f"the file names the class {name!r}, which is none of this library's.")
    return _classes()[name]


def _classes() -> dict[str, type]:
    """What may be stored and built: the public classes, and what stands for one of them inside."""
    public = {name: getattr(sk_autoenc, name) for name in sk_autoenc.__all__}
    return {name: kind for name, kind in {**public, "Tokens": Tokens}.items() if isinstance(kind, type)}


def _checksum(config: str, arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over the JSON and every array with its name, dtype and shape."""
    digest = hashlib.sha256(config.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
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
