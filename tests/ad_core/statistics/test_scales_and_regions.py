import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from ad_core.errors import UserError
from ad_core.statistics import Context, compute, expand
from ad_core.statistics.regions import largest_component
from ad_core.types import View

SCALES = (*(f"residual_scale_{i}" for i in range(4)), "residual_scale_low")


def _scipy_blur(x):
    for axis in (0, 1):
        kernel = np.array([1, 4, 6, 4, 1]) / 16
        x = scipy.ndimage.correlate1d(x, kernel, axis=axis, mode="mirror")
    return x


def _band_shares(r):
    energies = []
    for _ in range(4):
        lower = _scipy_blur(r)[::2, ::2]
        spread = np.zeros_like(r)
        spread[::2, ::2] = lower
        energies.append(np.mean((r - 4 * _scipy_blur(spread)) ** 2))
        r = lower
    energies.append(np.mean(r**2))
    return np.array(energies) / (sum(energies) or 1.0)


def test_energy_by_scale_equals_a_pyramid_of_scipy(measure, pair):
    x, y = pair
    got = measure((*SCALES, "residual_energy", "sse"), x, y)
    r = x.astype(np.float64) - y
    expected = _band_shares(r)
    np.testing.assert_allclose([got[name] for name in SCALES], expected, atol=2e-6)
    np.testing.assert_allclose(got["residual_energy"], (r**2).sum(), rtol=2e-5)
    np.testing.assert_array_equal(got["sse"], got["residual_energy"])


def test_fine_and_coarse_residuals_lie_in_their_bands(measure):
    rows, columns = np.indices((64, 64))
    checks = ((rows + columns) % 2 * 2 - 1.0)[..., None].astype(np.float32)
    flat = np.full_like(checks, 0.5)
    zero = np.zeros_like(checks)
    assert measure(SCALES, checks, zero)["residual_scale_0"] > 0.95
    assert measure(SCALES, flat, zero)["residual_scale_low"] == pytest.approx(1.0)
    assert sum(measure(SCALES, zero, zero).values()) == 0.0


def test_images_too_small_for_all_bands_give_zeros_there(measure):
    x = np.eye(4, dtype=np.float32)[..., None]
    got = measure(SCALES, x, np.zeros_like(x))
    assert got["residual_scale_1"] == got["residual_scale_3"] == 0.0
    assert sum(got.values()) == pytest.approx(1.0)


def _spiral(side):
    """One long path: the slowest shape to connect."""
    image = np.zeros((side, side), bool)
    top, left, bottom, right = 0, 0, side - 1, side - 1
    image[0, :] = image[:, -1] = image[-1, :] = True
    while right - left > 3:
        left, top = left, top + 2
        image[top : bottom + 1, left] = True
        image[top, left : right - 1] = True
        right, bottom = right - 2, bottom - 2
        image[top : bottom + 1, right] = True
        left += 2
        image[bottom, left : right + 1] = True
    return image


def _largest_of_scipy(mask):
    labels, count = scipy.ndimage.label(mask, structure=np.ones((3, 3)))
    return max((np.sum(labels == i) for i in range(1, count + 1)), default=0)


def test_largest_component_equals_scipy():
    rng = np.random.default_rng(0)
    masks = [rng.uniform(size=(33, 33)) < p for p in (0.0, 0.05, 0.2, 0.3, 0.4, 0.7, 1.0)]
    masks += [_spiral(33), np.indices((33, 33)).sum(axis=0) % 2 == 0]
    got = jax.jit(largest_component)(jnp.asarray(np.stack(masks)))
    np.testing.assert_array_equal(got, [_largest_of_scipy(mask) for mask in masks])


def test_areas_above_the_levels_of_normals(measure):
    context = Context(residual_levels=jnp.asarray([0.1, 0.2, 0.4]))
    rng = np.random.default_rng(0)
    x = rng.uniform(-0.4, 0.4, (16, 20, 3)).astype(np.float32)
    y = np.zeros_like(x)
    size = np.abs(x).mean(axis=-1)
    expected = {
        "residual_area_above_q90": np.mean(size > 0.1),
        "residual_area_above_q99": np.mean(size > 0.2),
        "residual_area_above_q999": np.mean(size > 0.4),
        "residual_largest_area": _largest_of_scipy(size > 0.2) / size.size,
    }
    assert measure(tuple(expected), x, y, context) == pytest.approx(expected)


def test_areas_need_the_levels_of_normals():
    assert "residual_largest_area" not in expand("all")
    with pytest.raises(UserError, match="residual_levels"):
        x = jnp.zeros((1, 8, 8, 1))
        compute("residual_largest_area", x, View(x, {}, {}))
