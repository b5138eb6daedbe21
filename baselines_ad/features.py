"""Pooled features of a frozen backbone, of which a classifier makes one column.

It learns little: which activations of one level are usual at each position, for a map. What is
abnormal, the head in the classifier learns from the images that calibrate.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

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
STRIDE = 16  # pixels for a position of the map, at most


EXPLAINED = {  # what --help says of each
    "backbone": "frozen pretrained network: a name, NAME:FILE or vqgan:DETECTOR",
    "levels": "of the network that are taken; () all",
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
            "flips": not small,
            "map_level": "",  # of which the map is made; "" for the last of a stride up to 16
            "floor": 1e-2,  # of variances, as a share of the mean variance of the map's level
        }
    )


class Settings(NamedTuple):
    """Settings of pooling and of the map."""

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
    return Settings(own.flips, level, in_range(config, "floor", 1e-9, 1e6))


def _learning(frozen: Frozen, settings: Settings) -> OnePass:
    only = frozen._replace(levels=(settings.map_level,))

    def values(weights: Any, image: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        return only.maps(weights, image)[settings.map_level]

    return one_pass(frozen, values, lambda seen, key, room: _remember(seen, key, settings.floor))


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
    features = pool(maps)
    if settings.flips:
        mirrored = pool(frozen.maps(weights, image[:, :, ::-1]))
        features = {name: (x + mirrored[name]) / 2 for name, x in features.items()}
    z = maps[settings.map_level] - jnp.asarray(memory["mean"])[None]
    z = z / jnp.asarray(memory["scale"])[None]
    deviation = jnp.sqrt(jnp.mean(z**2, axis=-1))
    return View(maps={DEVIATION: deviation}, anomaly=DEVIATION, features=features)


def pool(maps: Maps) -> dict[str, Float[Array, "b _"]]:
    """Mean and then maximum over the positions of every channel, of each level."""
    return {
        name: jnp.concatenate([jnp.mean(x, axis=(1, 2)), jnp.max(x, axis=(1, 2))], axis=-1)
        for name, x in maps.items()
    }
