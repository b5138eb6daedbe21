"""Images that look alike, by a perceptual hash: found fast, and kept in one group."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt64
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ad_core.data.formats.resizing import reduce_area
from ad_core.errors import UserError
from ad_core.runtime.progress import Progress

BITS = 64
BLOCK = (128, 4096)  # hashes compared at a time: 4 MB, which stay in the cache
CHUNK = 32  # images hashed by a thread at a time


def fingerprint(image: Float[np.ndarray, "h w c"]) -> np.uint64:
    """The perceptual hash of an image of at least 8 pixels a side, 64 bits.

    Grey, reduced to 32 x 32 by area; of its cosine transform the 8 x 8 lowest frequencies, each
    one bit: above their median (taken without the mean) or not. Light, contrast and compression
    hardly change it; mirroring, turning and cropping do.

    Source: pHash of E. Klinger and D. Starkweather, phash.org, with the area mean in place of
    their box filter.
    """
    grey = image.mean(axis=-1)
    small = reduce_area(grey, [min(32, side) for side in grey.shape])
    # Rounded, so that a flat image has one hash whatever its level.
    waves = np.round(np.asarray(dctn(small, norm="ortho"))[:8, :8].ravel(), 4)
    return np.packbits(waves > np.median(waves[1:])).view(">u8").astype(np.uint64)[0]


def fingerprints(
    image: Callable[[int], Float[np.ndarray, "h w c"]],
    count: int,
    *,
    workers: int,
    label: str = "compare images",
) -> tuple[UInt64[np.ndarray, " n"], dict[int, str]]:
    """The hash of each of `count` images, and what went wrong: index -> message.

    An image that cannot be read has the hash 0.
    """
    hashes, errors = np.zeros(count, np.uint64), {}

    def hash_some(start: int) -> int:
        indices = range(start, min(start + CHUNK, count))
        for index in indices:
            try:
                hashes[index] = fingerprint(image(index))
            except UserError as error:
                errors[index] = str(error)
        return len(indices)

    progress = Progress(count, label=label)
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for done in pool.map(hash_some, range(0, count, CHUNK)):
            progress.update(done)
    finally:
        pool.shutdown(cancel_futures=True)
    progress.close()
    return hashes, errors


def near_pairs(hashes: UInt64[np.ndarray, " n"], distance: int) -> Iterator[Int[np.ndarray, "m 2"]]:
    """All pairs i < j whose hashes differ in at most `distance` bits, block by block.

    Every pair is compared; memory is that of a block, whatever n.
    """
    rows, columns = BLOCK
    for top in range(0, len(hashes), rows):
        for left in range(top - top % columns, len(hashes), columns):
            differing = np.bitwise_count(
                hashes[top : top + rows, None] ^ hashes[None, left : left + columns]
            )
            i, j = np.divmod(np.flatnonzero(differing <= distance), differing.shape[1])
            pairs = np.stack([i + top, j + left], axis=1)
            pairs = pairs[pairs[:, 0] < pairs[:, 1]]
            if len(pairs):
                yield pairs


def components(hashes: UInt64[np.ndarray, " n"], distance: int) -> Int[np.ndarray, " n"]:
    """A number for each image, equal where a chain of near-duplicates joins two of them."""
    unique, place = np.unique(hashes, return_inverse=True)
    label = np.arange(len(unique))
    for pairs in near_pairs(unique, distance):
        label = _joined(label, label[pairs[:, 0]], label[pairs[:, 1]])
    return label[place]


def merge_groups(groups: Sequence[str], component: Int[np.ndarray, " n"]) -> list[str]:
    """The groups, merged where they share a component and named as the first image's group."""
    _, own = np.unique(np.asarray(groups, object), return_inverse=True)
    offset = int(own.max(initial=-1)) + 1
    label = np.arange(offset + int(component.max(initial=-1)) + 1)
    merged = _joined(label, own, component + offset)[own]
    first: dict[int, str] = {}
    return [first.setdefault(m, group) for m, group in zip(merged.tolist(), groups, strict=True)]


def group_near_duplicates(source: Any, distance: int, *, workers: int) -> None:
    """Merges the groups of a DataSource whose images are near-duplicates.

    Every image is read once. One that cannot be read keeps its group.

    Args:
        distance: bits of the hash that may differ, 0 to 16.

    Raises:
        UserError: `distance` is out of range.
    """
    if not 0 <= distance <= 16:
        raise UserError(f"`data.near_duplicates` (={distance}) must be between 0 and 16 bits.")
    records = source.records
    hashes, errors = fingerprints(
        lambda index: source.read(index).image, len(records), workers=workers
    )
    readable = np.array([index not in errors for index in range(len(records))], bool)
    component = np.arange(len(records))
    if readable.any():
        component[readable] = components(hashes[readable], distance)
        component[~readable] = len(records) + np.flatnonzero(~readable)
    groups = merge_groups([record.group for record in records], component)
    source.records = tuple(
        record._replace(group=group) for record, group in zip(records, groups, strict=True)
    )


def _joined(
    label: Int[np.ndarray, " k"], left: Int[np.ndarray, " m"], right: Int[np.ndarray, " m"]
) -> Int[np.ndarray, " k"]:
    """`label` with the numbers left[i] and right[i] made one, for each i."""
    nodes = int(label.max(initial=-1)) + 1
    ones = np.ones(len(left), bool)
    graph = coo_array((ones, (left, right)), shape=(nodes, nodes))
    _, number = connected_components(graph, directed=False)
    return number[label]
