"""CycleGAN's networks as pure functions of their parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ad_core.networks.patchgan import PatchGAN
from cyclegan_ad.networks import Generator
from cyclegan_ad.settings import CycleganSettings
from cyclegan_ad.spectral import normalise_kernels

Params = dict[str, Any]
GENERATORS = ("to_normal", "to_abnormal")
DISCRIMINATORS = ("disc_normal", "disc_abnormal")


class Model(NamedTuple):
    """Functions of (parameters of one network, image); `init` makes those of all four.

    to_normal draws an image as if it were normal, to_abnormal as if it were not;
    disc_normal gives logits that are high where a patch looks like a real normal image's.
    """

    init: Callable[[PRNGKeyArray, tuple[int, int, int]], Params]
    draw: Callable[[Params, Float[Array, "b h w c"]], Float[Array, "b h w c"]]
    discriminate: Callable[[Params, Float[Array, "b h w c"]], Float[Array, "b hp wp"]]


def make_model(settings: CycleganSettings, channels: int) -> Model:
    """Functions of these settings' networks for images of `channels` channels."""
    dtype = jnp.dtype(settings.dtype)
    # `apply` is declared to return more than these modules do.
    generator: Any = Generator(
        channels, settings.width, settings.blocks, settings.upsample, dtype=dtype
    )
    discriminator: Any = PatchGAN(
        settings.disc_width, settings.disc_layers, settings.disc_norm, dtype
    )

    def init(key: PRNGKeyArray, image_shape: tuple[int, int, int]) -> Params:
        image = jnp.zeros((1, *image_shape))
        modules = {name: generator for name in GENERATORS}
        modules |= {name: discriminator for name in DISCRIMINATORS}
        shapes = {n: jax.eval_shape(m.init, key, image) for n, m in modules.items()}
        return _start(shapes, key)

    def discriminate(params: Params, image: Array) -> Array:
        params = normalise_kernels(params) if settings.spectral_norm else params
        return discriminator.apply(params, image)

    return Model(init, generator.apply, discriminate)


def _start(shapes: Params, key: PRNGKeyArray) -> Params:
    """Kernels from N(0, 0.02), scales of one, biases of zero.

    One draw for all kernels, cut in the sorted order of the networks' names: XLA would compile a
    draw for each of them in half a minute.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    sizes = [x.size if _last(path) == "kernel" else 0 for path, x in leaves]
    row = 0.02 * jax.random.normal(key, (sum(sizes),))
    pieces = jnp.split(row, np.cumsum(sizes)[:-1])
    fills = {"scale": 1.0, "bias": 0.0}
    values = [
        jnp.full(x.shape, fills[_last(path)], x.dtype)
        if _last(path) in fills
        else piece.reshape(x.shape)
        for (path, x), piece in zip(leaves, pieces, strict=True)
    ]
    return jax.tree_util.tree_unflatten(tree, values)


def _last(path: Any) -> str:
    return path[-1].key
