"""Errors and ratios of image and reconstruction: mse, rmse, psnr, sre, sam; data range 2."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ad_core.statistics.comparison import Comparison
from ad_core.statistics.filters import image_mean
from ad_core.statistics.structure import DATA_RANGE

CAP = 150.0  # dB


def mse(pair: Comparison) -> Float[Array, "b"]:
    """Mean squared residual (skimage.metrics.mean_squared_error)."""
    return pair.summary.mean_square


def rmse(pair: Comparison) -> Float[Array, "b"]:
    """Square root of `mse`."""
    return jnp.sqrt(pair.summary.mean_square)


def psnr(pair: Comparison) -> Float[Array, "b"]:
    """10 log10(4 / mse) in dB (skimage.metrics.peak_signal_noise_ratio), at most CAP.

    The cap is reached at mse = 4e-15, about the rounding of float32; identical images have it.
    """
    return _decibel(
        jnp.full_like(pair.summary.mean_square, DATA_RANGE**2), pair.summary.mean_square
    )


def sre(pair: Comparison) -> Float[Array, "b"]:
    """Signal to reconstruction error in dB: 10 log10(mean(x)^2 / mse), mean over channels.

    On the images as they are, within [-CAP, CAP]; identical images have CAP. Lower is more
    anomalous. Source: Lanaras et al. 2018, equation of SRE.
    """
    signal = jnp.mean(jnp.mean(pair.image, axis=1), axis=1) ** 2
    error = jnp.mean(jnp.mean(pair.residual**2, axis=1), axis=1)
    return jnp.mean(_decibel(signal, error), axis=1)


def sam(pair: Comparison) -> Float[Array, "b"]:
    """Spectral angle: mean over pixels of the angle between the channels of x and x̂, degrees.

    In [0, 180]; 0 at pixels where either is all zero. With one channel it is 180 times the share
    of pixels whose sign differs.
    """
    unit_x, zero_x = _unit(pair.image)
    unit_y, zero_y = _unit(pair.other)
    # 2 atan2(|a - b|, |a + b|) is exact for small angles, where acos of a product is not.
    apart, along = (jnp.sqrt(jnp.sum(z**2, axis=3)) for z in (unit_x - unit_y, unit_x + unit_y))
    angle = jnp.where(zero_x | zero_y, 0.0, 2 * jnp.arctan2(apart, along))
    return jnp.degrees(image_mean(angle))


def _unit(x):
    length = jnp.sqrt(jnp.sum(x**2, axis=3))
    zero = length == 0
    return x / jnp.where(zero, 1.0, length)[..., None], zero


def _decibel(signal, error):
    """10 log10(signal / error), kept within [-CAP, CAP]; CAP where the error is 0."""
    ratio = jnp.where(error > 0, signal / jnp.where(error > 0, error, 1.0), jnp.inf)
    return jnp.clip(10 * jnp.log10(jnp.maximum(ratio, 1e-30)), -CAP, CAP)


FUNCTIONS = {"mse": mse, "rmse": rmse, "psnr": psnr}
FURTHER = {"sre": sre, "sam": sam}
