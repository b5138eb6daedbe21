"""The family of structural similarity: ssim, ms_ssim, uiq. 1 is identical, lower more anomalous.

All share one form. With r = x - y both factors of the definition are one minus a ratio, without
differences of nearly equal numbers: (2 ab + C) / (a^2 + b^2 + C) = 1 - (a - b)^2 / (a^2 + b^2 + C)
for the means, and likewise 2 cov(x, y) = var x + var y - var r. In float32 the textbook form is
off where images are nearly the same.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ad_core.errors import UserError
from ad_core.statistics.comparison import Comparison
from ad_core.statistics.filters import halve, image_mean, separable_lines

DATA_RANGE = 2.0
SIDE = 7
UIQ_SIDE = 8
C1 = (0.01 * DATA_RANGE) ** 2
C2 = (0.03 * DATA_RANGE) ** 2
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
FLAT = 1e-5  # a variance (of a quarter of an 8-bit grey level) or squared mean that counts as 0


def ssim(pair: Comparison) -> Float[Array, "b"]:
    """Mean structural similarity, as skimage.metrics.structural_similarity(data_range=2) has it:
    uniform 7x7 window, sample covariance, borders of 3 pixels left out, mean over channels.

    Raises:
        UserError: an image side below 7 pixels.
    """
    luminance, structure = factors(pair.image, pair.other, side=SIDE, unbiased=True)
    return image_mean(luminance * structure)


def ms_ssim(pair: Comparison) -> Float[Array, "b"]:
    """Multi-scale structural similarity (Wang, Simoncelli and Bovik 2003), mean over channels.

    Uniform 7x7 windows as in `ssim`; each next scale averages 2x2 blocks. As many of the five
    scales as images have (7 pixels a side), their weights brought to a sum of 1. A scale's mean
    structure below 0 counts as 0.

    Raises:
        UserError: an image side below 7 pixels.
    """
    x, y = pair.image, pair.other
    scales = 1
    while scales < len(MS_WEIGHTS) and min(x.shape[1:3]) >> scales >= SIDE:
        scales += 1
    weights = [weight / sum(MS_WEIGHTS[:scales]) for weight in MS_WEIGHTS[:scales]]
    product = jnp.ones((x.shape[0], x.shape[3]), jnp.float32)
    for scale, weight in enumerate(weights):
        luminance, structure = factors(x, y, side=SIDE, unbiased=True)
        last = scale == scales - 1
        columns = jnp.mean(luminance * structure if last else structure, axis=1)
        mean = jnp.mean(columns.reshape(*product.shape[:1], -1, product.shape[1]), axis=1)
        product = product * jnp.maximum(mean, 0.0) ** weight
        x, y = halve(x), halve(y)
    return jnp.mean(product, axis=1)


def uiq(pair: Comparison) -> Float[Array, "b"]:
    """Universal image quality index (Wang and Bovik 2002): 8x8 windows, no constants, mean.

    On the images as they are. A factor whose denominator is below FLAT (both windows constant;
    both means 0) is 1.

    Raises:
        UserError: an image side below 8 pixels.
    """
    luminance, structure = factors(pair.image, pair.other, side=UIQ_SIDE, constants=(0.0, 0.0))
    return image_mean(luminance * structure)


def factors(
    x: Float[Array, "b h w c"],
    y: Float[Array, "b h w c"],
    *,
    side: int,
    unbiased: bool = False,
    constants: tuple[float, float] = (C1, C2),
) -> tuple[Float[Array, "b _ _"], Float[Array, "b _ _"]]:
    """Luminance, and contrast times structure, at each pixel that has a whole window.

    Channels lie within the columns of what is returned.

    Args:
        side: of the window.
        unbiased: sample covariance, n / (n - 1).
        constants: that keep the two ratios from 0 / 0; without them such a ratio counts as 0.

    Raises:
        UserError: an image side below that of the window.
    """
    b, h, w, c = x.shape
    if min(h, w) < side:
        raise UserError(
            f"Structural similarity needs images of at least {side}x{side} pixels, not {h}x{w}; "
            "leave `ssim`, `ms_ssim`, `uiq` and `issm` out or use larger images."
        )

    def mean(lines):
        return separable_lines(lines, (1.0,) * side, (1.0,) * side, channels=c) / side**2

    share = side**2 / (side**2 - 1) if unbiased else 1.0
    x, y = x.reshape(b, h, w * c), y.reshape(b, h, w * c)
    # Variances do not change with the level; near zero they keep their digits.
    level = _channel_levels(x, y, c)
    x0, y0, r = x - level, y - level, x - y
    mean_x, mean_y, mean_r = mean(x0), mean(y0), mean(r)
    scatter = (mean(x0**2 + y0**2) - mean_x**2 - mean_y**2) * share
    scatter_r = (mean(r**2) - mean_r**2) * share
    level = level[:, :, : mean_x.shape[2]]
    square = (mean_x + level) ** 2 + (mean_y + level) ** 2
    luminance = 1 - _ratio(mean_r**2, square, constants[0])
    structure = 1 - _ratio(jnp.maximum(scatter_r, 0.0), jnp.maximum(scatter, 0.0), constants[1])
    return luminance, structure


def _channel_levels(x, y, channels):
    """Mean of both images in each channel, repeated along the columns: [b, 1, w * c]."""
    columns = jnp.mean((x + y) / 2, axis=1)
    means = jnp.mean(columns.reshape(x.shape[0], -1, channels), axis=1)
    return jnp.tile(means, (1, x.shape[2] // channels))[:, None, :]


def _ratio(part, whole, constant):
    if constant:
        return part / (whole + constant)
    flat = whole < FLAT
    return jnp.where(flat, 0.0, part / jnp.where(flat, 1.0, whole))


FUNCTIONS = {"ssim": ssim, "ms_ssim": ms_ssim, "uiq": uiq}
