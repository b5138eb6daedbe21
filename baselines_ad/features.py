"""Pooled features of a frozen backbone, of which a classifier makes one column.

It learns little: which activations of one level are usual at each position, for a map. What is
abnormal, the head in the classifier learns from the images that calibrate.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.types import Method, OnePass, TrainState, View
from baselines_ad.frozen import (
    FOLDS,
    Frozen,
    Maps,
    Seen,
    in_range,
    make_frozen,
    no_images,
    one_pass,
    rows,
)

DEVIATION = "deviation"
STRIDE = 16  # pixels for a position of the map, and of levels with cells, at most
FIXED_POSE_GRID = 4


EXPLAINED = {  # what --help says of each
    "backbone": "frozen pretrained network: a name, NAME:FILE or vqgan:DETECTOR",
    "levels": "of the network that are taken; () all",
    "grid": "cells across and down with means of their own; 1: the whole image; 0: 4 where the "
    "pose is fixed, by `data.augment` none and whole images, else 1",
    "flips": "average over the image and its mirror image: twice the time",
    "map_level": "level of which the map is made; '' chooses one of `levels`",
    "floor": "of variances, as a share of the mean variance of the map's level",
}


def defaults(size: str) -> ConfigDict:
    """The `config.reconstructor` section for "cpu" or "accelerator"."""
    small = size == "cpu"
    return ConfigDict(
        {
            "backbone": "efficientnet_lite0" if small else "efficientnet_lite2",
            "levels": (),  # () for all
            "grid": 0,  # 0: by whether the pose is fixed
            "flips": not small,
            "map_level": "",  # of which the map is made; "" for the last of a stride up to 16
            "floor": 1e-2,  # of variances, as a share of the mean variance of the map's level
        }
    )


# What detectors have done that were written before a setting stood in their configurations.
EARLIER = {"grid": 1}


class Settings(NamedTuple):
    """Settings of pooling and of the map."""

    grids: Mapping[str, int]  # level -> cells across and down
    flips: bool
    map_level: str
    floor: float


def make(config: ConfigDict) -> Method:
    """The method of a complete configuration; reads no weights.

    Raises:
        UserError: a backbone, a level or a setting that does not exist.
    """
    frozen = make_frozen(config)
    settings = _settings(config, frozen)
    return Method(
        learn=_learning(frozen, settings),
        view=lambda state, image, keys: _view(frozen, settings, state, image),
        maps=(DEVIATION,),
        folds=FOLDS,
        localises=2,
    )


def _settings(config: ConfigDict, frozen: Frozen) -> Settings:
    own, levels = config.reconstructor, frozen.levels
    fine = [name for name in levels if frozen.network.strides[name] <= STRIDE]
    level = own.map_level or (fine[-1] if fine else levels[0])
    if level not in levels:
        raise UserError(
            f"`reconstructor.map_level` (={level}) must be one of the levels that are taken: "
            f"{', '.join(levels)}."
        )
    grid = in_range(config, "grid", 0, 64)
    grid = grid or (FIXED_POSE_GRID if _has_fixed_pose(config) else 1)
    floor = in_range(config, "floor", 1e-9, 1e6)
    return Settings(dict.fromkeys(fine, grid), own.flips, level, floor)


def _has_fixed_pose(config: ConfigDict) -> bool:
    """Tells whether a part lies at the same place in every image that the network sees."""
    data = config.data
    return data.augment == "none" and data.resize != "own_size" and not config.tiling.tile


def _learning(frozen: Frozen, settings: Settings) -> OnePass:
    level = settings.map_level
    return one_pass(
        frozen,
        lambda maps: maps[level],
        lambda seen, key, room: _remember(seen, key, settings.floor),
        levels=(level,),
    )


def _remember(seen: Iterable[Seen], key: PRNGKeyArray, floor: float) -> dict[str, np.ndarray]:
    """The memory: `mean` and `scale` [h, w, d] of the channels at each position of normal images.

    The border of a padded network differs from its middle: only a mean of each position's own does
    not find every border abnormal. The variance of a few images at one position is uncertain, so it
    is averaged with that of the channel at all positions.

    `key` is not used: nothing is drawn. Raises UserError where there is no image.
    """
    count, total, square = 0, 0.0, 0.0
    for batch in seen:
        found = np.asarray(rows(batch), np.float64)
        count += len(found)
        total = total + found.sum(axis=0)
        square = square + np.square(found).sum(axis=0)
    if not count:
        raise no_images()
    mean = np.asarray(total) / count
    variance = np.maximum(np.asarray(square) / count - mean**2, 0.0)
    shared = (variance + variance.mean(axis=(0, 1), keepdims=True)) / 2
    scale = np.sqrt(shared + floor * (variance.mean() or 1.0))
    return {"mean": mean.astype(np.float32), "scale": scale.astype(np.float32)}


def _view(
    frozen: Frozen, settings: Settings, state: TrainState, image: Float[Array, "b h w c"]
) -> View:
    weights, memory = state.params["backbone"], state.params["memory"]
    maps = frozen.maps(weights, image)
    features = pool(maps, settings.grids)
    if settings.flips:
        mirrored = frozen.maps(weights, image[:, :, ::-1])
        mirrored = pool({k: x[:, :, ::-1] for k, x in mirrored.items()}, settings.grids)
        features = {name: (x + mirrored[name]) / 2 for name, x in features.items()}
    z = maps[settings.map_level] - jnp.asarray(memory["mean"])[None]
    z = z / jnp.asarray(memory["scale"])[None]
    deviation = jnp.sqrt(jnp.mean(z**2, axis=-1))
    return View(maps={DEVIATION: deviation}, anomaly=DEVIATION, features=features)


def pool(maps: Maps, grids: Mapping[str, int] = MappingProxyType({})) -> dict[str, Array]:
    """Level -> [b, _], means of every channel, then its maxima over all positions.

    Args:
        grids: level -> cells across and down, each with means of its own, row by row; a level of
            fewer positions has a cell for each. A level that it leaves out has one cell.
    """
    return {
        name: jnp.concatenate([_means(x, grids.get(name, 1)), jnp.max(x, axis=(1, 2))], axis=-1)
        for name, x in maps.items()
    }


def _means(x: Float[Array, "b h w d"], grid: int) -> Float[Array, "b _"]:
    if grid == 1:
        return jnp.mean(x, axis=(1, 2))
    down, across = (jnp.asarray(_cells(side, grid)) for side in x.shape[1:3])
    return jnp.einsum("gh,bhwd,kw->bgkd", down, x, across).reshape(len(x), -1)


def _cells(side: int, grid: int) -> Float[np.ndarray, "cells {side}"]:
    """Weights that average `side` positions within each of at most `grid` cells of like size.

    Where the cells' edges fall within positions, the cells on both sides hold these positions.
    """
    cells, at = min(grid, side), np.arange(side)
    first, beyond = (np.arange(cells + k)[k:, None] * side / cells for k in (0, 1))
    held = (at >= np.floor(first)) & (at < np.ceil(beyond))
    return (held / held.sum(axis=1, keepdims=True)).astype(np.float32)
