"""Images as grids of patches and back, and the positions of patches in two dimensions."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ad_core.networks.blocks import Conv

CUBIC = -0.75  # slope of the bicubic kernel at distance 1, as PyTorch and OpenCV have it
LONGEST = 10_000.0  # wave length of the slowest position, over 2 pi, in patches


def patchify(image: Float[Array, "b h w c"], patch: int) -> Float[Array, "b hp wp pc"]:
    """Patches of patch x patch pixels, each as one row of its pixels.

    Raises ValueError if a side is not divisible by `patch`.
    """
    b, h, w, c = image.shape
    if h % patch or w % patch:
        raise ValueError(f"The image ({h} x {w}) must be divisible by `patch` (={patch}).")
    cut = image.reshape(b, h // patch, patch, w // patch, patch, c)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // patch, w // patch, patch * patch * c)


def unpatchify(patches: Float[Array, "b hp wp pc"], patch: int) -> Float[Array, "b h w c"]:
    """The image of these patches: the inverse of `patchify`."""
    b, h, w, d = patches.shape
    cut = patches.reshape(b, h, w, patch, patch, d // patch**2)
    joined = cut.transpose(0, 1, 3, 2, 4, 5)
    return joined.reshape(b, h * patch, w * patch, d // patch**2)


class SmoothUnpatchify(nn.Module):
    """Features at full resolution from a grid of tokens, without seams between patches.

    Each doubling is linear and a 3x3 convolution follows it, so that neighbouring patches pass
    into each other: a constant grid gives a constant image. A patch whose pixels are computed of
    its token alone (`unpatchify`) has a seam at each border. Channels halve towards `features`.
    The borders of the image are repeated outwards.

    patch: pixels of a token, a power of two.
    """

    patch: int
    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, grid: Float[Array, "b h w d"]) -> Float[Array, "b hp wp f"]:
        """Features in `dtype`. Raises ValueError if `patch` is no power of two."""
        doublings = self.patch.bit_length() - 1
        if self.patch != 2**doublings:
            raise ValueError(f"`patch` (={self.patch}) must be a power of two.")
        x, widest = grid, grid.shape[-1]
        for left in reversed(range(doublings)):
            x = double_linearly(nn.swish(x) if left < doublings - 1 else x)
            x = _with_border(x)
            width = min(widest, self.features * 2**left)
            x = Conv(width, (3, 3), padding="VALID", dtype=self.dtype)(x)
        return x if doublings else nn.Dense(self.features, dtype=self.dtype)(x)


def double_linearly(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Image at twice the resolution, linear between the centres of pixels."""
    for axis in (1, 2):
        count = x.shape[axis]
        first, last = _ends(x, axis=axis)
        part = functools.partial(jax.lax.slice_in_dim, x, axis=axis)
        before = jnp.concatenate([first, part(0, count - 1)], axis=axis)
        after = jnp.concatenate([part(1, count), last], axis=axis)
        both = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
        x = both.reshape(*x.shape[:axis], 2 * count, *x.shape[axis + 1 :])
    return x


def _with_border(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """The image with its outermost rows and columns once more.

    As `jnp.pad` with mode "edge", whose gradient takes three times as long on a CPU.
    """
    for axis in (1, 2):
        first, last = _ends(x, axis=axis)
        x = jnp.concatenate([first, x, last], axis=axis)
    return x


def _ends(x: Array, *, axis: int) -> tuple[Array, Array]:
    """The first and the last row, or column."""
    count = x.shape[axis]
    part = functools.partial(jax.lax.slice_in_dim, x, axis=axis)
    return part(0, 1), part(count - 1, count)


@functools.cache
def sincos_positions(h: int, w: int, width: int) -> Float[np.ndarray, "h w d"]:
    """Positions of a grid: sines and cosines of the row, then of the column, `width` channels.

    Wave lengths rise from 2 pi to 2 pi * 10,000 patches in geometric steps. Source: Vaswani et
    al. 2017, for each of two dimensions as He et al. 2022 (MAE) have them.

    Raises:
        ValueError: `width` is not divisible by 4.
    """
    if width % 4:
        raise ValueError(f"`width` (={width}) must be divisible by 4.")
    quarter = width // 4
    rates = LONGEST ** -(np.arange(quarter) / quarter)

    def waves(count: int) -> np.ndarray:
        angle = np.outer(np.arange(count), rates)
        return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)

    rows, columns = waves(h)[:, None], waves(w)[None]
    shape = (h, w, width // 2)
    both = [np.broadcast_to(rows, shape), np.broadcast_to(columns, shape)]
    return np.concatenate(both, axis=-1).astype(np.float32)


def resize_grid(
    grid: Float[Array, "h w d"], h: int, w: int, *, offset: float = 0.0
) -> Float[Array, "h2 w2 d"]:
    """Learnt positions of one grid for another, h x w, bicubic; at its own size the grid itself.

    Args:
        offset: is added to the new sides where the scale is computed; DINOv2 has 0.1.
    """
    if grid.shape[:2] == (h, w):
        return grid
    rows, columns = (
        bicubic_weights(old, new, offset=offset)
        for old, new in zip(grid.shape[:2], (h, w), strict=True)
    )
    return jnp.einsum("ab,cd,bdk->ack", rows, columns, grid, precision="highest")


@functools.cache
def bicubic_weights(old: int, new: int, *, offset: float = 0.0) -> Float[np.ndarray, "n o"]:
    """Matrix from `old` values to `new` ones by bicubic interpolation between their centres.

    The values at the ends are repeated outwards; nothing is smoothed where `new` is smaller. It
    is PyTorch's `interpolate(mode="bicubic")` with a scale of (new + offset) / old.
    """
    place = (np.arange(new) + 0.5) * old / (new + offset) - 0.5
    first = np.floor(place).astype(int)
    weights = np.zeros((new, old))
    for step in (-1, 0, 1, 2):
        near = np.clip(first + step, 0, old - 1)
        np.add.at(weights, (np.arange(new), near), _cubic(np.abs(place - (first + step))))
    return weights.astype(np.float32)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' kernel with slope CUBIC, at distances of 0 to 2."""
    a, d = CUBIC, distance
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, far)
