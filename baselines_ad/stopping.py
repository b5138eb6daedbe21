"""The best weights of each part so far, by images that its members have not learnt."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from baselines_ad.objective import Tuning, objective
from baselines_ad.upper_stages import Upper

BLOCK = 16  # images looked at together, of each member


class Stopping:
    """Keeps the values of a part's members from when their mean loss was least.

    Each member is judged by rows of its own, which it has not learnt. A loss that is not finite
    counts for nothing.

    Attributes: `best`, the values kept, stacked as they are given.
    """

    def __init__(
        self,
        upper: Upper,
        fixed: Any,
        activations: Float[Array, "n v h w c"],
        labels: Int[np.ndarray, " n"],
        rows: Sequence[Int[np.ndarray, " _"]],
        *,
        seeds: int,
        settings: Tuning,
    ):
        self.best: Any = None
        self._upper, self._fixed, self._activations = upper, fixed, activations
        self._rows, self._labels = _padded(rows, labels)
        self._least = np.full(len(rows) // seeds, np.inf)
        self._seeds, self._settings = seeds, settings

    def look(self, values: Any) -> None:
        """Judges the members as they are now, mirror images left out."""
        losses = _losses(self._judged(values), self._labels, self._settings)
        found = np.asarray(losses).reshape(-1, self._seeds).mean(axis=1)
        better = jnp.asarray(np.repeat(found < self._least, self._seeds))
        self.best = values if self.best is None else _choose(better, values, self.best)
        self._least = np.fmin(found, self._least)

    def comparable(self) -> Any:
        """The values kept, with logits on a scale that all parts share.

        How far logits spread depends on how long a part learnt, and a threshold from some parts
        decides by another. So each member's count from the middle between the medians of the two
        classes, in mean distances from there (each class weighs one half), among the images that
        it stops by and has not learnt.
        """
        logits = np.asarray(self._judged(self.best), np.float64)
        centre, unit = np.array(list(map(_scale_of, logits, self._labels)), np.float32).T
        own = dict(self.best["classifier"])
        own["weight"] = own["weight"] / unit[:, None]
        own["bias"] = (own["bias"] - centre) / unit
        return {**self.best, "classifier": own}

    def _judged(self, values: Any) -> Float[Array, "m q"]:
        blocks = np.split(self._rows, self._rows.shape[1] // BLOCK, axis=1)
        judged = [
            _logits(self._upper, self._fixed, values, self._activations[block, 0])
            for block in blocks
        ]
        return jnp.concatenate(judged, axis=1)


def _padded(
    rows: Sequence[Int[np.ndarray, " _"]], labels: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, "m q"], Int[np.ndarray, "m q"]]:
    """Rows of every member to a multiple of BLOCK, and their labels, -1 in what only fills."""
    longest = -(-max(len(one) for one in rows) // BLOCK) * BLOCK
    filled = np.zeros((len(rows), longest), np.int32)
    kinds = np.full((len(rows), longest), -1, np.int32)
    for number, one in enumerate(rows):
        filled[number, : len(one)], kinds[number, : len(one)] = one, labels[one]
    return filled, kinds


def _scale_of(
    logits: Float[np.ndarray, " q"], labels: Int[np.ndarray, " q"]
) -> tuple[float, float]:
    """(middle between the classes' medians, mean distance from it; 1 where all logits are one)."""
    classes = [logits[labels == kind] for kind in (0, 1)]
    centre = float(np.mean([np.median(one) for one in classes]))
    unit = float(np.mean([np.abs(one - centre).mean() for one in classes]))
    return centre, unit or 1.0


@functools.partial(jax.jit, static_argnames=("upper",))
def _logits(
    upper: Upper, fixed: Any, values: Any, x: Float[Array, "m b h w c"]
) -> Float[Array, "m b"]:
    return jax.vmap(lambda member, x: upper.logits(fixed, member, x))(values, x)


@functools.partial(jax.jit, static_argnames=("settings",))
def _losses(
    logits: Float[Array, "m q"], labels: Int[Array, "m q"], settings: Tuning
) -> Float[Array, " m"]:
    return jax.vmap(lambda x, y: objective(x, y, settings))(logits, labels)


@jax.jit
def _choose(better: Any, new: Any, old: Any) -> Any:
    """The new values of the members that do better, else the old ones."""

    def chosen(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(chosen, new, old)
