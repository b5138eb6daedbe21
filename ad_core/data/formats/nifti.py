"""NIfTI volumes: one slice of a volume, in the orientation in which it is looked at."""

import io
import logging
import math
import os
import zlib
from functools import lru_cache
from typing import Any

import numpy as np

from ad_core.data.formats.stored import (
    DAMAGED,
    Limits,
    Stored,
    Wanted,
    careful,
    check_size,
    choose_page,
    refuse,
)
from ad_core.errors import UserError

EXTENSIONS = (".nii", ".nii.gz")
AXES = ("x", "y", "z")  # of the canonical orientation: to the right, to the front, to the top

_SIZES = {348: b"n+1\0", 540: b"n+2\0"}  # of the header -> magic of a file in one piece
_CHUNK = 2**20


def is_named_volume(path: str | os.PathLike[str]) -> bool:
    """Tells whether the name is that of a volume."""
    return os.fspath(path).lower().endswith(EXTENSIONS)


def is_gzip(data: bytes) -> bool:
    """Tells whether the content is compressed by gzip."""
    return data[:2] == b"\x1f\x8b"


def is_nifti(data: bytes) -> bool:
    """Tells whether the content is that of a NIfTI file (1 or 2), header and data in one."""
    sizes = (int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big"))
    size = next((size for size in sizes if size in _SIZES), 0)
    magic = data[344:348] if size == 348 else data[4:8]
    return size > 0 and magic == _SIZES[size]


def decode(path: str | os.PathLike[str], data: bytes, wanted: Wanted, limits: Limits) -> Stored:
    """One slice across `wanted.axis`, upright: front, or top, is above; right is on the left.

    Slices count along the axis of the closest canonical orientation (from the left to the
    right, the back to the front, the bottom to the top), whatever the order in the file. Values
    are after scl_slope and scl_inter. natural: 0..255 of unscaled bytes; nothing else has one.

    Raises:
        UserError: naming `path`, for what is damaged, beyond a limit, no volume of numbers, or of
            more than three dimensions.
    """
    return careful(path, lambda: _decode(path, data, wanted, limits))


def _decode(path: str | os.PathLike[str], data: bytes, wanted: Wanted, limits: Limits) -> Stored:
    volume = _volume(path, data)
    turned = _turned(path, volume)
    axis = _axis(path, wanted)
    across, rest = int(turned[axis, 0]), [int(i) for i in turned[:, 0] if i != turned[axis, 0]]
    shape = _shape(path, volume)
    check_size(path, shape[rest[0]], shape[rest[1]], limits)
    number = choose_page(path, wanted, shape[across], limits=limits, noun="slices")
    if turned[axis, 1] < 0:
        number = shape[across] - 1 - number
    cut = tuple(number if i == across else slice(None) for i in range(3))
    values = _cut(volume, cut)
    if rest[0] > rest[1]:
        values = values.T
    flips = [turned[i, 1] < 0 for i in range(3) if i != axis]
    for side, flip in enumerate(flips):
        # An image's rows go down and its columns, seen from the feet or the front, to the left.
        if not flip:
            values = np.flip(values, side)
    plain = _is_plain_bytes(volume)
    return Stored(np.ascontiguousarray(values.T), (0.0, 255.0) if plain else None)


def count_slices(path: str | os.PathLike[str], data: bytes, wanted: Wanted, limits: Limits) -> int:
    """Number of slices of the volume across `wanted.axis`. Raises UserError as `decode`."""

    def count() -> int:
        volume = _volume(path, data)
        across = int(_turned(path, volume)[_axis(path, wanted), 0])
        return min(_shape(path, volume)[across], limits.max_frames + 1)

    return careful(path, count)


def inflate(path: str | os.PathLike[str], data: bytes, limits: Limits) -> bytes:
    """Inflated bytes of gzip's `data`, at most `max_bytes`; the last two results are kept.

    Raises:
        UserError: naming `path`, for damaged data and for too many bytes.
    """
    try:
        return _inflate(data, limits.max_bytes)
    except _Unread as problem:
        refuse(path, *problem.args)


class _Unread(Exception):
    """A problem and its mend."""


@lru_cache(maxsize=2)  # a volume is read slice by slice
def _inflate(data: bytes, max_bytes: int) -> bytes:
    parts, left = [], max_bytes
    while data:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            try:
                part = member.decompress(data, min(_CHUNK, left + 1))
            except zlib.error as error:
                raise _Unread(f"cannot be decompressed ({error})", DAMAGED) from error
            if not part and not member.eof:
                raise _Unread("ends before its compressed data do", DAMAGED)
            parts.append(part)
            left -= len(part)
            if left < 0:
                problem = f"unfolds to more than `data.max_bytes` (={max_bytes})"
                raise _Unread(problem, "reduce the volume or raise the limit")
            data = member.unconsumed_tail
        data = member.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _volume(path: str | os.PathLike[str], data: bytes) -> Any:
    try:
        import nibabel
        from nibabel import imageglobals
    except ImportError:
        mend = "add it: `pip install nibabel` (the extra `medical`)"
        refuse(path, "is a NIfTI file, and the package nibabel is not here", mend)
    imageglobals.logger.setLevel(logging.CRITICAL)
    kind = nibabel.Nifti2Image if data[4:8] == _SIZES[540] else nibabel.Nifti1Image
    volume: Any = kind.from_stream(io.BytesIO(data))
    shape = _shape(path, volume)
    dtype: Any = volume.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        refuse(path, "holds colours or complex values", "save it as a volume of numbers")
    start = int(volume.dataobj.offset)
    if start + math.prod(shape) * dtype.itemsize > len(data):
        refuse(path, "ends before its last slice", DAMAGED)
    return volume


def _shape(path: str | os.PathLike[str], volume: Any) -> tuple[int, int, int]:
    """Shape of the volume, 1 for a missing dimension; refuses a fourth dimension."""
    shape = tuple(int(side) for side in volume.shape)
    if any(side < 1 for side in shape) or len(shape) < 2:
        refuse(path, "holds no voxel", DAMAGED)
    if any(side > 1 for side in shape[3:]):
        refuse(path, f"has {len(shape)} dimensions", "save each volume as a file of its own")
    x, y, z = (*shape[:3], 1)[:3]
    return x, y, z


def _cut(volume: Any, cut: tuple[Any, ...]) -> np.ndarray:
    """A part of the data as three dimensions; what is not asked for is not read."""
    extra = len(volume.shape) - 3
    if extra < 0:
        return np.asarray(volume.dataobj)[..., None][cut]
    return np.asarray(volume.dataobj[(*cut, *(0,) * extra)])


def _turned(path: str | os.PathLike[str], volume: Any) -> np.ndarray:
    """[3, 2]: for each canonical axis the axis of the file that runs along it, and its sign."""
    import nibabel

    found = nibabel.io_orientation(volume.affine)
    if not np.isfinite(found).all():
        refuse(path, "has an invalid orientation (affine)", DAMAGED)
    order = np.argsort(found[:, 0])
    return np.stack([order, found[order, 1]], axis=1).astype(int)


def _axis(path: str | os.PathLike[str], wanted: Wanted) -> int:
    if wanted.axis not in AXES:
        raise UserError(f"`data.axis` (={wanted.axis!r}) must be one of {', '.join(AXES)}.")
    return AXES.index(wanted.axis)


def _is_plain_bytes(volume: Any) -> bool:
    scaled = (volume.dataobj.slope, volume.dataobj.inter) != (1, 0)
    return volume.get_data_dtype() == np.uint8 and not scaled
