"""The pool of past fakes that a discriminator is shown (Shrivastava et al. 2017), as arrays."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


class Pool(NamedTuple):
    """The first `count` of `images` are past fakes, the others zeros."""

    images: Float[Array, "n h w c"]
    count: Int[Array, ""]


def start(size: int, image_shape: tuple[int, int, int]) -> Pool:
    """An empty pool for `size` images."""
    return Pool(jnp.zeros((size, *image_shape)), jnp.int32(0))


def exchange(
    pool: Pool, images: Float[Array, "b h w c"], key: PRNGKeyArray
) -> tuple[Pool, Float[Array, "b h w c"]]:
    """The pool with new fakes, and the fakes to show, image by image in their order.

    While the pool is not full it keeps each image and gives it back. Once it is full, with
    probability 1/2 it gives back a random one of its own and keeps the new one in its place,
    else it gives back the new one. A pool of size 0 gives back what it gets. Source: the image
    pool of junyanz/pytorch-CycleGAN-and-pix2pix.
    """
    size, b = len(pool.images), len(images)
    if not size:
        return pool, images
    swap_key, place_key = jax.random.split(key)
    swaps = jax.random.bernoulli(swap_key, 0.5, (b,))
    places = jax.random.randint(place_key, (b,), 0, size)

    def one(carry: tuple[Array, Array], item: tuple[Array, Array, Array]):
        kept, count = carry  # numbers of images: those of the pool, then the new ones
        number, swap, place = item
        full = count == size
        place = jnp.where(full, place, count)
        shown = jnp.where(full & swap, kept[place], number)
        kept = jnp.where(full & ~swap, kept, kept.at[place].set(number))
        return (kept, jnp.minimum(count + 1, size)), shown

    numbers = jnp.arange(size, size + b, dtype=jnp.int32)
    first = (jnp.arange(size, dtype=jnp.int32), pool.count)
    (kept, count), shown = jax.lax.scan(one, first, (numbers, swaps, places))
    both = jnp.concatenate([pool.images, images])
    return Pool(both[kept], count), both[shown]
