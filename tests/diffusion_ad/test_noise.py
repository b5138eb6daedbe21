"""Simplex noise against what follows of its definition, and against NumPy."""

import functools

import jax
import numpy as np
import pytest

from diffusion_ad.noise import (
    REACH,
    SKEW,
    UNSKEW,
    VARIANCE,
    Simplex,
    make_noise,
    simplex,
)

ONE = Simplex(wavelength=0.25, octaves=1, persistence=0.8)
KEYS = jax.random.split(jax.random.key(3), 1000)


@functools.cache
def program(settings):
    return jax.jit(jax.vmap(functools.partial(simplex, shape=(24, 24, 1), settings=settings)))


@functools.cache
def sample(settings):
    """[n, h, w]."""
    return np.asarray(program(settings)(KEYS))[..., 0]


def correlation(distance):
    """Of one octave, in wavelengths: the corners' parts overlap; by a sum over a fine grid."""
    x, y = np.meshgrid(*[np.arange(-1.6, 1.6, 0.004)] * 2, indexing="ij")

    def bump(x):
        return np.maximum(REACH - x**2 - y**2, 0) ** 4

    moved = x - distance
    overlap = bump(x) * bump(moved) * (x * moved + y**2) / 2
    return np.sqrt(3) * np.sum(overlap) * 0.004**2 / VARIANCE


def test_skewing_there_and_back_is_the_identity():
    x, y = 1.3, -0.4
    u, v = x + SKEW * (x + y), y + SKEW * (x + y)
    assert (u - UNSKEW * (u + v), v - UNSKEW * (u + v)) == pytest.approx((x, y))
    # A corner's part ends where the other two corners' line begins.
    corners = np.array([[0, 0], [1 - UNSKEW, -UNSKEW], [1 - 2 * UNSKEW, 1 - 2 * UNSKEW]])
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
    np.testing.assert_allclose(sides, np.sqrt(2 / 3))
    assert 3 / 4 * sides[0] ** 2 == pytest.approx(REACH)


def test_the_closed_form_of_the_variance_is_the_integral():
    assert correlation(0.0) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("settings", [ONE, Simplex()], ids=["one octave", "six"])
def test_every_position_has_mean_zero_and_variance_one(settings):
    found = sample(settings)
    # Sample means of 1000 draws have a deviation of 0.032, the largest of 576 is some four of them.
    assert np.abs(found.mean(axis=0)).max() < 0.16
    assert np.abs(found.var(axis=0) - 1).max() < 0.24
    assert found.mean() == pytest.approx(0.0, abs=0.03)
    assert found.var() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("lag", [1, 3, 6, 9])
def test_values_are_correlated_by_distance_alone_as_the_definition_says(lag):
    found = sample(ONE)
    expected = correlation(lag / 6)  # the wavelength is a quarter of 24 pixels
    down = np.mean(found[:, lag:] * found[:, :-lag])
    right = np.mean(found[:, :, lag:] * found[:, :, :-lag])
    assert down == pytest.approx(expected, abs=0.04)
    assert right == pytest.approx(expected, abs=0.04)
    if lag % 3 == 0:  # 3, 4, 5: as far, in a slanting direction
        a, b = (round(lag * side / 5) for side in (3, 4))
        slanting = np.mean(found[:, a:, b:] * found[:, :-a, :-b])
        assert slanting == pytest.approx(correlation(np.hypot(a, b) / 6), abs=0.04)


def test_octaves_add_finer_and_finer_detail():
    """Power of AnoDDPM's six octaves falls with frequency, that of Gaussian noise does not."""
    white = np.asarray(jax.random.normal(jax.random.key(0), (1000, 24, 24)))
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(24) * 24] * 2))
    rings = [(frequency >= low) & (frequency < 2 * low) for low in (3, 6)]
    rows = []
    for found in (sample(Simplex()), white):
        power = np.mean(np.abs(np.fft.fft2(found)) ** 2, axis=0) / 24**2
        rows.append([power[ring].mean() for ring in rings])
    assert rows[0][0] > 2 * rows[0][1] > 0.2
    np.testing.assert_allclose(rows[1], 1.0, atol=0.1)


def test_values_stay_below_the_largest_that_corners_can_give():
    """Next to a corner whose gradient, as its neighbours', points along the line to the value."""
    rim = np.linspace(0, 1, 2001)
    # One corner's part at most: bump^4 r at r^2 = REACH / 9; three of them cannot exceed thrice.
    most = 3 * np.max(np.maximum(REACH - rim**2, 0) ** 4 * rim)
    weights = 0.8 ** np.arange(6)
    bound = most * weights.sum() / np.sqrt((weights**2).sum() * VARIANCE)
    assert np.abs(sample(Simplex())).max() < bound
    assert np.abs(sample(Simplex())).max() < 4.3


def test_one_octave_equals_numpy():
    """The same corners, gradients and places, one position at a time."""
    shape, key = (5, 7, 1), jax.random.key(11)
    octave = jax.random.split(key, (1, 1))[0, 0]
    turn_key, place_key, gradient_key = jax.random.split(octave, 3)
    wavelength = 0.6 * 5
    period = int(np.ceil(np.sqrt(2) * np.hypot(5, 7) / wavelength)) + 3
    angles = np.asarray(jax.random.uniform(gradient_key, (period**2,), maxval=2 * np.pi), float)
    turn = float(jax.random.uniform(turn_key, maxval=2 * np.pi))
    place = np.asarray(jax.random.uniform(place_key, (2,), maxval=float(period)), float)
    origin = place - UNSKEW * place.sum()

    def value(row, column):
        right, down = column / wavelength, row / wavelength
        x = right * np.cos(turn) - down * np.sin(turn) + origin[0]
        y = right * np.sin(turn) + down * np.cos(turn) + origin[1]
        total = 0.0
        for i in range(-20, 40):
            for j in range(-20, 40):
                dx, dy = x - (i - UNSKEW * (i + j)), y - (j - UNSKEW * (i + j))
                angle = angles[(i % period) * period + j % period]
                bump = max(REACH - dx**2 - dy**2, 0.0)
                total += bump**4 * (np.cos(angle) * dx + np.sin(angle) * dy)
        return total / np.sqrt(VARIANCE)

    settings = Simplex(wavelength=0.6, octaves=1, persistence=0.5)
    found = jax.jit(lambda key: simplex(key, shape, settings=settings))(key)[..., 0]
    for row, column in [(0, 0), (4, 6), (2, 3), (1, 5)]:
        assert found[row, column] == pytest.approx(value(row, column), abs=2e-3)


def test_a_key_gives_the_same_bits_in_any_row_among_any_others():
    order = np.random.default_rng(0).permutation(1000)
    turned = np.asarray(program(ONE)(KEYS[order]))[..., 0]
    np.testing.assert_array_equal(turned, sample(ONE)[order])
    others = jax.random.split(jax.random.key(4), 1000).at[7].set(KEYS[3])
    found = np.asarray(program(ONE)(others))[..., 0]
    np.testing.assert_array_equal(found[7], sample(ONE)[3])
    assert np.abs(found[6] - sample(ONE)[6]).mean() > 0.1


def test_channels_are_independent():
    keys = KEYS[:400]
    for name in ("gaussian", "simplex"):
        draw = functools.partial(make_noise(name, ONE), shape=(8, 8, 2))
        found = np.asarray(jax.jit(jax.vmap(draw))(keys))
        assert np.mean(found[..., 0] * found[..., 1]) == pytest.approx(0.0, abs=0.06)
