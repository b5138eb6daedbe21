"""The worst windows of an image: where to look, and what lies there at one common size.

After the search of VQGanoDIP: the highest block maxima of the residual, square windows of several
sizes on and around them, the windows with the largest residual kept. All on a grid of blocks, so
that window sums are exact and the same window is never kept twice.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ad_core.errors import UserError
from ad_core.statistics.filters import separable

MASK_POWER = 10


@dataclass(frozen=True)
class WindowSettings:
    """Settings of the search for windows; hashable, so that `jax.jit` takes them as static.

    blocks: along the shorter side of the image; a block has side // blocks pixels, at least 1.
    peaks: highest blocks around which windows are tried.
    scales: sides of the windows in blocks. Those that the image cannot hold are left out, as
        are those under `smallest` pixels.
    smallest: side of the smallest window, in pixels (the window of ssim).
    worst: windows kept of each image.
    rank_power: windows are ranked by the sum of |x - x̂| over area^rank_power. 0 ranks by the
        sum, which favours the largest; 1 by the mean, which favours the smallest.
    side: to which every kept window is brought by area means before it is measured.
    """

    blocks: int = 64
    peaks: int = 100
    scales: tuple[int, ...] = (1, 4, 7, 10, 13, 16)
    smallest: int = 7
    worst: int = 15
    rank_power: float = 0.0
    side: int = 32

    def __post_init__(self) -> None:
        """Raises UserError on a value that no search can use."""
        for name in ("blocks", "peaks", "worst", "side", "smallest"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"`statistics.windows.{name}` (={getattr(self, name)}) must be 1 or more."
                )
        if not self.scales or min(self.scales) < 1:
            raise UserError(
                f"`statistics.windows.scales` (={self.scales}) must be numbers of blocks, from 1."
            )


class Windows(NamedTuple):
    """Square windows of each image, the worst first. In blocks of `block_side` pixels.

    kept is False where an image has fewer distinct windows; those rows repeat the worst one.
    """

    top: Int[Array, "b k"]
    left: Int[Array, "b k"]
    size: Int[Array, "b k"]
    kept: Bool[Array, "b k"]


def block_side(settings: WindowSettings, h: int, w: int) -> int:
    """Pixels of a block's side."""
    return max(1, min(h, w) // settings.blocks)


def usable_scales(settings: WindowSettings, h: int, w: int) -> tuple[int, ...]:
    """Scales whose windows fit the image and are not under the smallest side.

    Raises:
        UserError: there is none.
    """
    block = block_side(settings, h, w)
    room = -(-min(h, w) // block)
    fits = tuple(s for s in settings.scales if s * block >= settings.smallest and s <= room)
    if not fits:
        raise UserError(
            f"No window of `scales` (={settings.scales}) blocks of {block} pixels fits images of "
            f"{h}x{w} with sides of at least `smallest` (={settings.smallest}); change these."
        )
    return fits


def worst_windows(size: Float[Array, "b h w"], settings: WindowSettings) -> Windows:
    """The windows with the largest sums of `size`, among those around its highest blocks.

    Around each of the `peaks` highest block maxima: at each scale the centred window and its 8
    neighbours, half a side away, moved into the image where they leave it. An image whose sides
    are no multiples of the block is continued by zeros.

    Args:
        size: non-negative, such as |x - x̂| (averaged over channels).
    """
    h, w = size.shape[1:]
    scales = usable_scales(settings, h, w)
    blocks = _blocks(size, block_side(settings, h, w))
    rows, columns = _peaks(blocks.max(axis=(3, 4)), settings.peaks)
    sums = blocks.sum(axis=(3, 4))
    tables = []
    for scale in scales:
        tried = _tried(rows, columns, scale, sums.shape[1:])
        ones = (1.0,) * scale
        total = separable(sums[..., None], ones, ones)[..., 0]
        area = (scale * block_side(settings, h, w)) ** 2
        score = jnp.where(tried, total / area**settings.rank_power, -jnp.inf)
        tables.append(jnp.pad(score, _to_grid(scale), constant_values=-jnp.inf))
    return _keep(jnp.stack(tables, axis=1), scales, settings.worst)


def _keep(scores: Float[Array, "b s gh gw"], scales: tuple[int, ...], count: int) -> Windows:
    """The windows of highest score; `scores` at their upper left blocks."""
    b, _, gh, gw = scores.shape
    # Fused with what makes the scores, XLA's top_k is ten times slower on CPU.
    flat = lax.optimization_barrier(scores.reshape(b, -1))
    best, index = lax.top_k(flat, min(count, flat.shape[1]))
    kept = jnp.isfinite(best)
    index = jnp.where(kept, index, index[:, :1])
    scale, place = index // (gh * gw), index % (gh * gw)
    size = jnp.asarray(scales, jnp.int32)[scale]
    return Windows(top=place // gw, left=place % gw, size=size, kept=kept)


def _blocks(size, side):
    """[b, gh, gw, side, side], continued by zeros to whole blocks."""
    b, h, w = size.shape
    gh, gw = -(-h // side), -(-w // side)
    padded = jnp.pad(size, ((0, 0), (0, gh * side - h), (0, gw * side - w)))
    return padded.reshape(b, gh, side, gw, side).transpose(0, 1, 3, 2, 4)


def _peaks(highest, count):
    b, gh, gw = highest.shape
    _, index = lax.top_k(highest.reshape(b, -1), min(count, gh * gw))
    return index // gw, index % gw


def _tried(rows, columns, scale, grid):
    """Candidates among all upper left corners where a window of that scale fits."""
    b, high, wide = rows.shape[0], grid[0] - scale + 1, grid[1] - scale + 1
    steps = jnp.arange(-1, 2) * max(1, scale // 2)
    top = jnp.clip(rows[:, :, None] - scale // 2 + steps[None, None, :], 0, high - 1)
    left = jnp.clip(columns[:, :, None] - scale // 2 + steps[None, None, :], 0, wide - 1)
    corner = top[:, :, :, None] * wide + left[:, :, None, :]
    corner = corner.reshape(b, -1)
    marks = jnp.zeros((b, high * wide), bool).at[jnp.arange(b)[:, None], corner].set(True)
    return marks.reshape(b, high, wide)


def _to_grid(scale):
    return ((0, 0), (0, scale - 1), (0, scale - 1))


def cut(
    images: Float[Array, "b h w c"],
    windows: Windows,
    *,
    block: tuple[float | int, float | int],
    largest: int,
    side: int,
) -> Float[Array, "b k side side c"]:
    """Content of each window as side x side area means (a pixel counts by its overlap).

    Beyond the image its outermost pixels continue.

    Args:
        block: height and width of a block in pixels of `images`; fractions where these are maps
            of another resolution than the images that were searched.
        largest: no window is larger, in blocks.
    """
    h, w, c = images.shape[1:]
    b, k = windows.top.shape
    first_row, rows = _overlaps(windows.top, windows.size, block[0], largest, side, h)
    first_column, columns = _overlaps(windows.left, windows.size, block[1], largest, side, w)
    shape = (rows.shape[3], columns.shape[3], c)

    def piece(image, row, column):
        return lax.dynamic_slice(image, (row, column, 0), shape)

    pieces = jax.vmap(jax.vmap(piece, (None, 0, 0)))(images, first_row, first_column)
    exact = lax.Precision.HIGHEST
    high = jnp.einsum("bksh,bkhx->bksx", rows, pieces.reshape(b, k, shape[0], -1), precision=exact)
    high = high.reshape(b, k, side, *shape[1:])
    return jnp.einsum("bktw,bkswc->bkstc", columns, high, precision=exact)


def _overlaps(start, size, block, largest, side, length):
    """First pixel of a stretch that holds the window, and the share of each of the window's
    cells that each pixel of the stretch takes: [b, k], [b, k, side, stretch].
    """
    stretch = min(length, math.ceil(largest * block) + 1)
    begin = start.astype(jnp.float32) * block
    first = jnp.clip(jnp.floor(begin).astype(jnp.int32), 0, length - stretch)
    cell = (size.astype(jnp.float32) * (block / side))[..., None, None]
    cells = jnp.arange(side, dtype=jnp.float32)[None, None, :, None]
    low = begin[..., None, None] + cell * cells
    pixel = first[..., None, None] + jnp.arange(stretch)[None, None, None, :]
    # What lies beyond the last pixel belongs to it.
    pixel_end = jnp.where(pixel == length - 1, jnp.inf, (pixel + 1).astype(jnp.float32))
    overlap = jnp.minimum(low + cell, pixel_end) - jnp.maximum(low, pixel.astype(jnp.float32))
    return first, jnp.maximum(overlap, 0.0) / cell


def weighted_other(
    image: Float[Array, "b h w c"], other: Float[Array, "b h w c"], mask: Float[Array, "h w"]
) -> Float[Array, "b h w c"]:
    """The reconstruction moved towards the image, so that the residual is (1 - mask)^10 times
    what it was: differences where normals differ from their reconstructions too count less.
    """
    weight = (1 - mask) ** MASK_POWER
    return image - weight[None, :, :, None] * (image - other)


def pool(values: Float[Array, "b k"], kept: Bool[Array, "b k"], how: str) -> Float[Array, "b"]:
    """Pools the kept windows: "max", "min", "mean", or "worst" (the window of highest residual)."""
    if how == "worst":
        return values[:, 0]
    if how == "mean":
        return jnp.mean(values, axis=1, where=kept)
    sign = 1.0 if how == "max" else -1.0
    return sign * jnp.max(jnp.where(kept, sign * values, -jnp.inf), axis=1)
