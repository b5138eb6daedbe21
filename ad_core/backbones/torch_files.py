"""Tensors of PyTorch's weight files, read without PyTorch: the one place that unpickles.

A file is read only if its SHA-256 is the one that the caller fixes, and then by an unpickler that
admits tensors and nothing else.

Two formats of `torch.save` are read. From version 1.6 on: a zip archive, nothing in it compressed,
with the pickled state and a file for each storage. Before: five pickles (magic number, version,
system, the state, keys of its storages), then for each key the count of its values as int64, and
the values.
"""

import hashlib
import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ad_core.errors import UserError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_ZIP = b"PK\x03\x04"
AGAIN = "install the package that holds it again"  # the mend for weights of a package


class _Kind(NamedTuple):
    """Stand-in for a class of storages: the dtype of its values."""

    dtype: np.dtype


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    count: int

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return self.count * self.dtype.itemsize


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


def _parameter(data: Any, *_: Any) -> Any:
    return data


_ADMITTED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "HalfStorage"): _Kind(np.dtype("<f2")),
    ("torch", "BFloat16Storage"): _Kind(np.dtype(jnp.bfloat16)),
    ("torch", "FloatStorage"): _Kind(np.dtype("<f4")),
    ("torch", "DoubleStorage"): _Kind(np.dtype("<f8")),
    ("torch", "LongStorage"): _Kind(np.dtype("<i8")),
}


class _TensorsOnly(pickle.Unpickler):
    """Refuses every global name but those admitted, and builds none of them from elsewhere."""

    def find_class(self, module: str, name: str) -> Any:
        """One of the stand-ins; UnpicklingError for anything else."""
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a tensor")
        return _ADMITTED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage that a tensor names; its values come later in the file."""
        word, kind, key, _, count, *view = pid
        if word != "storage" or not isinstance(kind, _Kind) or view not in ([], [None]):
            raise pickle.UnpicklingError(f"{word!r} is no storage")
        return _Storage(str(key), kind.dtype, int(count))


def read_tensors(path: str | Path, *, sha256: str, mend: str = AGAIN) -> dict[str, np.ndarray]:
    """The tensors of a saved state by name, if the file is the expected one.

    Of a checkpoint with an entry "state_dict" these are the tensors of that entry.

    Args:
        sha256: of the whole file, fixed by the code that reads it. It is compared before anything
            of the file is interpreted.
        mend: what to do where the file is not usable.

    Raises:
        UserError: no such file, another hash, or a file that holds something but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"Weights {path}: no such file; {mend}.")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UserError(
            f"Weights {path} have SHA-256 {found}, not {sha256}: they are not the expected file; "
            f"{mend}."
        )
    return parse(content, str(path), mend=mend)


_UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    EOFError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def parse(content: bytes, path: str, *, mend: str = AGAIN) -> dict[str, np.ndarray]:
    """The tensors of a file's content, whose hash the caller has compared; errors name `path`."""
    read = _read_archive if content.startswith(_ZIP) else _read_pickles
    try:
        views, storages = read(io.BytesIO(content))
    except _UNREADABLE as error:
        raise UserError(f"Weights {path} hold something but tensors: {error}; {mend}.") from error
    return {name: _cut(view, storages[view.storage.key]) for name, view in views.items()}


_Read = tuple[dict[str, _View], dict[str, np.ndarray]]  # tensors by name, storages by key


def _read_archive(file: io.BytesIO) -> _Read:
    with zipfile.ZipFile(file) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in archive.namelist() and _stored(archive, order) != b"little":
            raise ValueError("its values are not little-endian")
        views = _views(_TensorsOnly(io.BytesIO(_stored(archive, pickled))).load())
        storages = {
            key: _values(_stored(archive, f"{folder}data/{key}"), storage)
            for key, storage in _storages(views).items()
        }
    return views, storages


def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
    """A file of the archive, never larger than the archive itself."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed, which PyTorch does not do")
    return archive.read(name)


def _read_pickles(file: io.BytesIO) -> _Read:
    magic, version, _, state, keys = (_TensorsOnly(file).load() for _ in range(5))
    if (magic, version) != (_MAGIC, _VERSION):
        raise pickle.UnpicklingError("no format of torch.save")
    views = _views(state)
    known = _storages(views)
    if sorted(keys) != sorted(known):
        raise ValueError("tensors and storages do not match")
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little", signed=True)
        if count != known[key].count:
            raise ValueError(f"storage {key} holds {count} values, not {known[key].count}")
        storages[key] = _values(file.read(known[key].size), known[key])
    return views, storages


def _views(state: Any) -> dict[str, _View]:
    """The tensors by name of a state, or of the state in a checkpoint."""
    state = state.get("state_dict", state)
    if not isinstance(state, Mapping):
        raise TypeError("its state_dict is no table of tensors")
    return {str(name): view for name, view in state.items() if isinstance(view, _View)}


def _storages(views: Mapping[str, _View]) -> dict[str, _Storage]:
    """What the tensors say of each storage; all must say the same, or one could read beyond it."""
    known: dict[str, _Storage] = {}
    for view in views.values():
        if known.setdefault(view.storage.key, view.storage) != view.storage:
            raise ValueError(f"storage {view.storage.key} is of two sizes or kinds")
    return known


def _values(raw: bytes, storage: _Storage) -> np.ndarray:
    if len(raw) < storage.size:
        raise EOFError(f"storage {storage.key} is cut off")
    if len(raw) > storage.size:
        raise ValueError(f"storage {storage.key} holds more than {storage.count} values")
    return np.frombuffer(raw, storage.dtype)


def _cut(view: _View, storage: np.ndarray) -> np.ndarray:
    steps = tuple(step * storage.itemsize for step in view.strides)
    return np.lib.stride_tricks.as_strided(storage[view.offset :], view.shape, steps).copy("C")
