import numpy as np
import pytest

from ad_core.data.phantoms import canvas


def test_a_mask_keeps_half_covered_pixels_and_never_vanishes():
    mask = np.zeros((8, 8), bool)
    mask[0:2, 0:2] = True  # covers the first of 4 x 4 blocks by a quarter
    assert canvas.reduce_mask(mask, 2).tolist() == [[True, False], [False, False]]
    mask[4:8, 4:6] = True  # covers the last by half
    assert canvas.reduce_mask(mask, 2).tolist() == [[False, False], [False, True]]
    assert not canvas.reduce_mask(np.zeros((8, 8), bool), 2).any()


def test_smooth_noise_has_unit_variance_and_no_seam():
    noise = canvas.smooth_noise(np.random.default_rng(1), (512, 512), (0.7, 2.0))
    assert noise.std() == pytest.approx(1, abs=0.02)  # some 10^5 independent values
    inside = np.abs(noise[:, 1] - noise[:, 0]).mean()
    assert np.abs(noise[:, 0] - noise[:, -1]).mean() == pytest.approx(inside, rel=0.2)


def test_levels_are_those_of_a_stored_image():
    image = canvas.to_levels(np.array([[-1.0, 0.0], [1.0, 7.0]], np.float32))
    np.testing.assert_array_equal(image[:, :, 0], [[-1, -1], [1, 1]])
    grey = canvas.to_levels(np.linspace(0, 1, 300, dtype=np.float32)[None])
    assert len(np.unique(grey)) == 256


def test_enlarging_keeps_the_nodes_and_is_linear_between():
    field = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
    large = canvas.enlarge(field, 4)
    np.testing.assert_allclose(large[::2, ::2], field)
    np.testing.assert_allclose(large[0], [0, 0.5, 1, 0.5])  # periodic: back towards node 0


@pytest.mark.parametrize(("size", "side"), [(1, 256), (64, 256), (256, 256), (257, 512)])
def test_the_canvas_holds_the_image(size, side):
    assert canvas.canvas_side(size) == side
