"""Feature similarity (FSIM): phase congruency from a bank of log-Gabor filters, and gradients."""

from functools import cache

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ad_core.statistics.comparison import Comparison
from ad_core.statistics.edges import SCHARR
from ad_core.statistics.filters import gradient_magnitude
from ad_core.statistics.moments import sums
from ad_core.statistics.structure import DATA_RANGE

SCALES = 4
ORIENTATIONS = 4
SHORTEST = 6.0  # wavelength of the finest filter, pixels; each next one doubles it
BANDWIDTH = 0.55  # sigma of the log-Gabor filter relative to its centre frequency
ANGLE_SIGMA = np.pi / ORIENTATIONS / 1.2
T_PHASE = 0.85
T_GRADIENT = 160 * (DATA_RANGE / 255) ** 2
EPSILON = 1e-4


def fsim(pair: Comparison) -> Float[Array, "b"]:
    """Feature similarity of the channels' mean, in (0, 1]; 1 if identical, lower is anomalous.

    sum(S_pc S_g pc) / sum(pc) with pc the larger phase congruency of the two, S = (2 ab + T) /
    (a^2 + b^2 + T), borders of one pixel left out (Scharr's operator); 1 where neither image has
    any structure. Source: Zhang et al. 2011, equations 1 to 7 without their noise threshold and
    without downsampling. The slowest of the whole-image statistics: 16 Fourier transforms.
    """
    x, y = (jnp.mean(z, axis=3) for z in (pair.image, pair.other))
    phase_x, phase_y = (phase_congruency(z)[:, 1:-1, 1:-1] for z in (x, y))
    edge_x, edge_y = (gradient_magnitude(z[..., None], SCHARR)[..., 0] for z in (x, y))
    alike = _similarity(phase_x, phase_y, T_PHASE) * _similarity(edge_x, edge_y, T_GRADIENT)
    largest = jnp.maximum(phase_x, phase_y)
    above, below = sums([alike * largest, largest])
    return jnp.where(below > 0, above / jnp.where(below > 0, below, 1.0), 1.0)


def phase_congruency(x: Float[Array, "b h w"]) -> Float[Array, "b h w"]:
    """sum_o |sum_s response| / (EPSILON + sum_o sum_s |response|), in [0, 1).

    Responses of the log-Gabor filters of each orientation o and scale s; their real and
    imaginary parts are the even and odd filters'. Grey levels count on the scale of 0 to 255.
    """
    spectrum = jnp.fft.fft2((x - jnp.mean(x, axis=(1, 2), keepdims=True)) * (255 / DATA_RANGE))

    def add_orientation(state, filters):
        energy, amplitude = state
        responses = [
            jnp.fft.ifft2(spectrum * filters[s, None].astype(spectrum.dtype)) for s in range(SCALES)
        ]
        energy = energy + jnp.abs(sum(responses[1:], start=responses[0]))
        return (energy, amplitude + sum(map(jnp.abs, responses), start=0.0)), None

    # One orientation after the other: all responses at once would take 16 times the images.
    start = (jnp.zeros_like(x), jnp.zeros_like(x))
    (energy, amplitude), _ = lax.scan(add_orientation, start, jnp.asarray(_bank(*x.shape[1:])))
    return energy / (EPSILON + amplitude)


@cache
def _bank(h: int, w: int) -> np.ndarray:
    """Log-Gabor filters in the frequency plane [orientation, scale, h, w], one-sided in angle."""
    v, u = np.meshgrid(np.fft.fftfreq(h), np.fft.fftfreq(w), indexing="ij")
    radius, angle = np.hypot(u, v), np.arctan2(-v, u)
    radius[0, 0] = 1.0
    smooth_edge = 1 / (1 + (radius / 0.45) ** 30)  # Butterworth: no corners of the plane
    bank = np.zeros((ORIENTATIONS, SCALES, h, w))
    for o in range(ORIENTATIONS):
        turned = angle - o * np.pi / ORIENTATIONS
        away = np.abs(np.arctan2(np.sin(turned), np.cos(turned)))
        spread = np.exp(-(away**2) / (2 * ANGLE_SIGMA**2))
        for s in range(SCALES):
            log_ratio = np.log(radius * SHORTEST * 2**s)
            band = np.exp(-(log_ratio**2) / (2 * np.log(BANDWIDTH) ** 2)) * smooth_edge
            band[0, 0] = 0.0
            bank[o, s] = band * spread
    return bank.astype(np.float32)


def _similarity(a, b, constant):
    return 1 - (a - b) ** 2 / (a**2 + b**2 + constant)


FUNCTIONS = {"fsim": fsim}
