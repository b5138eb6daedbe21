"""Distances of two images in a backbone's features, position by position."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ad_core.backbones.backbone import Network, Params


def distance(
    network: Network,
    params: Params,
    x: Float[Array, "b h w c"],
    y: Float[Array, "b h w c"],
    *,
    levels: Sequence[str] = (),
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, " b"]:
    """Perceptual distance of each pair: the means of `distance_maps`, summed over the levels.

    With VGG-16 this is the unweighted form of LPIPS (Zhang et al. 2018, section 4).

    Args:
        x, y: in [-1, 1]; one channel is repeated to three.
        levels: of the network; none: all.
        dtype: of the network's computation; distances are float32.
    """
    f, g = (network.stages(params, z, levels=levels, dtype=dtype) for z in (x, y))
    return whole_distance(distance_maps(f, g))


def distance_maps(
    f: Mapping[str, Float[Array, "b _ _ _"]], g: Mapping[str, Float[Array, "b _ _ _"]]
) -> dict[str, Float[Array, "b _ _"]]:
    """|f - g|^2 at each position of each level, f and g brought to unit length over the channels.

    In [0, 4], float32. An epsilon inside the root keeps the gradient of zero finite.
    """
    return {level: jnp.sum(jnp.square(_unit(f[level]) - _unit(g[level])), axis=-1) for level in f}


def whole_distance(maps: Mapping[str, Float[Array, "b _ _"]]) -> Float[Array, " b"]:
    """Mean of each map over its positions, summed over the maps."""
    means = [jnp.mean(level, axis=(1, 2)) for level in maps.values()]
    return jnp.sum(jnp.stack(means), axis=0)


def _unit(x: Array) -> Array:
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-10)
