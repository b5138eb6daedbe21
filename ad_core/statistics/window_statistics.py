"""Pairwise statistics and network losses on the worst windows of each image.

`window_<statistic>_<pooling>` and, with the residual weighted by (1 - normal mask)^10 both for the
search and for what is measured, `window_weighted_<statistic>_<pooling>`. Poolings over the
kept windows: the most anomalous value (`max`, of similarities `min`), `mean`, and `worst`, the
value at the one window of highest residual.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from ad_core.statistics.comparison import Comparison
from ad_core.statistics.network_losses import map_of
from ad_core.statistics.windows import (
    Windows,
    block_side,
    cut,
    pool,
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
    """How the values of the statistic called `name` are pooled over windows."""
    return ("min" if name in SIMILARITIES else "max", "mean", "worst")


def pairwise(
    function: Callable[[Comparison], Float[Array, "b"]],
    how: str,
    weighted: bool,
    pair: Comparison,
) -> Float[Array, "b"]:
    """A pairwise statistic on each kept window, pooled."""
    windows, inner = pair.shared(("windows", weighted), lambda: _look(pair, weighted))
    values = inner.shared(function, lambda: function(inner).reshape(windows.top.shape))
    return pool(values, windows.kept, how)


def network_map(name: str, how: str, weighted: bool, pair: Comparison) -> Float[Array, "b"]:
    """Mean of a map of the reconstructor over each kept window, pooled."""
    windows, _ = pair.shared(("windows", weighted), lambda: _look(pair, weighted))

    values = pair.shared(
        ("window", name, weighted), lambda: _window_means(map_of(name, pair), windows, pair)
    )
    return pool(values, windows.kept, how)


def _look(pair: Comparison, weighted: bool) -> tuple[Windows, Comparison]:
    """The worst windows, and what lies in them as a comparison of [b * k] small images."""
    other = pair.other
    if weighted:
        assert pair.context.normal_mask is not None  # `expand` saw to it
        other = weighted_other(pair.image, other, pair.context.normal_mask)
    size = jnp.mean(jnp.abs(pair.image - other), axis=3)
    windows = worst_windows(size, pair.settings)
    block, side = block_side(pair.settings, *size.shape[1:]), pair.settings.side
    inside = (cut(z, windows, block=(block, block), side=side) for z in (pair.image, other))
    x, y = (z.reshape(-1, *z.shape[2:]) for z in inside)
    return windows, Comparison(x, y, context=pair.context)


def _window_means(values, windows, pair):
    """A map covers the image whatever its own size; windows are squares of the image."""
    h, w = pair.image.shape[1:3]
    block = block_side(pair.settings, h, w)
    per_block = (block * values.shape[1] / h, block * values.shape[2] / w)
    return cut(values[..., None], windows, block=per_block, side=1)[..., 0, 0, 0]
