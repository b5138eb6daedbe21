"""Similarity of an image and its reconstruction: mse, rmse, psnr and ssim, data range 2."""

from functools import reduce
from operator import add

import jax.numpy as jnp
from jax import lax
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
    return pair.summary.mean_square


def rmse(pair: Comparison) -> Float[Array, "b"]:
    """Square root of `mse`."""
    return jnp.sqrt(pair.summary.mean_square)


def psnr(pair: Comparison) -> Float[Array, "b"]:
    """10 log10(4 / mse) in dB (skimage.metrics.peak_signal_noise_ratio), at most PSNR_CAP.

    The cap is reached at mse = 4e-15, about the rounding of float32; identical images have it.
    """
    floor = DATA_RANGE**2 * 10 ** (-PSNR_CAP / 10)
    return 10 * jnp.log10(DATA_RANGE**2 / jnp.maximum(pair.summary.mean_square, floor))


def ssim(pair: Comparison) -> Float[Array, "b"]:
    """Mean structural similarity, as skimage.metrics.structural_similarity(data_range=2) has it:
    uniform 7x7 window, sample covariance, borders of 3 pixels left out, mean over channels.

    1 for identical images (constant ones too), lower is more anomalous.

    Raises:
        UserError: an image side below 7 pixels.
    """
    values = lax.optimization_barrier(ssim_map(pair.image, pair.other))
    return jnp.mean(values.reshape(values.shape[0], -1), axis=1)


def ssim_map(x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]) -> Float[Array, "b h-6 w-6 c"]:
    """Structural similarity at each pixel that has a whole window.

    With r = x - y both factors of the definition are one minus a ratio without differences of
    nearly equal numbers: (2 ab + C) / (a^2 + b^2 + C) = 1 - (a - b)^2 / (a^2 + b^2 + C) for the
    means, and likewise 2 cov(x, y) = var x + var y - var r. In float32 the textbook form is off
    where images are nearly the same.

    Raises:
        UserError: an image side below 7 pixels.
    """
    b, h, w, c = x.shape
    if min(h, w) < SSIM_SIDE:
        raise UserError(
            f"`ssim` needs images of at least {SSIM_SIDE}x{SSIM_SIDE} pixels, not {h}x{w}; "
            "leave it out or use a larger `config.data.image_size`."
        )
    count, wide = SSIM_SIDE**2, (w - SSIM_SIDE + 1) * c
    # Channels within the columns give the CPU long inner loops.
    x, y = x.reshape(b, h, w * c), y.reshape(b, h, w * c)
    level = _channel_means(x, y, c)
    # Variances do not change with the level; near zero they keep their digits.
    x0, y0 = x - level, y - level
    r = x - y
    mean_x, mean_y, mean_r = (_box_sum(z, c) / count for z in (x0, y0, r))
    scatter = (_box_sum(x0**2 + y0**2, c) / count - mean_x**2 - mean_y**2) * count / (count - 1)
    scatter_r = (_box_sum(r**2, c) / count - mean_r**2) * count / (count - 1)
    square = (mean_x + level[:, :, :wide]) ** 2 + (mean_y + level[:, :, :wide]) ** 2
    luminance = 1 - mean_r**2 / (square + C1)
    structure = 1 - jnp.maximum(scatter_r, 0.0) / (jnp.maximum(scatter, 0.0) + C2)
    return (luminance * structure).reshape(b, h - SSIM_SIDE + 1, w - SSIM_SIDE + 1, c)


def _channel_means(x, y, channels):
    """Mean of both images in each channel, repeated along the columns: [b, 1, w * c]."""
    columns = jnp.mean((x + y) / 2, axis=1)
    means = jnp.mean(columns.reshape(x.shape[0], -1, channels), axis=1)
    return jnp.tile(means, (1, x.shape[2] // channels))[:, None, :]


def _box_sum(x: Float[Array, "b h wc"], channels: int) -> Float[Array, "b h-6 _"]:
    """Sum over the 7x7 neighbourhood of each pixel that has a whole one."""
    high, wide = x.shape[1] - SSIM_SIDE + 1, x.shape[2] - (SSIM_SIDE - 1) * channels
    # Without the barriers XLA computes x anew for each of the 49 neighbours.
    x = lax.optimization_barrier(x)
    rows = lax.optimization_barrier(reduce(add, (x[:, i : i + high] for i in range(SSIM_SIDE))))
    shifts = range(0, SSIM_SIDE * channels, channels)
    return lax.optimization_barrier(reduce(add, (rows[:, :, i : i + wide] for i in shifts)))


FUNCTIONS = {"mse": mse, "rmse": rmse, "psnr": psnr, "ssim": ssim}
