"""Similarity of an image and its reconstruction: mse, rmse, psnr and ssim, data range 2."""

from functools import reduce
from operator import add

import jax.numpy as jnp
from jaxtyping import Array, Float

from ad_core.errors import UserError
from ad_core.statistics.comparison import Comparison

DATA_RANGE = 2.0
PSNR_CAP = 150.0  # dB
SSIM_SIDE = 7
C1 = (0.01 * DATA_RANGE) ** 2
C2 = (0.03 * DATA_RANGE) ** 2


def mse(pair: Comparison) -> Float[Array, "b"]:
    """Mean squared residual (skimage.metrics.mean_squared_error)."""
    return pair.mean_square


def rmse(pair: Comparison) -> Float[Array, "b"]:
    """Square root of `mse`."""
    return jnp.sqrt(pair.mean_square)


def psnr(pair: Comparison) -> Float[Array, "b"]:
    """10 log10(4 / mse) in dB (skimage.metrics.peak_signal_noise_ratio), at most PSNR_CAP.

    The cap is reached at mse = 4e-15, about the rounding of float32; identical images have it.
    """
    floor = DATA_RANGE**2 * 10 ** (-PSNR_CAP / 10)
    return 10 * jnp.log10(DATA_RANGE**2 / jnp.maximum(pair.mean_square, floor))


def ssim(pair: Comparison) -> Float[Array, "b"]:
    """Mean structural similarity, as skimage.metrics.structural_similarity(data_range=2) has it:
    uniform 7x7 window, sample covariance, borders of 3 pixels left out, mean over channels.

    1 for identical images (constant ones too), lower is more anomalous.

    Raises:
        UserError: an image side below 7 pixels.
    """
    return jnp.mean(ssim_map(pair.image, pair.other), axis=(1, 2, 3))


def ssim_map(x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]) -> Float[Array, "b h-6 w-6 c"]:
    """Structural similarity at each pixel that has a whole window.

    With r = x - y both factors of the definition are one minus a ratio without differences of
    nearly equal numbers: (2 ab + C) / (a^2 + b^2 + C) = 1 - (a - b)^2 / (a^2 + b^2 + C) for the
    means, and likewise 2 cov(x, y) = var x + var y - var r. In float32 the textbook form is off
    where images are nearly the same.
    """
    if min(x.shape[1:3]) < SSIM_SIDE:
        raise UserError(
            f"`ssim` needs images of at least {SSIM_SIDE}x{SSIM_SIDE} pixels, not "
            f"{x.shape[1]}x{x.shape[2]}; leave it out or use a larger `config.data.image_size`."
        )
    count = SSIM_SIDE**2
    # Variances do not change with the level; near zero they keep their digits.
    level = jnp.mean((x + y) / 2, axis=(1, 2), keepdims=True)
    x0, y0 = x - level, y - level
    r = x - y
    mean_x, mean_y, mean_r = (box_sum(z) / count for z in (x0, y0, r))
    scatter = (box_sum(x0**2 + y0**2) / count - mean_x**2 - mean_y**2) * count / (count - 1)
    scatter_r = (box_sum(r**2) / count - mean_r**2) * count / (count - 1)
    square = (mean_x + level) ** 2 + (mean_y + level) ** 2
    luminance = 1 - mean_r**2 / (square + C1)
    structure = 1 - jnp.maximum(scatter_r, 0.0) / (jnp.maximum(scatter, 0.0) + C2)
    return luminance * structure


def box_sum(x: Float[Array, "b h w c"]) -> Float[Array, "b h-6 w-6 c"]:
    """Sum over the 7x7 neighbourhood of each pixel that has a whole one."""
    h, w = x.shape[1] - SSIM_SIDE + 1, x.shape[2] - SSIM_SIDE + 1
    rows = reduce(add, (x[:, i : i + h] for i in range(SSIM_SIDE)))
    return reduce(add, (rows[:, :, i : i + w] for i in range(SSIM_SIDE)))


FUNCTIONS = {"mse": mse, "rmse": rmse, "psnr": psnr, "ssim": ssim}
