import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.networks.patches import (
    SmoothUnpatchify,
    bicubic_weights,
    double_linearly,
    patchify,
    resize_grid,
    sincos_positions,
    unpatchify,
)
from tests.quick import compiled, drawn_params


def test_a_patch_is_the_row_of_its_pixels():
    image = np.arange(4 * 6 * 2, dtype=np.float32).reshape(1, 4, 6, 2)
    patches = patchify(jnp.asarray(image), 2)
    assert patches.shape == (1, 2, 3, 8)
    np.testing.assert_array_equal(patches[0, 1, 2], image[0, 2:4, 4:6].ravel())


@pytest.mark.parametrize(
    "patch, shape", [(1, (1, 3, 2, 1)), (4, (2, 8, 12, 3)), (7, (1, 7, 14, 2))]
)
def test_unpatchify_is_the_exact_inverse_of_patchify_both_ways(key, patch, shape):
    image = jax.random.normal(key, shape)
    patches = patchify(image, patch)
    np.testing.assert_array_equal(unpatchify(patches, patch), image)
    np.testing.assert_array_equal(patchify(unpatchify(patches, patch), patch), patches)


def test_an_image_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"\(8 x 9\) must be divisible by `patch` \(=4\)"):
        patchify(jnp.zeros((1, 8, 9, 1)), 4)


def test_doubling_is_linear_interpolation(key):
    x = jax.random.normal(key, (2, 3, 5, 2))
    expected = jax.image.resize(x, (2, 6, 10, 2), "linear")
    np.testing.assert_allclose(double_linearly(x), expected, atol=1e-6)


def unpatchified(grid, patch=8):
    """A smooth un-patchify whose weights are drawn, biases too."""
    module = SmoothUnpatchify(patch, features=4)
    params = drawn_params(module, grid)
    return np.asarray(compiled(module.apply)(params, grid))


def steps(image, patch):
    """Largest step between two columns at the borders of patches, and elsewhere; image inside."""
    inside = image[:, patch:-patch, patch:-patch]
    step = np.abs(np.diff(inside, axis=2)).max(axis=(0, 1, 3))
    at_border = np.arange(1, len(step) + 1) % patch == 0
    return step[at_border].max(), step[~at_border].max()


def test_a_linear_grid_gives_no_step_at_the_borders_of_patches(key):
    """Where each patch is computed of its own token the steps there are many times the others."""
    slope = jax.random.normal(key, (1, 1, 1, 16))
    grid = slope * (0.2 * jnp.arange(6.0)).reshape(1, 1, 6, 1) * jnp.ones((1, 6, 1, 1))
    border, elsewhere = steps(unpatchified(grid), 8)
    assert border <= 1.05 * elsewhere and elsewhere > 1e-3
    rows = jax.random.normal(key, (16, 4))[:, None] * jnp.ones((1, 64, 1))  # each patch flat
    torn = unpatchify(grid @ rows.reshape(16, 256), 8)
    border, elsewhere = steps(np.asarray(torn), 8)
    assert border > 100 * elsewhere


def test_a_patch_of_one_pixel_needs_no_doubling_and_three_is_refused(key):
    grid = jnp.zeros((1, 4, 4, 8))
    out, _ = jax.eval_shape(SmoothUnpatchify(1, features=2).init_with_output, key, grid)
    assert out.shape == (1, 4, 4, 2)
    with pytest.raises(ValueError, match=r"`patch` \(=3\) must be a power of two"):
        SmoothUnpatchify(3, features=2).init(key, grid)


def test_positions_are_the_sines_and_cosines_of_row_and_column():
    found = sincos_positions(5, 7, 8)
    row, column = 3, 6
    rates = [1.0, 0.01]  # 10,000 ** -(0/2), ** -(1/2)
    expected = [f(p * r) for p in (row, column) for f in (np.sin, np.cos) for r in rates]
    np.testing.assert_allclose(found[row, column], expected, atol=1e-6)
    np.testing.assert_array_equal(sincos_positions(9, 9, 8)[:5, :7], found)
    with pytest.raises(ValueError, match=r"`width` \(=6\) must be divisible by 4"):
        sincos_positions(2, 2, 6)


def test_learnt_positions_at_their_own_size_are_themselves(key):
    grid = jax.random.normal(key, (5, 7, 3))
    np.testing.assert_array_equal(resize_grid(grid, 5, 7, offset=0.1), grid)
    np.testing.assert_allclose(bicubic_weights(5, 5), np.eye(5), atol=1e-6)


@pytest.mark.parametrize("new", [3, 8, 11])
def test_bicubic_weights_keep_constants_and_inside_also_ramps(new):
    weights = bicubic_weights(12, new).astype(np.float64)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)
    place = (np.arange(new) + 0.5) * 12 / new - 0.5
    inside = (place >= 1) & (place <= 10)
    # With a slope of -0.75 ramps are kept between centres to 0.024 of a step.
    np.testing.assert_allclose((weights @ np.arange(12.0))[inside], place[inside], atol=0.05)
