"""Share of the residual's energy by scale, from a Laplacian pyramid (Burt and Adelson 1983).

Each band is a level less the next one enlarged again; blur is the binomial (1, 4, 6, 4, 1) / 16
with borders mirrored about the outermost pixel (scipy.ndimage's "mirror").
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ad_core.statistics.filters import image_mean, mirrored, separable

BANDS = 4  # besides what is left, the low-pass
KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_SMALLEST = 3  # pixels of a side that a mirrored border of 2 asks for


def band_energies(residual: Float[Array, "b h w c"]) -> Float[Array, "b _"]:
    """Mean square of each of the BANDS bands, then of the low-pass."""
    largest = jnp.max(jnp.abs(residual), axis=(1, 2, 3), keepdims=True)
    level = residual / jnp.where(largest > 0, largest, 1.0)  # squares of tiny values vanish
    energies = []
    for _ in range(BANDS):
        if min(level.shape[1:3]) < _SMALLEST:
            energies.append(jnp.zeros(level.shape[0]))
            continue
        lower = _blur(level)[:, ::2, ::2]
        energies.append(_mean_square(level - _enlarge(lower, level.shape)))
        level = lower
    return jnp.stack([*energies, _mean_square(level)], axis=1)


def _enlarge(small, shape):
    """Zeros between the pixels, then the blur times 4 (2 for each axis)."""
    spread = jnp.zeros(shape, small.dtype).at[:, ::2, ::2].set(small)
    return 4 * _blur(spread)


def _blur(x):
    return separable(mirrored(x, 2), KERNEL, KERNEL)


def _mean_square(x):
    return image_mean(x**2)
