"""Convolution whose gradient is fast on a CPU too, and one that doubles the image on its way.

On a CPU XLA computes the gradient of a kernel at half the speed of the convolution itself, or at a
tenth where image and kernel are large. A product of the unfolded image (each pixel beside all that
the kernel sees around it) with the pull is faster, if a block of rows at a time stays in the cache.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LAYOUT = ("NHWC", "HWIO", "NHWC")
UNFOLDED = 2**17  # numbers of an unfolded block of rows, few enough for a processor's cache
SEEN = 25  # pixels that a kernel sees, up to which they are unfolded one by one
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

    It is that function for dilated kernels, for groups, where a precision is asked for, and where
    both sides are narrow. Elsewhere only reverse mode can differentiate it. With a dilated image it
    is a transposed convolution.
    """
    (down, across), (apart, beside) = strides, others.get("lhs_dilation") or (1, 1)
    transposed = (apart, beside) != (1, 1)
    strange = others.get("feature_group_count", 1) > 1 or (transposed and (down, across) != (1, 1))
    strange |= set(others.get("rhs_dilation") or (1,)) != {1} or others.get("precision") is not None
    if strange or math.prod(kernel.shape[:2]) > SEEN:
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **others)
    if isinstance(padding, str):
        sides = [(n - 1) * gap + 1 for n, gap in zip(x.shape[1:3], (apart, beside), strict=True)]
        padding = jax.lax.padtype_to_pads(sides, kernel.shape[:2], strides, padding)
    (top, bottom), (left, right) = padding
    pads = ((top, bottom), (left, right))
    if transposed:
        return _convolve_transposed(x, kernel, (apart, beside), pads)
    if max(kernel.shape[2:]) < WIDE:
        return _plain(x, kernel, strides=(down, across), pads=pads)
    return _convolve(x, kernel, (down, across), pads)


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
    if x.shape[-1] > pull.shape[-1] and strides == (1, 1):
        return _mirrored(_unfolded_product(pull, x, size, strides, _mirrored_pads(size, pads)))
    return _unfolded_product(x, pull, size, strides, pads)


def _mirrored(kernel: Float[Array, "k l c d"]) -> Float[Array, "k l d c"]:
    """Kernel of the transposed convolution."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def _mirrored_pads(size: tuple[int, ...], pads: Pads) -> Pads:
    """Padding of the transposed convolution."""
    (top, bottom), (left, right) = pads
    high, wide = size[0] - 1, size[1] - 1
    return (high - top, high - bottom), (wide - left, wide - right)


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
    edges = ((0, 0, 0), (top, below, 0), (left, right, 0), (0, 0, 0))
    padded = jax.lax.pad(x, jnp.zeros((), x.dtype), edges)  # takes negative ones too
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


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve_transposed(x: Array, kernel: Array, apart: tuple[int, int], pads: Pads) -> Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), pads, lhs_dilation=apart, dimension_numbers=LAYOUT
    )


def _transposed_forward(
    x: Array, kernel: Array, apart: tuple[int, int], pads: Pads
) -> tuple[Array, tuple[Array, Array]]:
    return _convolve_transposed(x, kernel, apart, pads), (x, kernel)


def _transposed_backward(
    apart: tuple[int, int], pads: Pads, kept: tuple[Array, Array], pull: Array
) -> tuple[Array, Array]:
    """A transposed convolution is the transpose of a strided one, by the mirrored kernel."""
    x, kernel = kept
    kernel, pads = _mirrored(kernel), _mirrored_pads(kernel.shape, pads)
    x_pull = _plain(pull, kernel, strides=apart, pads=pads)
    return x_pull, _mirrored(_kernel_pull(pull, x, kernel, apart, pads))


_convolve_transposed.defvjp(_transposed_forward, _transposed_backward)


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
    return _mirrored(kernel)


def _doubled_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _convolve_doubled(x, kernel), (x, kernel)


def _doubled_backward(kept: tuple[Array, Array], pull: Array) -> tuple[Array, Array]:
    x, kernel = kept
    strides, pads = (2, 2), ((1, 1), (1, 1))
    spread, gather = jax.vjp(_spread, kernel)
    x_pull = _plain(pull, spread, strides=strides, pads=pads)
    return x_pull, gather(_kernel_pull(pull, x, spread, strides, pads))[0]


_convolve_doubled.defvjp(_doubled_forward, _doubled_backward)
