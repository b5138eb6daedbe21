"""Drawing procedural images: coordinates, soft edges, smooth noise, true reduction to a size.

Worlds of phantoms draw in shares of the image's side on a fine canvas and reduce the result,
so that 64 pixels are a reduction of the very scan that 256 pixels show. Nothing here depends
on threads or on the order of calls: no BLAS, no global generator.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

from ad_core.data.formats.resizing import reduce_area

FINE = 256  # side of the canvas, in pixels; a multiple of it for larger images


def stream(kind: int, seed: tuple[int, ...], scan: int = 0) -> np.random.Generator:
    """The random numbers of one `kind` (a world numbers its own) for one scan of `seed`."""
    # A seed sequence takes missing words for zeros; the length tells (5,) from (5, 0).
    return np.random.default_rng([kind, len(seed), *seed, scan])


def canvas_side(size: int) -> int:
    """The canvas for an image of `size` pixels: the smallest multiple of FINE that holds it."""
    return FINE * -(-size // FINE)


def centres(side: int) -> Float[np.ndarray, " side"]:
    """Pixel centres in shares of the side, in (0, 1)."""
    return ((np.arange(side) + 0.5) / side).astype(np.float32)


def columns(x: float, reach: float, side: int) -> slice:
    """The columns within `reach` of `x`."""
    return slice(max(0, int((x - reach) * side)), max(0, int((x + reach) * side) + 2))


def ramp(distance: Float[np.ndarray, "..."], softness: float) -> Float[np.ndarray, "..."]:
    """0 outside, 1 inside, linear over `softness` around distance 0 (same unit)."""
    inside = distance * np.float32(1 / softness)
    inside += np.float32(0.5)
    return np.clip(inside, 0, 1, out=inside)


def bump(
    x: Float[np.ndarray, " n"], centre: float, half_width: float, power: float = 1.5
) -> Float[np.ndarray, " n"]:
    """A dome (1 - ((x - centre) / half_width)^2)^power of height 1, exactly 0 outside."""
    return np.clip(1 - ((x - np.float32(centre)) / np.float32(half_width)) ** 2, 0, 1) ** power


def wave(
    rng: np.random.Generator, x: Float[np.ndarray, " n"], cycles: tuple[float, ...]
) -> Float[np.ndarray, " n"]:
    """A random smooth line: sines of the given cycles per side, amplitudes up to 1 / cycles."""
    phase = rng.uniform(0, 2 * np.pi, len(cycles))
    height = rng.uniform(-1, 1, len(cycles)) / np.asarray(cycles)
    terms = [
        a * np.sin(2 * np.pi * c * x + p) for a, c, p in zip(height, cycles, phase, strict=True)
    ]
    return np.sum(terms, axis=0).astype(np.float32)


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], sigma: tuple[float, float]
) -> Float[np.ndarray, "h w"]:
    """Gaussian noise of variance 1 and correlation `sigma` (pixels; rows, columns), periodic."""
    white = rng.standard_normal(shape, dtype=np.float32)
    noise = gaussian_filter(white, sigma, mode="wrap", truncate=3.0)
    return noise * np.float32(1 / _gain(sigma[0]) / _gain(sigma[1]))


def enlarge(field: Float[np.ndarray, "p q"], side: int) -> Float[np.ndarray, "side side"]:
    """A coarse periodic field on the canvas, linear between its nodes."""
    return _stretch(_stretch(field, side).T, side).T


def reduce_mask(mask: Bool[np.ndarray, "n n"], size: int) -> Bool[np.ndarray, "size size"]:
    """Pixels at least half covered; where there are none, the ones covered most."""
    if not mask.any():
        return np.zeros((size, size), bool)
    cover = reduce_area(mask.astype(np.float32), size)
    return cover >= min(0.5, cover.max())


def to_levels(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 1"]:
    """Converts [0, 1], clipped, to the 256 levels of a stored image in [-1, 1].

    The levels also absorb last-bit differences between processors.
    """
    levels = np.round(np.clip(image, 0, 1) * 255)
    return (levels / 127.5 - 1).astype(np.float32)[:, :, None]


def _gain(sigma: float) -> float:
    """Standard deviation of white noise after a Gaussian filter along one axis."""
    radius = int(3.0 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-6)) ** 2)
    return float(np.sqrt(np.sum(kernel**2)) / np.sum(kernel))


def _stretch(field: np.ndarray, side: int) -> np.ndarray:
    position = np.arange(side) * (field.shape[0] / side)
    low = position.astype(int)
    weight = (position - low).astype(np.float32)[:, None]
    return field[low] * (1 - weight) + field[(low + 1) % field.shape[0]] * weight
