"""Shapes by closed forms and hand-drawn cases."""

import numpy as np
import pytest
from scipy import ndimage

from ad_core.data.synthetic import shapes


def test_ellipse_has_the_area_of_the_closed_form():
    mask = shapes.ellipse((200, 160), (90.0, 70.0), (30.0, 50.0), 0.7)
    assert mask.sum() == pytest.approx(np.pi * 30 * 50, rel=0.01)
    assert mask[90, 70]


def test_straight_stroke_is_as_wide_as_asked():
    mask = shapes.stroke((9, 12), ((4, 2), (4, 5), (4, 8)), 3.0)
    expected = np.zeros((9, 12), bool)
    expected[3:6, 2:9] = True
    expected[4, [1, 9]] = True  # round ends
    np.testing.assert_array_equal(mask, expected)


def test_thin_stroke_is_the_curve_itself():
    mask = shapes.stroke((5, 5), ((0, 0), (2, 2), (4, 4)), 0.2)
    np.testing.assert_array_equal(mask, np.eye(5, dtype=bool))


@pytest.mark.parametrize("shape", [(64, 64), (30, 50), (1, 7)])
def test_perlin_noise_is_zero_at_the_corners_of_its_cells_and_in_range(shape):
    noise = shapes.perlin(shape, (2, 5), np.random.default_rng(0))
    assert noise.shape == shape and np.abs(noise).max() <= 1.0
    corners = noise[:: max(shape[0] // 2, 1), :: max(shape[1] // 5, 1)]
    if shape[0] % 2 == 0 and shape[1] % 5 == 0:
        np.testing.assert_allclose(corners, 0.0, atol=1e-12)


def test_perlin_noise_of_one_cell_is_the_formula():
    noise = shapes.perlin((4, 4), (1, 1), np.random.default_rng(5))
    angle = np.random.default_rng(5).uniform(0, 2 * np.pi, (2, 2))
    for i, y in enumerate(np.arange(4) / 4):
        for j, x in enumerate(np.arange(4) / 4):
            dots = {
                (a, b): np.cos(angle[a, b]) * (y - a) + np.sin(angle[a, b]) * (x - b)
                for a in (0, 1)
                for b in (0, 1)
            }
            u, v = (6 * t**5 - 15 * t**4 + 10 * t**3 for t in (y, x))
            above = (1 - v) * dots[0, 0] + v * dots[0, 1]
            below = (1 - v) * dots[1, 0] + v * dots[1, 1]
            assert noise[i, j] == pytest.approx(np.sqrt(2) * ((1 - u) * above + u * below))


def test_island_is_one_connected_part_that_is_large_enough():
    mask = np.zeros((10, 10), bool)
    mask[1:4, 1:4] = mask[6, 6] = mask[8:, 1:9] = True
    for seed in range(5):
        island = shapes.one_island(mask, np.random.default_rng(seed), least=4)
        assert (
            ndimage.label(island)[1] == 1 and island.sum() in (9, 16) and not (island & ~mask).any()
        )
    assert not shapes.one_island(mask, np.random.default_rng(0), least=17).any()


@pytest.mark.parametrize(("shape", "expected"), [((100, 100), (20, 20)), ((3, 3), (2, 2))])
def test_box_has_its_share_of_the_area(shape, expected):
    assert shapes.box_of(shape, area=0.04, aspect=1.0) == expected
    assert shapes.box_of((1, 1), area=0.5, aspect=3.0) == (1, 1)
