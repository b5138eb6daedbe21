"""Statistics of each image: how it differs from its normal version, and what the method says."""

import numpy as np
from jaxtyping import Array, Float

from ad_core.errors import UserError
from ad_core.statistics.comparison import Comparison
from ad_core.statistics.context import Context, learn_context
from ad_core.statistics.deep import feature_block, feature_names, is_feature, level_numbers
from ad_core.statistics.table import (
    Available,
    check_names,
    expand,
    expand_each,
    names,
    table,
    without_idle,
)
from ad_core.statistics.windows import WindowSettings, usable_scales
from ad_core.types import View

__all__ = [
    "Available",
    "Context",
    "WindowSettings",
    "check_names",
    "compute",
    "expand",
    "expand_each",
    "feature_block",
    "feature_names",
    "is_feature",
    "learn_context",
    "level_numbers",
    "names",
    "usable_scales",
    "without_idle",
]


def compute(
    names: tuple[str, ...] | str,
    image: Float[Array | np.ndarray, "b h w c"],
    view: View,
    context: Context | None = None,
    *,
    windows: WindowSettings | None = None,
) -> dict[str, Float[Array, "b"]]:
    """Statistics of each image, by name. Pure; jit it with `names` static.

    Args:
        names: statistics and groups; a group stands for what can be computed from what is given.
            Pooled features, which are no single numbers, are left out.
        image: in [-1, 1], any number of channels.
        view: what a method made of it; the normal version, where there is one, of the same shape.
        context: what was learnt from normals, where a statistic needs it.
        windows: how the worst windows are searched; None: the defaults. Static under jit.

    Returns:
        float32, finite for every finite input. In the order asked for, but `jax.jit` sorts the
        keys of what it returns: take the order of columns from `expand`, not from here.

    Raises:
        UserError: an unknown name, a statistic that needs what is not there, or shapes that
            differ.
    """
    if view.image is not None and image.shape != view.image.shape:
        raise UserError(
            f"Image {image.shape} and its normal version {view.image.shape} differ in shape."
        )
    asked = expand(names, view, context=context)
    chosen = tuple(name for name in asked if not is_feature(name))
    pair = Comparison(
        image,
        view.image,
        maps=view.maps,
        losses=view.losses,
        context=context,
        settings=windows,
        weightings=tuple(sorted({"_weighted_" in name for name in chosen})),
    )
    lines = table(Available.of(view, context))
    return {name: lines[name].function(pair) for name in chosen}
