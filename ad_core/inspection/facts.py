"""Facts of each image of a source: size, channels, depth, range, digest, perceptual hash."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

from ad_core.data.formats.masks import covered
from ad_core.data.formats.stored import FileSet, read_bytes
from ad_core.data.near_duplicates import fingerprint
from ad_core.data.source import DataSource
from ad_core.errors import UserError
from ad_core.runtime.progress import Progress
from ad_core.types import Placement

CHUNK = 16  # images a thread reads at a time


class Facts(NamedTuple):
    """A row an image, in the order of the records; zeros where it could not be read.

    size: width and height in pixels of the file. channels: 1 or 3, as stored. grey: colour whose
    three channels are equal counts as 1. bits: of a stored value, 32 for float. extent: lowest and
    highest stored value, and the two that become black and white. digest: equal where the
    content of two files is. mask: "" or what is wrong with it; covered: share of the pixels that it
    marks. own: whether black and white are the file's own, such as a window. clipped: share of the
    values beyond the range that is used. errors: index -> message.
    """

    size: Int[np.ndarray, "n 2"]
    channels: Int[np.ndarray, " n"]
    grey: Int[np.ndarray, " n"]
    bits: Int[np.ndarray, " n"]
    extent: Float[np.ndarray, "n 4"]
    digest: tuple[bytes, ...]
    fingerprint: UInt64[np.ndarray, " n"]
    mask: tuple[str, ...]
    covered: Float[np.ndarray, " n"]
    own: Bool[np.ndarray, " n"]
    clipped: Float[np.ndarray, " n"]
    errors: dict[int, str]

    @property
    def readable(self) -> np.ndarray:
        """True for each image that could be read."""
        return np.array([index not in self.errors for index in range(len(self.digest))], bool)


def learn_facts(source: DataSource, *, workers: int) -> Facts:
    """Reads every image of a DataSource, and every mask."""
    count = len(source.records)
    rows: list[dict[str, Any]] = []
    errors: dict[int, str] = {}

    def look_at(start: int) -> list[dict[str, Any]]:
        return [_look(source, i, errors) for i in range(start, min(start + CHUNK, count))]

    progress = Progress(count, label="inspect")
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for found in pool.map(look_at, range(0, count, CHUNK)):
            rows += found
            progress.update(len(found))
    finally:
        pool.shutdown(cancel_futures=True)
    progress.close()
    columns: Callable[[str], list[Any]] = lambda name: [row[name] for row in rows]  # noqa: E731
    return Facts(
        size=np.array(columns("size"), np.int64).reshape(-1, 2),
        channels=np.array(columns("channels"), np.int64),
        grey=np.array(columns("grey"), np.int64),
        bits=np.array(columns("bits"), np.int64),
        extent=np.array(columns("extent"), np.float64).reshape(-1, 4),
        digest=tuple(columns("digest")),
        fingerprint=np.array(columns("fingerprint"), np.uint64),
        mask=tuple(columns("mask")),
        covered=np.array(columns("covered"), np.float64),
        own=np.array(columns("own"), bool),
        clipped=np.array(columns("clipped"), np.float64),
        errors=errors,
    )


def _look(source: DataSource, index: int, errors: dict[int, str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "size": (0, 0),
        "channels": 0,
        "grey": 0,
        "bits": 0,
        "extent": (0.0, 0.0, 0.0, 0.0),
        "digest": b"",
        "fingerprint": np.uint64(0),
        "mask": "",
        "covered": 0.0,
        "own": False,
        "clipped": 0.0,
    }
    try:
        image, _, placement, row["clipped"], *_ = source.read(index)
        row["size"] = (placement.width, placement.height)
        row["fingerprint"] = fingerprint(image)
        if isinstance(source, FileSet):
            row |= _of_file(source, index, source.records[index].path)
        else:
            row |= _of_drawing(image)
    except UserError as error:
        errors[index] = str(error)
        return row
    return row | _of_mask(source, index, placement)


def _of_file(source: FileSet, index: int, name: str) -> dict[str, Any]:
    stored = source.stored(index)
    values = stored.values
    colour = values.ndim == 3
    same = colour and bool((values == values[..., :1]).all())
    natural = stored.natural or (float(values.min()), float(values.max()))
    path, _ = source.locate(index)
    return {
        "channels": 3 if colour else 1,
        "grey": 3 if colour and not same else 1,
        "bits": 8 * values.dtype.itemsize,
        "extent": (float(values.min()), float(values.max()), *natural),
        "own": stored.own,
        "digest": hashlib.sha256(read_bytes(path, 2**62)).digest() + _page(name),
    }


def _page(path: str) -> bytes:
    """Part of a path that tells the pages of one file apart."""
    return path.rpartition("#")[2].encode("utf-8", "replace") if "#" in path else b""


def _of_drawing(image: Float[np.ndarray, "h w c"]) -> dict[str, Any]:
    channels = image.shape[-1]
    same = bool((image == image[..., :1]).all())
    return {
        "channels": channels,
        "grey": 1 if same else channels,
        "bits": 8,
        "extent": (float(image.min()), float(image.max()), -1.0, 1.0),
        "digest": hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest(),
    }


def _of_mask(source: DataSource, index: int, placement: Placement) -> dict[str, Any]:
    """Fault of the mask of an image that was read, or "", and the share that it marks."""
    try:
        mask = source.read_mask(index)
    except UserError as error:
        return {"mask": str(error)}
    if mask is None:
        return {}
    width, height = placement.width, placement.height
    fault = "" if mask.any() else "black all over, though the image is abnormal"
    if mask.shape != (height, width):
        fault = f"{mask.shape[1]} x {mask.shape[0]} pixels, its image {width} x {height}"
    return {"mask": fault, "covered": covered(mask)}
