"""A linear head on local features of a frozen backbone, learnt from labels of whole images.

Pooled features (`baselines_ad.features`) see an image as one; here every position is judged, and
the highest scores speak for the image: what is abnormal about an abnormal image mostly lies in one
place. It learns from the labelled images that calibrate (`baselines_ad.instances`).
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.data.shape import image_shape
from ad_core.types import Batch, Method, OnePass, TrainState, View
from baselines_ad.bank import Bank, fewest, fill_bank
from baselines_ad.frozen import (
    KEPT_BYTES,
    Frozen,
    Maps,
    average,
    enlarge,
    in_range,
    look_through,
    make_frozen,
)
from baselines_ad.instances import Descent, Heads, highest_mean, learn_heads

log = logging.getLogger(__name__)

LIKENESS = "likeness"  # the one loss of its views, and their map
STRIDE = 16  # pixels for a position that is judged, at least
FOLDS = 10  # of the cross-fitting: all are learnt together
EXPLAINED = {  # what --help says of each
    "backbone": "frozen pretrained network: a name, NAME:FILE or vqgan:DETECTOR",
    "levels": "of the network that are taken; () all",
    "top": "share of the positions whose mean score is that of the image",
    "penalty": "of squared weights, beside cross-entropy",
    "steps": "of Adam, with all images in each",
    "lr": "largest rate of Adam",
    "least_images": "of each class; with fewer it learns nothing",
    "most_images": "of each class, drawn where there are more; fewer where 2 GB do not hold them",
}


def defaults(size: str) -> ConfigDict:
    """The `config.reconstructor` section for "cpu" or "accelerator"."""
    return ConfigDict(
        {
            "backbone": "efficientnet_lite0" if size == "cpu" else "efficientnet_lite2",
            "levels": ("stage3", "stage5", "stage7"),  # strides 8, 16 and 32; () for all
            "top": 0.05,
            "penalty": 0.1,
            "steps": 100,
            "lr": 1e-2,
            "least_images": 10,
            "most_images": 500,
        }
    )


class Settings(NamedTuple):
    """Settings that the method reads of a configuration."""

    descent: Descent
    least_images: int
    most_images: int
    image: tuple[int, int, int]


def make(config: ConfigDict) -> Method:
    """The method of a complete configuration; reads no weights.

    Raises:
        UserError: a backbone, a level or a setting that does not exist.
    """
    frozen = make_frozen(config)
    settings = _settings(config)
    return Method(
        learn=OnePass(
            lambda batches, key: next(_fit_parts(frozen, settings, batches, None, key)),
            lambda batches, parts, key: _fit_parts(frozen, settings, batches(), parts, key),
        ),
        view=lambda state, image, keys: _view(frozen, settings.descent.top, state, image),
        learns_from_calibration=True,
        losses=(LIKENESS,),
        maps=(LIKENESS,),
        folds=FOLDS,
        localises=3,
    )


def _settings(config: ConfigDict) -> Settings:
    return Settings(
        descent=Descent(
            steps=in_range(config, "steps", 1, 100_000),
            lr=in_range(config, "lr", 1e-8, 1.0),
            penalty=in_range(config, "penalty", 0.0, 1e6),
            top=in_range(config, "top", 1e-9, 1.0),
        ),
        least_images=in_range(config, "least_images", 1, 100_000),
        most_images=in_range(config, "most_images", 1, 100_000),
        image=image_shape(config.data),
    )


def _fit_parts(
    frozen: Frozen,
    settings: Settings,
    batches: Iterable[Batch],
    parts: Bool[np.ndarray, "p n"] | None,
    key: PRNGKeyArray,
) -> Iterator[TrainState]:
    """A state for each part, None for all images as one: all are learnt before the first is given.

    Where a part lacks images of a class no part learns: their column is then constant and left out.
    """
    weights = frozen.weights()

    def positions(maps: Maps) -> Float[Array, "b 1 _ _ _"]:
        return side_by_side(maps, frozen.network.strides)[:, None]

    one = jax.ShapeDtypeStruct((1, *settings.image), np.float32)
    shown = jax.eval_shape(lambda x: positions(frozen.maps(weights, x)), one)
    size = shown.size * np.dtype(np.float32).itemsize
    room = max(1, min(settings.most_images, KEPT_BYTES // (2 * size)))
    seed = tuple(int(word) for word in np.asarray(jax.random.key_data(key)).ravel())
    look = look_through(frozen, positions, weights)
    bank = fill_bank(look, batches, room=room, seed=seed)
    chosen = np.ones((1, len(bank.label)), bool) if parts is None else parts[:, bank.place]
    heads = _heads(bank, chosen, settings)
    for number in range(len(chosen)):
        head = {"weight": heads.weight[:, number], "bias": heads.bias[number]}
        yield TrainState(jnp.ones((), jnp.int32), {"backbone": weights, "head": head}, (), {})


def _heads(bank: Bank, chosen: Bool[np.ndarray, "p n"], settings: Settings) -> Heads:
    counts = fewest(bank, chosen)
    width = bank.activations.shape[-1]
    if min(counts) < settings.least_images:
        log.info(
            "The head on local features has %d normal and %d abnormal images to learn from and "
            "needs %d of each: it learns nothing and decides nothing.",
            *counts,
            settings.least_images,
        )
        zeros = np.zeros((width, len(chosen)), np.float32)
        return Heads(zeros, zeros[0])
    positions = bank.activations.reshape(len(bank.label), -1, width)
    return learn_heads(positions, bank.label, chosen, settings.descent)


def _view(frozen: Frozen, share: float, state: TrainState, image: Float[Array, "b h w c"]) -> View:
    """The score of each position, and the mean of the highest, which is the logit of the image."""
    maps = frozen.maps(state.params["backbone"], image)
    x, head = side_by_side(maps, frozen.network.strides), state.params["head"]
    where = x @ jnp.asarray(head["weight"]) + jnp.asarray(head["bias"])
    likeness = highest_mean(where.reshape(len(x), -1), share)
    return View(maps={LIKENESS: where}, losses={LIKENESS: likeness}, anomaly=LIKENESS)


def side_by_side(maps: Maps, strides: Mapping[str, int]) -> Float[Array, "b h w d"]:
    """All levels as channels, at the positions of the first of a stride of STRIDE or more.

    Finer levels are averaged, coarser ones interpolated. Where all are finer, those of the last.
    """
    name = next((name for name in maps if strides[name] >= STRIDE), list(maps)[-1])
    height, width = maps[name].shape[1:3]

    def fitting(name: str, x: Float[Array, "b _ _ d"], stride: int) -> Float[Array, "b _ _ d"]:
        step = max(1, stride // strides[name])
        return enlarge(average(x, window=step, stride=step), height, width)

    found = [fitting(other, x, strides[name]) for other, x in maps.items()]
    return jnp.concatenate(found, axis=-1)
