"""Gaussians of the mean features of an image, one a level of a frozen backbone.

Source: Rippel, Mertens and Merhof 2021, "Modeling the Distribution of Normal Data in Pre-Trained
Deep Features for Anomaly Detection". Deviations: a floor of the covariances, and a map.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.types import Method, TrainState, View
from baselines_ad.frozen import (
    FOLDS,
    Frozen,
    Maps,
    Seen,
    average,
    enlarge,
    in_range,
    make_frozen,
    no_images,
    one_pass,
    rows,
)
from baselines_ad.ledoit_wolf import PowerSums, whiten
from baselines_ad.moments import HIGHEST

SHARE = "share"
STRIDE = 8  # pixels for a position of the map; of coarser levels their own


EXPLAINED = {  # what --help says of each
    "backbone": "frozen pretrained network: a name, NAME:FILE or vqgan:DETECTOR",
    "levels": "of the network that are taken; () all",
    "floor": "of variances, as a share of the mean variance of their level",
}


def defaults(size: str) -> ConfigDict:
    """The `config.reconstructor` section for "cpu" or "accelerator"."""
    return ConfigDict(
        {
            "backbone": "efficientnet_lite0" if size == "cpu" else "efficientnet_lite2",
            "levels": (),  # () for all
            "floor": 1e-3,
        }
    )


class GaussianSettings(NamedTuple):
    """Settings that the memory reads of a configuration."""

    floor: float


def make_settings(config: ConfigDict) -> GaussianSettings:
    """The settings of a complete configuration; UserError if one is out of its range."""
    return GaussianSettings(floor=in_range(config, "floor", 1e-9, 1e6))


def make(config: ConfigDict) -> Method:
    """The method of a complete configuration; reads no weights.

    Raises:
        UserError: a backbone, a level or a setting that does not exist.
    """
    frozen = make_frozen(config)
    settings = make_settings(config)
    return Method(
        learn=one_pass(
            frozen,
            lambda maps: coarse(maps, frozen.network.strides),
            lambda seen, key, room: fit_features(seen, key, settings),
        ),
        view=lambda state, image, keys: _view(frozen, state, image),
        losses=("score", *(f"distance_{name}" for name in frozen.levels)),
        maps=(SHARE,),
        folds=FOLDS,
        localises=1,
    )


class Coarse(NamedTuple):
    """A level of each image: its mean over positions, and its means over STRIDE x STRIDE pixels."""

    mean: Float[Array, "b d"]
    map: Float[Array, "b h w d"]


def coarse(maps: Maps, strides: Mapping[str, int]) -> dict[str, Coarse]:
    """Every level, no finer than the map is."""
    found = {}
    for name, x in maps.items():
        side = max(1, STRIDE // strides[name])
        found[name] = Coarse(jnp.mean(x, axis=(1, 2)), average(x, window=side, stride=side))
    return found


def fit_features(
    seen: Iterable[Seen], key: PRNGKeyArray, settings: GaussianSettings
) -> dict[str, dict[str, np.ndarray]]:
    """The memory: of each level `mean` [d], `whiten` [d, d] and `map`, the mean map [h, w, d].

    It takes d (d + 3) floats in float64 a level and the mean map. `key` is not used: nothing is
    drawn.

    Raises:
        UserError: there is no image.
    """
    sums: dict[str, PowerSums] = {}
    maps: dict[str, np.ndarray] = {}
    for batch in seen:
        for name, level in rows(batch).items():
            sums.setdefault(name, PowerSums()).add(level.mean)
            maps[name] = maps.get(name, 0.0) + level.map.sum(axis=0, dtype=np.float64)
    if not all(each.count for each in sums.values()) or not sums:
        raise no_images()
    return {
        name: {
            "mean": each.mean().astype(np.float32),
            "whiten": whiten(each.covariance()[0], floor=settings.floor),
            "map": (maps[name] / each.count).astype(np.float32),
        }
        for name, each in sums.items()
    }


def _view(frozen: Frozen, state: TrainState, image: Float[Array, "b h w c"]) -> View:
    memory, losses, shares = state.params["memory"], {}, []
    found = frozen.maps(state.params["backbone"], image)
    for name, level in coarse(found, frozen.network.strides).items():
        distance, share = judge_level(memory[name], level)
        losses[f"distance_{name}"] = distance
        shares.append(share)
    h, w = max(x.shape[1] for x in shares), max(x.shape[2] for x in shares)
    whole = jnp.sum(jnp.concatenate([enlarge(x[..., None], h, w) for x in shares], -1), axis=-1)
    score = jnp.sum(jnp.stack(list(losses.values())), axis=0)
    return View(maps={SHARE: whole}, losses={"score": score, **losses}, anomaly=SHARE)


def judge_level(
    memory: dict[str, Array], level: Coarse
) -> tuple[Float[Array, " b"], Float[Array, "b h w"]]:
    """The Mahalanobis distance of a level's mean, and each position's share in it.

    With P the inverse covariance, f the image's mean and m the normal one, the distance is
    sqrt((f - m)' P (f - m)). f - m is the mean over positions of x - n, x the image's map and n the
    normal images' mean map; so the distance is the mean over positions of
    (x - n)' P (f - m) / distance: that is the share. It is negative where the image lies on the
    other side of normal than its mean does.
    """
    y = jnp.einsum(
        "ij,bj->bi", memory["whiten"], level.mean - memory["mean"][None], precision=HIGHEST
    )
    distance = jnp.sqrt(jnp.sum(y**2, axis=1))
    unit = y / jnp.maximum(distance, 1e-12)[:, None]
    direction = jnp.einsum("ij,bi->bj", memory["whiten"], unit, precision=HIGHEST)
    apart = level.map - memory["map"][None]
    return distance, jnp.einsum("bhwd,bd->bhw", apart, direction, precision=HIGHEST)
