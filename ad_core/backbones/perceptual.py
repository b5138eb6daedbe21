"""The perceptual distance of two images: how far apart they are in a backbone's features."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ad_core.backbones.backbone import Network, Params


def distance(
    network: Network, params: Params, x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]
) -> Float[Array, " b"]:
    """Mean over positions of |f(x) - f(y)|^2, f of unit length, summed over the levels.

    Images in [-1, 1], one channel is repeated to three. With VGG-16 this is the unweighted form of
    LPIPS (Zhang et al. 2018, section 4); an epsilon inside the root keeps the gradient of zero
    finite.
    """
    means = [jnp.mean(level, axis=(1, 2)) for _, level in _distances(network, params, x, y)]
    return jnp.sum(jnp.stack(means), axis=0)


def distance_map(
    network: Network, params: Params, x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]
) -> Float[Array, "b h w"]:
    """Map of `distance`: each level's distances spread over the pixels they stand for.

    Its mean over the pixels is `distance`, if the sides are multiples of the largest stride.
    """
    h, w = x.shape[1:3]
    total = jnp.zeros((x.shape[0], h, w))
    for stride, level in _distances(network, params, x, y):
        wide = jnp.repeat(jnp.repeat(level, stride, axis=1), stride, axis=2)[:, :h, :w]
        beyond = ((0, 0), (0, h - wide.shape[1]), (0, w - wide.shape[2]))
        total += jnp.pad(wide, beyond, mode="edge")
    return total


def _distances(
    network: Network, params: Params, x: Array, y: Array
) -> list[tuple[int, Float[Array, "b _ _"]]]:
    """Stride and |f(x) - f(y)|^2 of each level."""
    f, g = network.stages(params, x), network.stages(params, y)
    return [
        (stride, jnp.sum(jnp.square(_unit(f[name]) - _unit(g[name])), axis=-1))
        for name, stride in network.strides.items()
    ]


def _unit(x: Array) -> Array:
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-10)
