"""Activations of labelled images, computed once for every training that learns from them."""

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ad_core.types import Batch
from baselines_ad.frozen import Frozen, Look, Values


class Bank(NamedTuple):
    """Activations of images, of each as it is and, where flips are learnt, of its mirror image.

    place: the number of each image among all that were read, ascending.
    """

    activations: Float[np.ndarray, "n v h w c"]
    label: Int[np.ndarray, " n"]
    place: Int[np.ndarray, " n"]


def fewest(bank: Bank, chosen: Bool[np.ndarray, "p n"]) -> list[int]:
    """Normal and abnormal images of the part of `chosen` that has fewest of each."""
    return [int(min((chosen & (bank.label == kind)[None]).sum(axis=1))) for kind in (0, 1)]


class Drawn:
    """Sample of at most `room` of the things offered, each kept with the same chance."""

    def __init__(self, room: int, rng: np.random.Generator):
        self.kept: list[tuple[int, Any]] = []
        self._room, self._rng, self._seen = room, rng, 0

    def offer(self, place: int, thing: Any) -> None:
        """Keeps a thing and its number, perhaps in the place of another one."""
        self._seen += 1
        if len(self.kept) < self._room:
            self.kept.append((place, thing))
            return
        chosen = int(self._rng.integers(self._seen))
        if chosen < self._room:
            self.kept[chosen] = (place, thing)


def make_versions(frozen: Frozen, *, flips: bool) -> Values:
    """The one level of `frozen`, of images as they are and, with `flips`, mirrored."""

    def values(weights: Any, image: Float[Array, "b h w c"]) -> Float[Array, "b v _ _ _"]:
        versions = (image, image[:, :, ::-1]) if flips else (image,)
        return jnp.stack([frozen.maps(weights, x)[frozen.levels[0]] for x in versions], axis=1)

    return values


def fill_bank(look: Look, batches: Iterable[Batch], *, room: int, seed: tuple[int, ...]) -> Bank:
    """Bank of what `look` gives of the valid images, [b, v, h, w, c] of a batch.

    Args:
        room: of a class with more images that many are drawn, so that memory does not grow.
        seed: of that draw.
    """
    classes = [Drawn(room, np.random.default_rng((*seed, kind))) for kind in (0, 1)]
    first, second = itertools.tee(batches)
    place = 0
    for seen, batch in zip(look(first), second, strict=True):
        found = np.asarray(seen.values)[seen.valid]
        labels = np.asarray(batch.label)[np.asarray(batch.valid)]
        for label, activations in zip(labels, found, strict=True):
            classes[int(label)].offer(place, activations)
            place += 1
    return _in_order(classes)


def _in_order(classes: list[Drawn]) -> Bank:
    everything = [(place, kind, x) for kind, one in enumerate(classes) for place, x in one.kept]
    everything.sort(key=lambda row: row[0])
    return Bank(
        activations=np.stack([x for *_, x in everything]) if everything else np.zeros((0,) * 5),
        label=np.array([kind for _, kind, _ in everything], np.int32),
        place=np.array([place for place, *_ in everything], np.int64),
    )
