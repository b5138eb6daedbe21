"""PaDiM: a Gaussian of a frozen backbone's features at each position of the image.

Source: Defard et al. 2021, "PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection
and Localization". Deviations: all channels unless told otherwise (the paper draws some at random),
and the floor of the covariance follows the variance of each level (the paper adds 0.01).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.data.shape import image_shape
from ad_core.scoring.localisation import Localiser
from ad_core.types import Method, TrainState, View
from baselines_ad.frozen import (
    FOLDS,
    Frozen,
    Maps,
    Seen,
    gather,
    highest,
    in_range,
    make_frozen,
    no_images,
    one_pass,
    only,
    stack,
    top,
    widths_of,
)
from baselines_ad.moments import Moments, add, mahalanobis, no_moments, whiten, without

DISTANCE = "distance"


EXPLAINED = {  # what --help says of each
    "backbone": "frozen pretrained network: a name, NAME:FILE or vqgan:DETECTOR",
    "levels": "of the network that are taken; () all",
    "channels": "drawn at random of those of all levels; 0 keeps all",
    "floor": "of variances, as a share of the mean variance of their level",
}


def defaults(size: str) -> ConfigDict:
    """The `config.reconstructor` section for "cpu" or "accelerator"."""
    return ConfigDict(
        {
            "backbone": "efficientnet_lite0" if size == "cpu" else "efficientnet_lite2",
            "levels": ("stage3", "stage5"),  # strides 8 and 16; () for all
            "channels": 0,
            "floor": 0.1,
        }
    )


class PadimSettings(NamedTuple):
    """Settings that the memory reads of a configuration."""

    channels: int
    floor: float


def make_settings(config: ConfigDict) -> PadimSettings:
    """The settings of a complete configuration; UserError if one is out of its range."""
    return PadimSettings(
        channels=in_range(config, "channels", 0, 4096), floor=in_range(config, "floor", 1e-9, 1e6)
    )


def make(config: ConfigDict) -> Method:
    """The method of a complete configuration; reads no weights.

    Raises:
        UserError: a backbone, a level or a setting that does not exist.
    """
    frozen = make_frozen(config)
    settings = make_settings(config)
    sigma_px = config.localisation.sigma * min(image_shape(config.data)[:2])
    localise = Localiser(DISTANCE, sigma_px)
    return Method(
        learn=one_pass(
            frozen,
            lambda maps: maps,
            lambda seen, key, room: fit_features(seen, key, settings),
            lambda again, parts, key: fit_parts(again, parts, key, settings),
        ),
        view=lambda state, image, keys: _view(frozen, localise, state, image),
        losses=("score", "top"),
        maps=(DISTANCE,),
        folds=FOLDS,
        localises=3,
        knows_place=True,
    )


class _Learnt(NamedTuple):
    """Moments of features, the channels that they are of, and the level of each, from 0 on."""

    moments: Moments
    channels: np.ndarray
    levels: np.ndarray


def fit_features(
    seen: Iterable[Seen], key: PRNGKeyArray, settings: PadimSettings
) -> dict[str, np.ndarray]:
    """The memory: `mean` [h, w, d], `whiten` [h, w, d, d] and `channels` [d], those that count.

    It takes h w d (d + 1) floats, however many images there are.

    Raises:
        UserError: there is no image.
    """
    return _memory(_learn(seen, key, settings), settings)


def fit_parts(
    again: Callable[[], Iterable[Seen]],
    parts: Bool[np.ndarray, "p n"],
    key: PRNGKeyArray,
    settings: PadimSettings,
) -> Iterator[dict[str, np.ndarray]]:
    """The memory of each part, as `fit_features` of its images alone but for float32's last digits.

    What a part lacks, where that is less than what it has, is taken away from the moments of all
    images: of folds, each image is so added twice in all.
    """
    whole = None
    for part in parts:
        if 2 * part.sum() <= part.size:
            yield fit_features(only(again(), part), key, settings)
            continue
        whole = whole or _learn(again(), key, settings)
        moments = whole.moments
        if not part.all():
            lacking = _learn(gather(again(), ~part), key, settings)
            moments = _without(moments, lacking.moments)
        yield _memory(whole._replace(moments=moments), settings)


def _learn(seen: Iterable[Seen], key: PRNGKeyArray, settings: PadimSettings) -> _Learnt:
    moments, kept, groups = None, np.zeros(0, np.int32), np.zeros(0, np.int32)
    for maps, valid in seen:
        if moments is None:
            widths = widths_of(maps)
            kept = draw_channels(key, sum(widths), settings.channels)
            groups = np.repeat(np.arange(len(widths)), widths)[kept]
            h, w, d = jax.eval_shape(grid, maps, kept).shape[1:]
            moments = no_moments(h, w, d)
        moments = _update(moments, maps, valid, kept)
    if moments is None or not moments.count:
        raise no_images()
    groups = np.unique(groups, return_inverse=True)[1]  # a level may have lost all its channels
    return _Learnt(moments, kept, groups)


def _memory(learnt: _Learnt, settings: PadimSettings) -> dict[str, np.ndarray]:
    moments, channels, levels = learnt
    whitening = whiten(moments, levels, floor=settings.floor)
    return {"mean": np.asarray(moments.mean), "whiten": whitening, "channels": channels}


_without = jax.jit(without)


@jax.jit
def _update(moments: Moments, maps: Maps, valid: Array, kept: Array) -> Moments:
    return add(moments, grid(maps, kept), valid)


def draw_channels(key: PRNGKeyArray, count: int, wanted: int) -> np.ndarray:
    """`wanted` of `count` channels in ascending order; all where 0 or too many are wanted."""
    if not 0 < wanted < count:
        return np.arange(count, dtype=np.int32)
    return np.sort(np.asarray(jax.random.permutation(key, count))[:wanted]).astype(np.int32)


def grid(maps: Maps, channels: Array | np.ndarray) -> Float[Array, "b h w d"]:
    """The kept channels of all levels at the positions of the finest."""
    return jnp.take(stack(maps), channels, axis=-1)


def _view(
    frozen: Frozen, localise: Localiser, state: TrainState, image: Float[Array, "b h w c"]
) -> View:
    memory = state.params["memory"]
    x = grid(frozen.maps(state.params["backbone"], image), memory["channels"])
    maps = {DISTANCE: mahalanobis(memory["mean"], memory["whiten"], x)}
    # The paper's score is the largest value of the blurred map at the image's size.
    score = highest(localise(image, View(maps=maps)))
    return View(maps=maps, losses={"score": score, "top": top(maps[DISTANCE])}, anomaly=DISTANCE)
