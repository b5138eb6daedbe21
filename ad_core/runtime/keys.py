"""One random key for each image, made of its pixels."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt32

_WORDS = ((0x9E3779B1, 0x85EBCA77), (0xC2B2AE3D, 0x27D4EB2F))  # odd: no bit of a pixel is lost


def image_keys(image: Float[Array, "b h w c"]) -> Key[Array, "b"]:
    """Typed keys [b]; equal images have equal keys, whatever their row, batch or device.

    A key is folded from two 32-bit digests of the image's float32 bits. The digests are sums of
    integers that wrap around, so that no order of summation changes them.
    """
    bits = jax.lax.bitcast_convert_type(image.astype(jnp.float32), jnp.uint32)
    rows = bits.reshape(bits.shape[0], -1)
    first, second = (_digest(rows, *words) for words in _WORDS)
    root = jax.random.key(0)
    return jax.vmap(lambda a, b: jax.random.fold_in(jax.random.fold_in(root, a), b))(first, second)


def _digest(rows: UInt32[Array, "b n"], place: int, factor: int) -> UInt32[Array, "b"]:
    """Sum over the pixels of a mix of each value and its place."""
    places = jnp.arange(rows.shape[1], dtype=jnp.uint32) * np.uint32(place)
    mixed = (rows ^ places[None]) * np.uint32(factor)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(place)
    return jnp.sum(mixed ^ (mixed >> np.uint32(13)), axis=1, dtype=jnp.uint32)
