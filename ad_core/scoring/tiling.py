"""A method on tiles of an image at its own resolution: `tiled` wraps one, nothing else knows.

The tiles of all images of a batch go through the method together, some at a time. What it draws
and its maps are joined to ones of the whole image. Each loss becomes the largest, the mean of the
highest and the mean over the tiles, and a map of its tiles says which was the worst.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.data.shape import Sides, image_shape
from ad_core.data.tiles import (
    Grid,
    Tiling,
    cut,
    join,
    make_grid,
    make_tiling,
    reduce,
    shows,
    weights,
)
from ad_core.errors import UserError
from ad_core.runtime.methods import make_for_network
from ad_core.statistics.context import CODES_MAP
from ad_core.types import Batch, Method, OnePass, Steps, TrainState, View

POOLINGS = ("max", "top", "mean")  # of a loss over the tiles: NAME_tile_max, ...
TILES = "_tiles"  # ends the name of a map that holds a loss of each tile
SLACK = 1e-4  # of a share of tiles, so that 5 % of 20 is one in float32 too
Content = Int[Array, "b 4"] | None


def make_method(config: ConfigDict) -> Method:
    """The method of a complete configuration of one method, on tiles where it asks for some.

    Raises:
        UserError: what the method's `make` refuses, tiles out of their range, or a method that
            cannot go by tiles.
    """
    method, tiling = make_for_network(config), make_tiling(config.tiling)
    if tiling is None:
        return method
    check_tiles(method, config.method)
    return tiled(method, tiling, size=image_shape(config.data)[:2])


def seen_size(config: ConfigDict) -> Sides:
    """Height and width in pixels of what a method sees at once: the image, or a tile of it."""
    tile = int(config.tiling.tile)
    return (tile, tile) if tile else image_shape(config.data)[:2]


def overlap_of(config: ConfigDict) -> int:
    """Pixels that neighbouring parts of a large image share: as tiles do, else a quarter."""
    tiling, sides = make_tiling(config.tiling), image_shape(config.data)[:2]
    return min(sides) // 4 if tiling is None else min(tiling.overlap, min(sides) - 1)


def least_region(config: ConfigDict) -> float:
    """Smallest region that counts, as a share in [0, 1] of the image.

    `localisation.min_area` is a share of what a method sees at once.
    """
    height, width, _ = image_shape(config.data)
    high, wide = seen_size(config)
    return float(config.localisation.min_area) * ((high * wide) / (height * width))


def check_tiles(method: Method, name: str) -> None:
    """Refuses a method that tiles would make wrong; UserError."""
    if method.knows_place:
        raise UserError(
            f"`method` (={name}) learns what is usual at each place of an image, and a tile is one "
            "place of many: it cannot go by tiles. A memory for each tile would be as large as the "
            "one of a whole image, which it sees with `--config.tiling.tile=0`; or name another "
            "method, such as one that compares with all places."
        )
    if isinstance(method.learn, OnePass) and (
        method.trains_on_abnormal or method.learns_from_calibration
    ):
        raise UserError(
            f"`method` (={name}) learns in one pass from images that are abnormal as a whole, and "
            "most tiles of an abnormal image are normal; set `--config.tiling.tile=0`, or name "
            "another method."
        )


def tiled(method: Method, tiling: Tiling, *, size: Sides) -> Method:
    """The method on tiles of images of `size`; it learns tiles, and its views are of whole images.

    A method that learns in one pass learns every tile. One that learns step by step is given
    batches of tiles: `ad_core.data.crops`. A tile's key is made of its image's and its number.

    Losses are NAME_tile_max, NAME_tile_top (the mean of the highest share `tiling.top`) and
    NAME_tile_mean, over the tiles that show some of an image's content. Maps are joined by weights
    at their own resolution where its positions lie on one lattice, else pixel by pixel; the map of
    codes takes each from one tile. The map NAME_tiles [b, rows, columns] holds the loss of each
    tile. Tiles of an image that is reduced by s give maps that count as much as the finest, and
    losses NAME_by_s_tile_max. What is drawn is drawn by the finest. Pooled features are the mean
    and the largest over all tiles.

    Args:
        size: height and width of the images in pixels.
    """
    grids = {scale: make_grid(size, tiling, scale=scale) for scale in tiling.scales}
    named = [_at(name, scale) for scale in grids for name in method.losses]

    def view_within(
        state: TrainState, image: Float[Array, "b h w c"], keys: Key[Array, "b"], content: Content
    ) -> View:
        views = [
            _at_scale(method, tiling, grids[scale], scale, state, image, keys, content)
            for scale in tiling.scales
        ]
        return _merged(views)

    return method._replace(
        learn=_learning(method.learn, tiling, grids),
        view=lambda state, image, keys: view_within(state, image, keys, None),
        view_within=view_within,
        losses=tuple(f"{name}_tile_{pooling}" for name in named for pooling in POOLINGS),
    )


def _at(name: str, scale: int) -> str:
    return name if scale == 1 else f"{name}_by_{scale}"


def _learning(learn: Steps | OnePass, tiling: Tiling, grids: Mapping[int, Grid]) -> Steps | OnePass:
    if isinstance(learn, Steps):
        side = (tiling.tile, tiling.tile)
        return learn._replace(init=lambda key, shape: learn.init(key, (*side, shape[-1])))
    cutting = partial(tile_batches, tiling=tiling, grids=grids)
    each = sum(grid.count for grid in grids.values())

    def fit(batches: Iterable[Batch], key: PRNGKeyArray) -> TrainState:
        return learn.fit(cutting(batches), key)

    def fit_parts(
        batches: Callable[[], Iterable[Batch]], parts: Bool[np.ndarray, "p n"], key: PRNGKeyArray
    ) -> Iterable[TrainState]:
        assert learn.fit_parts is not None  # else this function is not given
        return learn.fit_parts(lambda: cutting(batches()), np.repeat(parts, each, axis=1), key)

    return OnePass(fit, None if learn.fit_parts is None else fit_parts)


def tile_batches(
    batches: Iterable[Batch], *, tiling: Tiling, grids: Mapping[int, Grid]
) -> Iterator[Batch]:
    """Tiles of the valid images of all batches, image by image, `tiling.batch` at a time.

    Every image gives equally many.

    Args:
        grids: scale -> where its tiles lie.
    """

    @jax.jit
    def all_tiles(image: Float[Array, "1 h w c"]) -> Float[Array, "n t t c"]:
        found = [cut(reduce(image, scale), grid)[0] for scale, grid in grids.items()]
        return jnp.concatenate(found)

    rows = _tile_rows(batches, all_tiles)
    while some := list(itertools.islice(rows, tiling.batch)):
        yield _tile_batch(some, size=tiling.batch)


Row = tuple[Float[np.ndarray, "t t c"], int, int]  # a tile, and label and index of its image


def _tile_rows(batches: Iterable[Batch], all_tiles: Callable[[Any], Array]) -> Iterator[Row]:
    for batch in batches:
        image, label, index, valid = (
            np.asarray(x) for x in (batch.image, batch.label, batch.index, batch.valid)
        )
        for row in np.flatnonzero(valid):
            for tile in np.asarray(all_tiles(image[row : row + 1])):
                yield tile, int(label[row]), int(index[row])


def _tile_batch(rows: list[Row], *, size: int) -> Batch:
    """The rows, and blank ones that are not valid, as host arrays."""
    tiles, label, index = zip(*rows, strict=True)
    beyond = size - len(rows)
    image: Any = np.stack([*tiles, *[np.zeros_like(tiles[0])] * beyond])
    valid: Any = np.arange(size) < len(rows)
    numbers: list[Any] = [
        np.array([*values, *[fill] * beyond], np.int32)
        for values, fill in ((label, 0), (index, -1))
    ]
    return Batch(image, numbers[0], valid, numbers[1])


def _at_scale(
    method: Method,
    tiling: Tiling,
    grid: Grid,
    scale: int,
    state: TrainState,
    image: Float[Array, "b h w c"],
    keys: Key[Array, "b"],
    content: Content,
) -> View:
    """The view of images that are reduced by `scale`, of all their tiles."""
    tiles = cut(reduce(image, scale), grid)
    seen = _look(method, tiling, state, tiles, _tile_keys(keys, grid.count, scale))
    counted = jnp.ones(tiles.shape[:2], bool)
    if content is not None:
        counted = shows(grid, content, scale=scale)
    drawn = None if seen.image is None else _joined(seen.image, grid, tiling)
    losses = {_at(name, scale): x for name, x in seen.losses.items()}
    maps = {name: _joined_map(name, x, grid, tiling) for name, x in seen.maps.items()}
    shape = (-1, grid.down.count, grid.across.count)
    return View(
        image=drawn,
        maps=maps | {f"{name}{TILES}": x.reshape(shape) for name, x in losses.items()},
        losses=_pooled(losses, counted, share=tiling.top),
        anomaly=seen.anomaly,
        features={_at(name, scale): _both(x, counted) for name, x in seen.features.items()},
    )


def _tile_keys(keys: Key[Array, "b"], count: int, scale: int) -> Key[Array, "b n"]:
    numbers = jnp.arange(count)
    at_scale = jax.vmap(lambda key: jax.random.fold_in(key, scale))(keys)
    return jax.vmap(lambda key: jax.vmap(lambda n: jax.random.fold_in(key, n))(numbers))(at_scale)


def _look(
    method: Method,
    tiling: Tiling,
    state: TrainState,
    tiles: Float[Array, "b n t t c"],
    keys: Key[Array, "b n"],
) -> View:
    """Views of all tiles, [b, n, ...], `tiling.batch` of them at a time."""
    b, n = tiles.shape[:2]
    size = min(tiling.batch, b * n)
    calls = -(-b * n // size)
    flat = jnp.minimum(jnp.arange(calls * size), b * n - 1)  # the last tile fills the last call
    some = tiles.reshape(b * n, *tiles.shape[2:])[flat].reshape(calls, size, *tiles.shape[2:])
    own = keys.reshape(-1)[flat].reshape(calls, size)
    seen = jax.lax.map(lambda given: method.view(state, *given), (some, own))
    return jax.tree.map(
        lambda x: x.reshape(calls * size, *x.shape[2:])[: b * n].reshape(b, n, *x.shape[2:]), seen
    )


def _joined(
    tiles: Float[Array, "b n h w c"], grid: Grid, tiling: Tiling
) -> Float[Array, "b _ _ c"]:
    h, w = tiles.shape[2:4]
    down = weights(grid.down, tiling, positions=h)
    return join(tiles, grid.scaled(h, w), down, weights(grid.across, tiling, positions=w))


def _joined_map(
    name: str, tiles: Float[Array, "b n _ _"], grid: Grid, tiling: Tiling
) -> Float[Array, "b _ _"]:
    """A map of the whole image, at the resolution of its tiles' if they lie on one lattice."""
    codes = name == CODES_MAP  # numbers of which no mean is one
    tiling = tiling._replace(blend="nearest") if codes else tiling
    b, n, h, w = tiles.shape
    tiles = tiles.astype(jnp.float32)
    if not grid.divides(h, w):
        side, how = grid.down.tile, "nearest" if codes else "linear"
        flat = tiles.reshape(b * n, h, w)
        flat = jax.image.resize(flat, (b * n, side, side), how, antialias=False)
        tiles = flat.reshape(b, n, side, side)
    return _joined(tiles[..., None], grid, tiling)[..., 0]


