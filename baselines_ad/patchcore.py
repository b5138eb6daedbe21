"""PatchCore: the distance of each patch to the nearest of a few patches of normal images.

Source: Roth et al. 2022, "Towards Total Recall in Industrial Anomaly Detection". Deviations: the
levels' channels are scaled by their deviation among normals instead of pooled to one width, and
the coreset is taken of a bounded random sample of the patches.
"""

import logging
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.types import Method, TrainState, View
from baselines_ad.coreset import Reservoir, k_centres_compiled, project
from baselines_ad.frozen import (
    FOLDS,
    Frozen,
    Maps,
    Seen,
    average,
    in_range,
    make_frozen,
    no_images,
    one_pass,
    rows,
    stack,
    top,
    widths_of,
)
from baselines_ad.nearest import FAR, Nearest, nearest, reweighted

log = logging.getLogger(__name__)
DISTANCE = "distance"
WINDOW = 3  # positions whose mean is a patch, across and down


EXPLAINED = {  # what --help says of each
    "backbone": "frozen pretrained network: a name, NAME:FILE or vqgan:DETECTOR",
    "levels": "of the network that are taken; () all",
    "patches": "kept of all images before the coreset",
    "coreset": "share of these that is the memory",
    "projection": "random directions in which the coreset is chosen; 0: all",
    "floor": "of the channels' variances, as a share of the mean of their level",
    "neighbours": "of the nearest item, which weight an image's score; 1: no weight",
}


def defaults(size: str) -> ConfigDict:
    """The `config.reconstructor` section for "cpu" or "accelerator"."""
    small = size == "cpu"
    return ConfigDict(
        {
            "backbone": "efficientnet_lite0" if small else "efficientnet_lite2",
            "levels": ("stage3", "stage5"),  # strides 8 and 16; () for all
            "patches": 50_000 if small else 400_000,
            "coreset": 0.02 if small else 0.01,
            "projection": 128,
            "floor": 0.1,
            "neighbours": 9,
        }
    )


class PatchcoreSettings(NamedTuple):
    """Settings that the memory reads of a configuration."""

    patches: int
    coreset: float
    projection: int
    floor: float
    neighbours: int


def make_settings(config: ConfigDict) -> PatchcoreSettings:
    """The settings of a complete configuration; UserError if one is out of its range."""
    return PatchcoreSettings(
        patches=in_range(config, "patches", 1, 10**8),
        coreset=in_range(config, "coreset", 1e-9, 1.0),
        projection=in_range(config, "projection", 0, 4096),
        floor=in_range(config, "floor", 1e-9, 1e6),
        neighbours=in_range(config, "neighbours", 1, 1000),
    )


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
            pooled,
            lambda seen, key, room: fit_features(seen, key, settings, room=room),
        ),
        view=lambda state, image, keys: _view(frozen, settings, state, image),
        losses=("score", "top"),
        maps=(DISTANCE,),
        folds=FOLDS,
        localises=1,
    )


def pooled(maps: Maps) -> Maps:
    """Each position's mean over WINDOW x WINDOW of its own level."""
    return {name: average(x, window=WINDOW, stride=1) for name, x in maps.items()}


def fit_features(
    seen: Iterable[Seen], key: PRNGKeyArray, settings: PatchcoreSettings, *, room: int = 0
) -> dict[str, np.ndarray]:
    """The memory: `bank` [m, d], scaled patches of normals, and `scale` [d] of the channels.

    Before and during the choice it holds `patches` patches, however many images there are; what
    that takes is logged before the first is kept and before the choice starts.

    Args:
        room: at least as many images as are seen. The bank then has the rows of a memory of so
            many, those beyond its own far from every patch; 0: its own rows alone.

    Raises:
        UserError: there is no image.
    """
    for_sample, for_project, for_start = jax.random.split(key, 3)
    reservoir, groups, each = Reservoir(settings.patches, for_sample), np.zeros(0, np.int32), 0
    for maps, valid in seen:
        found = rows(Seen(_stacked(maps), valid))
        if not len(groups):
            widths = widths_of(maps)
            groups = np.repeat(np.arange(len(widths)), widths)
            each = found.shape[1] * found.shape[2]
            _announce("PatchCore keeps at most", settings.patches, len(groups))
        reservoir.add(found.reshape(-1, found.shape[-1]))
    patches = reservoir.patches()
    if not len(patches):
        raise no_images()
    size = _coreset_size(len(patches), settings)
    _announce(f"PatchCore chooses {size:,} of", len(patches), len(groups), of=reservoir.seen)
    scale = channel_scale(patches, groups, floor=settings.floor)
    patches = patches * scale
    start = jax.random.randint(for_start, (), 0, len(patches))
    most = max(len(patches), min(settings.patches, room * each))
    # As many points for every part of the images: copies of the first that is chosen lie at
    # distance 0 of it and are not chosen.
    copies = np.broadcast_to(patches[int(start)], (most - len(patches), patches.shape[1]))
    points = np.concatenate([patches, copies]) if len(copies) else patches
    flat = project(points, for_project, width=settings.projection)
    rows_of_bank = _coreset_size(most, settings)
    chosen = k_centres_compiled(flat, start, size=size, most=rows_of_bank)
    bank = points[np.asarray(chosen)]
    bank[size:] = FAR
    return {"bank": bank, "scale": scale}


def _coreset_size(patches: int, settings: PatchcoreSettings) -> int:
    return max(1, round(settings.coreset * patches))


_stacked = jax.jit(stack)


def _announce(what: str, patches: int, channels: int, of: int = 0) -> None:
    drawn = f", drawn from {of:,}" if of else ""
    size = patches * channels * 4 / 2**20
    log.info(
        "%s %s patches of %d channels (%.0f MB)%s.", what, f"{patches:,}", channels, size, drawn
    )


def channel_scale(
    patches: Float[np.ndarray, "n d"], groups: np.ndarray, *, floor: float
) -> Float[np.ndarray, " d"]:
    """1 / sqrt(variance + floor * mean variance of the channel's level): dead channels stay small.

    Args:
        groups: [d], the number of the level of each channel.
    """
    variance = patches.var(axis=0, dtype=np.float64)
    means = np.array([variance[groups == g].mean() for g in range(groups.max() + 1)])
    means = np.where(means > 0, means, 1.0)  # a level without any variance
    return (1.0 / np.sqrt(variance + floor * means[groups])).astype(np.float32)


def _view(
    frozen: Frozen, settings: PatchcoreSettings, state: TrainState, image: Float[Array, "b h w c"]
) -> View:
    memory = state.params["memory"]
    bank = jnp.asarray(memory["bank"])
    x = stack(pooled(frozen.maps(state.params["backbone"], image)))
    b, h, w, d = x.shape
    queries = (x * memory["scale"].reshape(1, 1, 1, -1)).reshape(b, h * w, d)
    found = nearest(queries, bank)
    place = jnp.argmax(found.distance, axis=1)[:, None]
    worst = Nearest(*(jnp.take_along_axis(part, place, axis=1) for part in found))
    query = jnp.take_along_axis(queries, place[..., None], axis=1)[:, 0]
    distance = found.distance.reshape(b, h, w)
    score = reweighted(query, worst, bank, neighbours=settings.neighbours)
    losses = {"score": score, "top": top(distance)}
    return View(maps={DISTANCE: distance}, losses=losses, anomaly=DISTANCE)
