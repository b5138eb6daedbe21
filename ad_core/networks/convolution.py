"""Convolution whose gradient is fast on a CPU too, and one that doubles the image on its way.

On a CPU XLA computes the gradient of a kernel at half the speed of the convolution itself, or at a
tenth where image and kernel are large. A product of the unfolded image (each pixel beside all that
the kernel sees around it) with the pull is faster, if a block of rows at a time stays in the cache.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

LAYOUT = ("NHWC", "HWIO", "NHWC")
UNFOLDED = 2**17  # numbers of an unfolded block of rows, few enough for a processor's cache
WIDE = 32  # channels on either side from which on the product is the faster

Pads = tuple[tuple[int, int], tuple[int, int]]


def convolve(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k l g d"],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **others: Any,
) -> Float[Array, "b _ _ d"]:
    """Value of `jax.lax.conv_general_dilated`, with another way to the kernel's gradient on a CPU.

    With dilation, with groups and where both sides are narrow it is that function. Elsewhere only
    reverse mode can differentiate it.
    """
    plain = others.get("feature_group_count", 1) == 1
    plain &= all(set(others.get(f"{side}hs_dilation") or (1,)) == {1} for side in "lr")
    if not plain or max(kernel.shape[2:]) < WIDE:
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **others)
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    (top, bottom), (left, right) = padding
    return _convolve(x, kernel, (strides[0], strides[1]), ((top, bottom), (left, right)))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: Array, kernel: Array, strides: tuple[int, int], pads: Pads) -> Array:
    return _plain(x, kernel, strides=strides, pads=pads)


def _convolve_forward(
    x: Array, kernel: Array, strides: tuple[int, int], pads: Pads
) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel, strides, pads), (x, kernel)


def _convolve_backward(
    strides: tuple[int, int], pads: Pads, kept: tuple[Array, Array], pull: Array
) -> tuple[Array, Array]:
    x, kernel = kept
    convolution = partial(_plain, kernel=kernel, strides=strides, pads=pads)
    (x_pull,) = jax.linear_transpose(convolution, x)(pull)
    return x_pull, _kernel_pull(x, pull, kernel, strides, pads)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _kernel_pull(
    x: Array, pull: Array, kernel: Array, strides: tuple[int, int], pads: Pads
) -> Array:
    """Gradient of the kernel, of its shape and dtype."""

    def native(x: Array, pull: Array) -> Array:
        convolution = partial(_plain, x, strides=strides, pads=pads)
        return jax.linear_transpose(convolution, kernel)(pull)[0]

    def by_product(x: Array, pull: Array) -> Array:
        high, wide, *_ = kernel.shape
        found = kernel_pull_by_product(x, pull, size=(high, wide), strides=strides, pads=pads)
        return found.astype(kernel.dtype)

    return jax.lax.platform_dependent(x, pull, cpu=by_product, default=native)


def _plain(x: Array, kernel: Array, *, strides: tuple[int, int], pads: Pads) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=LAYOUT)


def kernel_pull_by_product(
    x: Float[Array, "b h w c"],
    pull: Float[Array, "b h2 w2 d"],
    *,
    size: tuple[int, int],
    strides: tuple[int, int],
    pads: Pads,
) -> Float[Array, "k l c d"]:
    """Gradient of a convolution's kernel, in float32, by products of unfolded blocks of rows.

    Of image and pull the one with fewer channels is unfolded, where the stride is 1: the kernel's
    mirror image then goes over the pull.
    """
    opposite = [
        (side - 1 - low, side - 1 - high) for side, (low, high) in zip(size, pads, strict=True)
    ]
    swapped = x.shape[-1] > pull.shape[-1] and strides == (1, 1) and min(map(min, opposite)) >= 0
    if swapped:
        found = _unfolded_product(pull, x, size, strides, (opposite[0], opposite[1]))
        return jnp.flip(found, (0, 1)).swapaxes(2, 3)
    return _unfolded_product(x, pull, size, strides, pads)


def _unfolded_product(
    x: Array, pull: Array, size: tuple[int, int], strides: tuple[int, int], pads: Pads
) -> Float[Array, "k l c d"]:
    batch, height, width, out = pull.shape
    row = batch * width * size[0] * size[1] * x.shape[-1]
    blocks = 1
    while row * -(-height // blocks) > UNFOLDED and blocks < height:
        blocks *= 2
    rows = -(-height // blocks)
    past = blocks * rows - height  # rows of zeros that fill the last block
    (top, bottom), (left, right) = pads
    below = bottom + past * strides[0]
    padded = jnp.pad(x, ((0, 0), (top, below), (left, right), (0, 0)))
    pull = jnp.pad(pull, ((0, 0), (0, past), (0, 0), (0, 0)))

    def add(total: Array, block: Array) -> tuple[Array, None]:
        first = block * rows
        read = (rows - 1) * strides[0] + size[0]
        source = jax.lax.dynamic_slice_in_dim(padded, first * strides[0], read, axis=1)
        target = jax.lax.dynamic_slice_in_dim(pull, first, rows, axis=1)
        unfolded = jnp.concatenate(
            [
                source[:, i :: strides[0], j :: strides[1]][:, :rows, :width]
                for i in range(size[0])
                for j in range(size[1])
            ],
            axis=-1,
        )
        product = jnp.einsum("bhwc,bhwd->cd", unfolded, target, preferred_element_type=jnp.float32)
        return total + product, None

    start = jnp.zeros((size[0] * size[1] * x.shape[-1], out), jnp.float32)
    total, _ = jax.lax.scan(add, start, jnp.arange(blocks))
    return total.reshape(*size, x.shape[-1], out)


def convolve_doubled(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"], *_: Any, **__: Any
) -> Float[Array, "b h2 w2 d"]:
    """3x3 convolution of the image doubled by nearest neighbours, padded by zeros to its size.

    Each of the four pixels that stem from one sees two by two of the small image, so that four
    products do the work of nine.
    """
    return _convolve_doubled(x, kernel)


@jax.custom_vjp
def _convolve_doubled(x: Array, kernel: Array) -> Array:
    b, h, w, _ = x.shape
    wide = jnp.concatenate(
        [
            quarter
            for half in _halves(kernel)
            for quarter in (part.swapaxes(0, 1) for part in _halves(half.swapaxes(0, 1)))
        ],
        axis=-1,
    )
    found = _plain(x, wide, strides=(1, 1), pads=((1, 1), (1, 1)))
    found = found.reshape(b, h + 1, w + 1, 2, 2, -1)
    rows = [
        jnp.stack([found[:, i : i + h, j : j + w, i, j] for j in range(2)], axis=3)
        for i in range(2)
    ]
    return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, -1)


def _halves(kernel: Array) -> tuple[Array, Array]:
    """Two rows that stand for three of them, seen from the upper and from the lower pixel."""
    first, second, third = kernel
    return jnp.stack([first, second + third]), jnp.stack([first + second, third])


def _spread(kernel: Float[Array, "3 3 c d"]) -> Float[Array, "4 4 d c"]:
    """Kernel of the strided convolution whose transpose is `convolve_doubled`."""
    for axis in (0, 1):
        ends = [(0, 0)] * 4
        ends[axis] = (1, 1)
        wide = jnp.pad(kernel, ends)
        count = wide.shape[axis]
        kernel = jax.lax.slice_in_dim(wide, 1, count, axis=axis)
        kernel = kernel + jax.lax.slice_in_dim(wide, 0, count - 1, axis=axis)
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def _doubled_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _convolve_doubled(x, kernel), (x, kernel)


def _doubled_backward(kept: tuple[Array, Array], pull: Array) -> tuple[Array, Array]:
    x, kernel = kept
    strides, pads = (2, 2), ((1, 1), (1, 1))
    spread, gather = jax.vjp(_spread, kernel)
    x_pull = _plain(pull, spread, strides=strides, pads=pads)
    return x_pull, gather(_kernel_pull(pull, x, spread, strides, pads))[0]


_convolve_doubled.defvjp(_doubled_forward, _doubled_backward)


Conv = partial(nn.Conv, conv_general_dilated=convolve)


def doubling(features: int, dtype: DTypeLike) -> nn.Conv:
    """Layer of `convolve_doubled`."""
    return Conv(features, (3, 3), conv_general_dilated=convolve_doubled, dtype=dtype)