def _pooled(
    losses: Mapping[str, Float[Array, "b n"]], counted: Bool[Array, "b n"], *, share: float
) -> dict[str, Float[Array, " b"]]:
    """Each loss over the tiles that count: the largest, the mean of the highest, the mean."""
    found = {}
    for name, values in losses.items():
        values = values.astype(jnp.float32)
        found[f"{name}_tile_max"] = jnp.max(jnp.where(counted, values, -jnp.inf), axis=1)
        found[f"{name}_tile_top"] = _top(values, counted, share)
        found[f"{name}_tile_mean"] = _mean(values, counted)
    return found


def _top(
    values: Float[Array, "b n"], counted: Bool[Array, "b n"], share: float
) -> Float[Array, " b"]:
    """Mean of the ceil(share * count) highest, of the tiles that count."""
    most = int(np.ceil(share * values.shape[1] - SLACK))
    highest = jax.lax.top_k(jnp.where(counted, values, -jnp.inf), most)[0]
    wanted = jnp.ceil(share * jnp.sum(counted, axis=1, dtype=jnp.float32) - SLACK)
    return _mean(highest, jnp.arange(most, dtype=jnp.float32)[None] < wanted[:, None])


def _mean(values: Float[Array, "b n"], counted: Bool[Array, "b n"]) -> Float[Array, " b"]:
    total = jnp.sum(jnp.where(counted, values, 0.0), axis=1)
    return total / jnp.sum(counted, axis=1, dtype=jnp.float32)


