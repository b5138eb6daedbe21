"""Pairwise statistics and means of maps on the worst windows of each image.

`window_<statistic>_<pooling>` and, with the residual weighted by (1 - normal mask)^10 both for the
search and for what is measured, `window_weighted_<statistic>_<pooling>`. Poolings over the
kept windows: the most anomalous value (`max`, of similarities `min`), `mean`, and `worst`, the
value at the one window of highest residual.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ad_core.statistics.comparison import Comparison
from ad_core.statistics.network_losses import map_of
from ad_core.statistics.windows import (
    Windows,
    block_side,
    cut,
    pool,
    usable_scales,
    weighted_other,
    worst_windows,
)

# Lower is more anomalous.
SIMILARITIES = (
    "psnr",
    "ssim",
    "ms_ssim",
    "uiq",
    "gms",
    "issm",
    "fsim",
    "sre",
    "mutual_information",
)


def poolings(name: str) -> tuple[str, ...]:
    """Ways to pool the statistic called `name` over windows."""
    return ("min" if name in SIMILARITIES else "max", "mean", "worst")


def pairwise(
    function: Callable[[Comparison], Float[Array, "b"]],
    how: str,
    weighted: bool,
    pair: Comparison,
) -> Float[Array, "b"]:
    """A pairwise statistic on each kept window, pooled."""
    looks = _looks(pair)

    def of_all():
        return function(looks.inside).reshape(len(looks.windows), pair.image.shape[0], -1)

    windows = looks.windows[weighted]
    values = looks.inside.shared(function, of_all)[list(looks.windows).index(weighted)]
    return pool(values, windows.kept, how)


def network_map(name: str, how: str, weighted: bool, pair: Comparison) -> Float[Array, "b"]:
    """Mean of a map of the method over each kept window, pooled."""
    return mean_of_map(partial(map_of, name), name, how, weighted, pair)


def mean_of_map(
    make: Callable[[Comparison], Float[Array, "b _ _"]],
    name: str,
    how: str,
    weighted: bool,
    pair: Comparison,
) -> Float[Array, "b"]:
    """Mean of the map that `make` gives, called `name`, over each kept window, pooled."""
    windows = _looks(pair).windows[weighted]

    def means():
        return _window_means(make(pair), windows, pair)

    return pool(pair.shared((name, weighted), means), windows.kept, how)


class _Looks(NamedTuple):
    """The worst windows by weighting, and what lies in all of them as one comparison."""

    windows: dict[bool, Windows]
    inside: Comparison


def _looks(pair: Comparison) -> _Looks:
    return pair.shared("windows", lambda: _look(pair))


def _look(pair: Comparison) -> _Looks:
    """One batch for both weightings: half the code to compile."""
    h, w = pair.image.shape[1:3]
    block, settings = block_side(pair.settings, h, w), pair.settings
    found, images, others = {}, [], []
    for weighted in pair.weightings:
        other = pair.other
        if weighted:
            assert pair.context.normal_mask is not None  # `expand` saw to it
            other = weighted_other(pair.image, other, pair.context.normal_mask)
        windows = worst_windows(jnp.mean(jnp.abs(pair.image - other), axis=3), settings)
        both = jnp.concatenate([pair.image, other], axis=3)
        inside = cut(
            both,
            windows,
            block=(block, block),
            largest=max(usable_scales(settings, h, w)),
            side=settings.side,
        )
        x, y = jnp.split(inside.reshape(-1, *inside.shape[2:]), 2, axis=3)
        found[weighted] = windows
        images.append(x)
        others.append(y)
    inside = Comparison(
        jnp.concatenate(images), jnp.concatenate(others), context=pair.context, settings=settings
    )
    return _Looks(found, inside)


def _window_means(values, windows, pair):
    """A map covers the image whatever its own size; windows are squares of the image."""
    h, w = pair.image.shape[1:3]
    block = block_side(pair.settings, h, w)
    means = cut(
        values[..., None],
        windows,
        block=(block * values.shape[1] / h, block * values.shape[2] / w),
        largest=max(usable_scales(pair.settings, h, w)),
        side=1,
    )
    return means[..., 0, 0, 0]
