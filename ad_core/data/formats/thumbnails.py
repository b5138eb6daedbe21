"""Thumbnails of image files: small, grey, without mean and of one contrast; read fast."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Bool, Float, Shaped

from ad_core.data.formats import raster
from ad_core.data.formats.resizing import reduce_area
from ad_core.data.formats.stored import Encoded, FileSet, read_bytes
from ad_core.errors import UserError
from ad_core.runtime.progress import Progress

SIDE = 32
CHUNK = 16  # images a thread reads at a time
MAX_BYTES = 2**28  # of a JPEG file that is read at a fraction of its size


def thumbnails(
    source: FileSet, count: int, *, workers: int
) -> tuple[Float[np.ndarray, "n d"], Bool[np.ndarray, " n"]]:
    """The images as rows of SIDE^2 grey values of mean 0 and norm 1, and which could be read.

    Stretched to one shape by area means. Only contrast and pattern are left, so that no range of
    values matters. JPEG files are decoded at down to an eighth of their size. A flat image, or one
    that cannot be read, is a row of zeros.
    """
    found = np.zeros((count, SIDE * SIDE), np.float32)
    readable = np.zeros(count, bool)

    def read(start: int) -> int:
        indices = range(start, min(start + CHUNK, count))
        for index in indices:
            try:
                found[index] = _row(_grey(source, index))
                readable[index] = True
            except UserError:  # told where images are read to learn from
                continue
        return len(indices)

    progress = Progress(count, label="compare")
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for done in pool.map(read, range(0, count, CHUNK)):
            progress.update(done)
    finally:
        pool.shutdown(cancel_futures=True)
    progress.close()
    return found, readable


def _grey(source: FileSet, index: int) -> Shaped[np.ndarray, "h w"]:
    path, _ = source.locate(index)
    small = None
    if not isinstance(path, Encoded) or path.content:
        small = _draft(path)
    if small is not None:
        return small
    values = source.stored(index).values
    return values if values.ndim == 2 else values.mean(axis=-1)


def _draft(path: str | os.PathLike[str]) -> Shaped[np.ndarray, "h w"] | None:
    return raster.draft(read_bytes(path, MAX_BYTES), SIDE)


def _row(grey: Shaped[np.ndarray, "h w"]) -> Float[np.ndarray, " d"]:
    """Grey values of SIDE x SIDE, without their mean, of norm 1; zeros where they are all alike."""
    for axis, side in enumerate(grey.shape):
        grey = np.repeat(grey, -(-SIDE // side), axis)  # a tiny image is enlarged
    row = reduce_area(grey.astype(np.float32), SIDE).ravel().astype(np.float64)
    row -= row.mean()
    norm = float(np.linalg.norm(row))
    flat = norm <= 1e-6 * SIDE * max(1.0, float(np.abs(grey).max()))
    return (np.zeros_like(row) if flat else row / norm).astype(np.float32)
