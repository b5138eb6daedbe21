"""Noise of unit variance that images are mixed with: Gaussian, or simplex noise of many octaves.

Gaussian noise covers fine detail first, so that a large defect shines through partial noise and is
drawn again; simplex noise covers large structures too.

Source: Wyatt et al. 2022, "AnoDDPM"; Perlin's simplex noise as Gustavson describes it. The paper
cuts planes of a volume at random; here each octave lies anywhere and in any direction, which leaves
no position of the image special. The octaves are scaled to variance 1 together; the paper leaves
them as they come.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

Shape = tuple[int, ...]  # [h, w, c]
Draw = Callable[[Key[Array, ""], Shape], Float[Array, "h w c"]]

SKEW = (math.sqrt(3.0) - 1.0) / 2.0  # from the plane to a lattice of squares
UNSKEW = (3.0 - math.sqrt(3.0)) / 6.0  # and back
REACH = 0.5  # squared distance at which a corner's part ends: the height of a triangle, squared
# Variance of a pattern of random unit gradients, at a random place: the density of the corners
# (sqrt 3) times the integral of (REACH - r^2)^8 r^2 / 2 over the plane.
VARIANCE = math.sqrt(3.0) * math.pi / (2.0 * 2**10 * 90)


class Simplex(NamedTuple):
    """Settings of simplex noise.

    wavelength: of the first octave, as a share of the image's shorter side; each further one has
        half of it. persistence: amplitude of an octave, as a share of the one before.
    """

    wavelength: float = 0.25
    octaves: int = 6
    persistence: float = 0.8


def gaussian(key: Key[Array, ""], shape: Shape) -> Float[Array, "h w c"]:
    """Independent values of mean 0 and variance 1."""
    return jax.random.normal(key, shape)


def simplex(key: Key[Array, ""], shape: Shape, *, settings: Simplex) -> Float[Array, "h w c"]:
    """Sum of octaves of simplex noise, of mean 0 and variance 1 at each position.

    Channels are independent. The largest value is below 4.3 with the paper's six octaves.
    """
    number = np.arange(settings.octaves)
    # No image shows waves of less than a pixel.
    wavelengths = np.maximum(settings.wavelength * min(shape[:2]) / 2.0**number, 1.0)
    weights = settings.persistence**number
    weights = weights / np.sqrt(np.sum(weights**2) * VARIANCE)
    # A skewed coordinate changes by sqrt(2) at most for each unit of the plane. The pattern comes
    # again after `period` corners, more than an image shows.
    period = math.ceil(math.sqrt(2.0) * math.hypot(*shape[:2]) / wavelengths[-1]) + 3
    draw = functools.partial(_octave, size=shape[:2], period=period)
    of_octaves = jax.vmap(draw, in_axes=(0, 0))
    keys = jax.random.split(key, (shape[2], settings.octaves))
    given = jnp.asarray(wavelengths, jnp.float32)
    octaves = jax.vmap(of_octaves, in_axes=(0, None))(keys, given)
    return jnp.einsum("cohw,o->hwc", octaves, jnp.asarray(weights, jnp.float32))


def _octave(
    key: Key[Array, ""], wavelength: Float[Array, ""], *, size: tuple[int, ...], period: int
) -> Float[Array, "h w"]:
    """Simplex noise before scaling, in a random direction and from a random place on."""
    turn_key, place_key, gradient_key = jax.random.split(key, 3)
    angles = jax.random.uniform(gradient_key, (period * period,), maxval=2.0 * math.pi)
    x, y = _turned(turn_key, place_key, size, wavelength, period)
    column, row = (jnp.floor(z + SKEW * (x + y)).astype(jnp.int32) for z in (x, y))
    back = UNSKEW * (column + row).astype(jnp.float32)
    dx, dy = x - column.astype(jnp.float32) + back, y - row.astype(jnp.float32) + back
    right = (dx > dy).astype(jnp.int32)  # which of a square's two triangles
    corners = ((0 * right, 0 * right), (right, 1 - right), (0 * right + 1, 0 * right + 1))
    parts = [
        _corner(angles, period, (column + i, row + j), dx - _shift(i, j), dy - _shift(j, i))
        for i, j in corners
    ]
    return sum(parts[1:], parts[0])


def _turned(
    turn_key: Array, place_key: Array, size: tuple[int, ...], wavelength: Array, period: int
) -> tuple[Array, Array]:
    """Places of the pixels in the pattern's plane, [h, w] each."""
    angle = jax.random.uniform(turn_key, maxval=2.0 * math.pi)
    # Over a whole period of skewed coordinates, so that every place is equally likely.
    first, second = jax.random.uniform(place_key, (2,), maxval=float(period))
    down, right = (jnp.arange(n, dtype=jnp.float32) / wavelength for n in size)
    down, right = down[:, None], right[None]
    x = right * jnp.cos(angle) - down * jnp.sin(angle) + first - UNSKEW * (first + second)
    y = right * jnp.sin(angle) + down * jnp.cos(angle) + second - UNSKEW * (first + second)
    return x, y


def _shift(i: Array, j: Array) -> Array:
    """Distance along one axis of the plane between a lattice's corners, i of them along it."""
    return i.astype(jnp.float32) - UNSKEW * (i + j).astype(jnp.float32)


def _corner(
    angles: Array, period: int, corner: tuple[Array, Array], dx: Array, dy: Array
) -> Float[Array, "h w"]:
    """The part of each position's corner: its slope times a bump around it."""
    angle = angles[(corner[0] % period) * period + corner[1] % period]
    bump = jnp.maximum(REACH - jnp.square(dx) - jnp.square(dy), 0.0)
    slope = jnp.cos(angle) * dx + jnp.sin(angle) * dy
    return jnp.square(jnp.square(bump)) * slope


def make_noise(name: str, settings: Simplex) -> Draw:
    """The function that draws noise of the kind `name` for one image."""
    return {"gaussian": gaussian, "simplex": functools.partial(simplex, settings=settings)}[name]


NOISES = ("gaussian", "simplex")