def _both(features: Float[Array, "b n d"], counted: Bool[Array, "b n"]) -> Float[Array, "b _"]:
    """Mean and largest of each feature over the tiles that count."""
    own = counted[..., None]
    mean = jnp.sum(jnp.where(own, features, 0.0), axis=1)
    mean = mean / jnp.sum(counted, axis=1, dtype=jnp.float32)[:, None]
    return jnp.concatenate([mean, jnp.max(jnp.where(own, features, -jnp.inf), axis=1)], axis=1)


def _merged(views: list[View]) -> View:
    """One view of those of every scale, the finest first; of a map the mean over the scales."""
    finest = views[0]
    if len(views) == 1:
        return finest
    maps: dict[str, Array] = {}
    for name in finest.maps:
        shape = finest.maps[name].shape
        how = "nearest" if name == CODES_MAP else "linear"
        own = [finest] if name == CODES_MAP or name.endswith(TILES) else views
        found = [jax.image.resize(v.maps[name], shape, how, antialias=False) for v in own]
        maps[name] = jnp.mean(jnp.stack(found), axis=0)
    for view in views[1:]:
        maps |= {name: x for name, x in view.maps.items() if name not in maps}
    losses, features = {}, {}
    for view in views:
        losses |= view.losses
        features |= view.features
    return replace(finest, maps=maps, losses=losses, features=features)
