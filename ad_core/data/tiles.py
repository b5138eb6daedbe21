"""Tiles of an image: where they lie, how they are cut, and how what was made of each is joined.

Tiles lie on a grid of static shape that begins in the upper left corner. What of the last ones lies
beyond the image is its mirror image. Neighbours overlap; there each pixel is a mean of what its
tiles say, by weights that fall towards a tile's border and sum to one.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped
from ml_collections import ConfigDict

from ad_core.data.shape import Sides
from ad_core.errors import UserError

BLENDS = ("cosine", "linear", "nearest")


class Tiling(NamedTuple):
    """Settings of the tiles, in pixels of what they are cut from.

    tile: their side. overlap: of two neighbours. margin: beside a border within the image, of which
    nothing is used. scales: whole numbers by which the image is reduced before tiles are cut, the
    first of them the finest. blend: how weights fall in the overlap. batch: tiles that go through a
    method at a time. top: share of the tiles whose mean is one of the pooled losses.
    """

    tile: int
    overlap: int
    margin: int = 0
    scales: tuple[int, ...] = (1,)
    blend: str = "cosine"
    batch: int = 8
    top: float = 0.05


def make_tiling(section: ConfigDict | Mapping[str, Any]) -> Tiling | None:
    """The tiles that `config.tiling` describes; None where an image goes whole.

    Raises:
        UserError: a setting out of its range.
    """
    if not section["tile"]:
        return None
    tile, overlap = int(section["tile"]), section["overlap"]
    overlap = tile // 4 if overlap is None else int(overlap)
    values = {name: section[name] for name in ("margin", "blend", "batch", "top")}
    return check_tiling(Tiling(tile, overlap, scales=tuple(section["scales"]), **values))


def check_tiling(tiling: Tiling) -> Tiling:
    """The same settings. Raises UserError if one is out of its range."""
    tile, overlap, margin = tiling.tile, tiling.overlap, tiling.margin
    if tile < 8:
        raise UserError(f"`tiling.tile` (={tile}) must be 8 pixels or more, or 0 for no tiles.")
    if not 0 <= overlap < tile:
        raise UserError(
            f"`tiling.overlap` (={overlap}) must lie between 0 and `tiling.tile` (={tile}) less 1."
        )
    if not 0 <= 2 * margin <= overlap:
        raise UserError(
            f"`tiling.margin` (={margin}) must lie between 0 and half of `tiling.overlap` "
            f"(={overlap}): else no tile would judge what lies between two centres; raise the "
            "overlap."
        )
    scales = tiling.scales
    if not scales or list(scales) != sorted(set(scales)) or min(scales) < 1:
        raise UserError(
            f"`tiling.scales` (={','.join(map(str, scales))}) must be whole numbers from 1 that "
            "rise, by which an image is reduced: 1, or 1,2,4."
        )
    if tiling.blend not in BLENDS:
        raise UserError(f"`tiling.blend` (={tiling.blend}) must be one of {', '.join(BLENDS)}.")
    if tiling.batch < 1:
        raise UserError(f"`tiling.batch` (={tiling.batch}) must be 1 or more.")
    if not 0 < tiling.top <= 1:
        raise UserError(f"`tiling.top` (={tiling.top}) must lie above 0 and be 1 at most.")
    return tiling


class Line(NamedTuple):
    """Tiles along one side of an image: `count` of length `tile`, each `step` behind the last."""

    side: int
    tile: int
    step: int
    count: int

    @property
    def padded(self) -> int:
        """Pixels from the first tile's begin to the last one's end."""
        return self.tile + (self.count - 1) * self.step

    def starts(self) -> Int[np.ndarray, " n"]:
        """First pixel of each tile."""
        return np.arange(self.count) * self.step

    def scaled(self, positions: int) -> "Line":
        """The same tiles in positions of a map, of which a tile has so many."""
        return self._replace(
            side=self.side * positions // self.tile,
            tile=positions,
            step=self.step * positions // self.tile,
        )

    def divides(self, positions: int) -> bool:
        """Tells whether tile, step and side are whole numbers of such positions."""
        sizes = (self.tile, self.step, self.side)
        return self.tile % positions == 0 and not any(x * positions % self.tile for x in sizes)


def make_line(side: int, tiling: Tiling) -> Line:
    """The fewest tiles that cover `side` pixels; one where the side is no longer than a tile."""
    step = tiling.tile - tiling.overlap
    return Line(side, tiling.tile, step, 1 + max(0, -(-(side - tiling.tile) // step)))


class Grid(NamedTuple):
    """Tiles of an image: rows of them down, columns across."""

    down: Line
    across: Line

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self.down.count * self.across.count

    def boxes(self) -> Int[np.ndarray, "n 4"]:
        """Left, top, right, bottom of each tile, row by row; some end beyond the image."""
        top, left = np.meshgrid(self.down.starts(), self.across.starts(), indexing="ij")
        corner = np.stack([left.ravel(), top.ravel()], axis=1)
        return np.concatenate([corner, corner + self.down.tile], axis=1)

    def scaled(self, rows: int, columns: int) -> "Grid":
        """The same tiles in positions of a map that has so many for each."""
        return Grid(self.down.scaled(rows), self.across.scaled(columns))

    def divides(self, rows: int, columns: int) -> bool:
        """Tells whether the positions of such a map of each tile lie on one lattice."""
        return self.down.divides(rows) and self.across.divides(columns)


def make_grid(size: Sides, tiling: Tiling, *, scale: int = 1) -> Grid:
    """The grid of an image of that height and width that was reduced by `scale`."""
    return Grid(*(make_line(-(-side // scale), tiling) for side in size))


def reduce(image: Float[Array, "b h w c"], scale: int) -> Float[Array, "b _ _ c"]:
    """Mean of scale x scale pixels; at the lower and right border with the mirror image."""
    if scale == 1:
        return image
    b, h, w, c = image.shape
    image = _padded(image, (-h % scale, -w % scale))
    return image.reshape(b, -(-h // scale), scale, -(-w // scale), scale, c).mean(axis=(2, 4))


def cut(image: Float[Array, "b h w c"], grid: Grid) -> Float[Array, "b n t t c"]:
    """The tiles of each image, row by row; to be compiled."""
    down, across = grid
    image = _padded(image, (down.padded - down.side, across.padded - across.side))
    image = _unfold(jnp.moveaxis(image, 1, -1), down)  # b w c r h
    image = _unfold(jnp.moveaxis(image, 1, -1), across)  # b c r h s w
    tiles = jnp.transpose(image, (0, 2, 4, 3, 5, 1))
    return tiles.reshape(tiles.shape[0], grid.count, *tiles.shape[3:])


def join(
    tiles: Float[Array, "b n h w c"], grid: Grid, down: np.ndarray, across: np.ndarray
) -> Float[Array, "b _ _ c"]:
    """One image of the tiles of each; to be compiled.

    Args:
        grid: in the positions of the tiles, as `Grid.scaled` gives it.
        down, across: weights [tiles, positions] along each side, as `weights` gives them.
    """
    b, _, h, w, c = tiles.shape
    tiles = tiles.reshape(b, grid.down.count, grid.across.count, h, w, c)
    tiles = tiles * down[None, :, None, :, None, None] * across[None, None, :, None, :, None]
    rows = _fold(jnp.transpose(tiles, (0, 2, 4, 5, 1, 3)), grid.down)  # b s w c H
    whole = _fold(jnp.transpose(rows, (0, 3, 4, 1, 2)), grid.across)  # b c H W
    return jnp.moveaxis(whole, 1, -1)


def _padded(image: Shaped[Array, "b h w c"], beyond: tuple[int, int]) -> Shaped[Array, "b _ _ c"]:
    if not any(beyond):
        return image
    return jnp.pad(image, ((0, 0), (0, beyond[0]), (0, beyond[1]), (0, 0)), mode="symmetric")


def _unfold(image: Array, line: Line) -> Array:
    """[..., padded] -> [..., tiles, tile]: slices of blocks of a step, one beside the other."""
    layers = -(-line.tile // line.step)
    beyond = (line.count + layers - 1) * line.step - image.shape[-1]
    blocks = jnp.pad(image, [(0, 0)] * (image.ndim - 1) + [(0, beyond)])
    blocks = blocks.reshape(*image.shape[:-1], line.count + layers - 1, line.step)
    parts = [blocks[..., j : j + line.count, :] for j in range(layers)]
    return jnp.concatenate(parts, axis=-1)[..., : line.tile]


def _fold(tiles: Array, line: Line) -> Array:
    """[..., tiles, tile] -> [..., side]: the sum of all tiles at each position."""
    layers = -(-line.tile // line.step)
    before = [(0, 0)] * (tiles.ndim - 2)
    tiles = jnp.pad(tiles, [*before, (0, 0), (0, layers * line.step - line.tile)])
    tiles = tiles.reshape(*tiles.shape[:-1], layers, line.step)
    parts = [
        jnp.pad(tiles[..., j, :], [*before, (j, layers - 1 - j), (0, 0)]) for j in range(layers)
    ]
    total = functools.reduce(jnp.add, parts)
    return total.reshape(*total.shape[:-2], -1)[..., : line.side]


def weights(line: Line, tiling: Tiling, *, positions: int) -> Float[np.ndarray, "n p"]:
    """Weight of each position of each tile along a side; at each place of the image they sum to 1.

    Within `margin` of a border inside the image the weight is 0, then it rises over what is left of
    the overlap: by a raised cosine or a line. Of blend nearest the tile of the largest weight alone
    counts.

    Args:
        line: in pixels. positions: of a map of a tile, along this side.
    """
    raw = np.stack([_profile(line, tiling, number) for number in range(line.count)])
    raw = raw.reshape(line.count, positions, -1).mean(axis=-1)
    own = line.scaled(positions) if positions != line.tile else line
    place = own.starts()[:, None] + np.arange(positions)
    if tiling.blend == "nearest":
        raw = _foremost(raw, place)
    total = np.bincount(place.ravel(), raw.ravel())
    return (raw / np.maximum(total[place], np.finfo(float).tiny)).astype(np.float32)


def _profile(line: Line, tiling: Tiling, number: int) -> Float[np.ndarray, " t"]:
    """Weights of a tile before they are made to sum to one."""
    ramp = line.tile - line.step - 2 * tiling.margin
    deep = np.arange(line.tile) + 0.5 - tiling.margin
    share = np.clip(deep / ramp, 0, 1) if ramp else (deep > 0).astype(float)
    rising = (1 - np.cos(np.pi * share)) / 2 if tiling.blend == "cosine" else share
    before = rising if number > 0 else np.ones(line.tile)
    behind = rising[::-1] if number < line.count - 1 else np.ones(line.tile)
    return before * behind


def _foremost(raw: Float[np.ndarray, "n p"], place: Int[np.ndarray, "n p"]) -> np.ndarray:
    """1 where a tile's weight is the largest at its place, of equals the first tile's; else 0."""
    best = np.full(place.max() + 1, -1.0)
    np.maximum.at(best, place, raw)
    chosen = raw >= best[place]
    for number in range(1, len(raw)):  # a place has one tile
        taken = np.isin(place[number], place[:number][chosen[:number]])
        chosen[number] &= ~taken
    return chosen.astype(float)


def shows(grid: Grid, content: Int[Array, "b 4"], *, scale: int = 1) -> Bool[Array, "b n"]:
    """True for each tile that shows some of the content of its image; to be compiled.

    Args:
        content: left, top, right, bottom of each image, before it was reduced by `scale`.
    """
    left, top, right, bottom = (grid.boxes().T * scale)[:, None, :]
    own = [side[:, None] for side in content.T]
    wide = jnp.minimum(right, own[2]) > jnp.maximum(left, own[0])
    high = jnp.minimum(bottom, own[3]) > jnp.maximum(top, own[1])
    return wide & high
