"""Similarity of edges: gms, gmsd and issm."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ad_core.errors import UserError
from ad_core.statistics.comparison import Comparison
from ad_core.statistics.distances import angular, centred
from ad_core.statistics.distributions import cell_of, entropy, histogram
from ad_core.statistics.filters import gradient_magnitude, halve, image_mean
from ad_core.statistics.structure import DATA_RANGE, ssim

PREWITT = (1 / 3, 1 / 3, 1 / 3)
SCHARR = (3 / 16, 10 / 16, 3 / 16)
GMS_CONSTANT = 170 * (DATA_RANGE / 255) ** 2
ISSM_BINS = 16  # over [-1, 1], for each of the two images
ISSM_WEIGHTS = (0.3, 0.5, 0.7)


def gms(pair: Comparison) -> Float[Array, "b"]:
    """Mean gradient magnitude similarity, in (0, 1]; 1 for identical images, lower anomalous.

    (2 ab + c) / (a^2 + b^2 + c) of Prewitt magnitudes of the channels' mean, averaged over 2x2
    blocks first; borders left out; c = 170 on the scale of 0 to 255. Source: Xue et al. 2014.

    Raises:
        UserError: an image side below 6 pixels.
    """
    return image_mean(_gms_map(pair))


def gmsd(pair: Comparison) -> Float[Array, "b"]:
    """Standard deviation of the map behind `gms`; 0 for identical images, higher is anomalous."""
    values = _gms_map(pair)
    return jnp.sqrt(image_mean((values - image_mean(values)[:, None, None, None]) ** 2))


def issm(pair: Comparison) -> Float[Array, "b"]:
    """Information theoretic statistic similarity (Aljanabi et al. 2019); lower is anomalous.

    (E H (A + B) + e) / (A E H + B H + C ssim + e) with A, B, C = ISSM_WEIGHTS, H the entropy in
    bits of the joint histogram (ISSM_BINS x ISSM_BINS) and E the correlation of the edges. Where
    the paper has Canny's edges, whose tracing is no array operation, E is the correlation of
    Scharr magnitudes of the channels' mean; 1 if neither image has an edge, 0 if one has none.

    Raises:
        UserError: an image side below 7 pixels.
    """
    b = pair.image.shape[0]
    x, y = (cell_of(z.reshape(b, -1), 1.0, ISSM_BINS) for z in (pair.image, pair.other))
    joint = histogram(x * ISSM_BINS + y, ISSM_BINS**2) / pair.count
    bits = entropy(joint) / jnp.log(2.0)
    edges = [_grey_gradient(z, SCHARR)[..., 0] for z in (pair.image, pair.other)]
    alike = 1 - angular(centred(edges[0]), centred(edges[1]))
    a, b_weight, c = ISSM_WEIGHTS
    above = alike * bits * (a + b_weight) + jnp.e
    return above / (a * alike * bits + b_weight * bits + c * ssim(pair) + jnp.e)


def _gms_map(pair):
    if min(pair.image.shape[1:3]) < 6:
        h, w = pair.image.shape[1:3]
        raise UserError(f"`gms` and `gmsd` need images of at least 6x6 pixels, not {h}x{w}.")
    a, b = (_grey_gradient(halve(z), PREWITT) for z in (pair.image, pair.other))
    return 1 - (a - b) ** 2 / (a**2 + b**2 + GMS_CONSTANT)


def _grey_gradient(x, smooth):
    return gradient_magnitude(jnp.mean(x, axis=3, keepdims=True), smooth)


FUNCTIONS = {"gms": gms, "gmsd": gmsd, "issm": issm}
