"""Tensors of a safetensors file: a table in JSON, then the values, nothing that could run.

Source: https://github.com/huggingface/safetensors, its README's section on the format.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ad_core.errors import UserError

_MOST = 100_000_000  # bytes of a table, by the format
_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(jnp.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


class _Entry(NamedTuple):
    """A tensor in the table; start and end count bytes from the first value on."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int
    end: int


def read_safetensors(path: str | Path, *, mend: str) -> dict[str, np.ndarray]:
    """The tensors of a file by name.

    Args:
        mend: what to do where the file is not usable.

    Raises:
        UserError: a file that is cut off or otherwise not of this format, or has values of a kind
            that weights do not have.
    """
    content = Path(path).read_bytes()
    try:
        entries, values = _table(content)
        return {
            e.name: np.frombuffer(values[e.start : e.end], e.dtype).reshape(e.shape)
            for e in entries
        }
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise UserError(
            f"Weights {path} are no whole safetensors file: {error}; {mend}."
        ) from error


def _table(content: bytes) -> tuple[list[_Entry], memoryview]:
    """What the file holds, in the order of its values, and all values."""
    length = int.from_bytes(content[:8], "little")
    if length > min(_MOST, len(content) - 8):
        raise ValueError(f"a table of {length} bytes, in a file of {len(content)}")
    table = json.loads(content[8 : 8 + length], object_pairs_hook=_once)
    entries = [_entry(name, of) for name, of in table.items() if name != "__metadata__"]
    entries.sort(key=lambda entry: (entry.start, entry.end))
    values = memoryview(content)[8 + length :]
    place = 0
    for entry in entries:
        if entry.start != place:
            raise ValueError(f"{entry.name} begins at {entry.start}, not at {place}")
        place = entry.end
    if place != len(values):
        raise ValueError(f"values of {len(values)} bytes, of which {place} are listed")
    return entries, values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name that stands twice")
    return dict(pairs)


def _entry(name: str, of: dict[str, Any]) -> _Entry:
    if of["dtype"] not in _DTYPES:
        raise ValueError(f"{name} is of the kind {of['dtype']}, which is not read here")
    dtype, shape = _DTYPES[of["dtype"]], tuple(of["shape"])
    start, end = of["data_offsets"]
    if not all(type(n) is int and n >= 0 for n in (*shape, start, end)):
        raise ValueError(f"{name} has a shape or a place that is no count")
    if end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} of shape {shape} does not fit {end - start} bytes")
    return _Entry(name, dtype, shape, start, end)
