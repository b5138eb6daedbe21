import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ad_core.data.formats.resizing import place
from ad_core.errors import UserError
from ad_core.scoring.localisation import (
    MapScale,
    anomaly_map,
    blur,
    fit_scale,
    places_in_words,
    regions,
)
from ad_core.types import Placement


@pytest.mark.parametrize("sigma_px", [0.3, 1.0, 2.5, 7.0])
@pytest.mark.parametrize("shape", [(24, 24), (17, 40), (9, 12)])
def test_blur_equals_scipys_gaussian_filter(key, sigma_px, shape):
    maps = np.asarray(jax.random.uniform(key, (2, *shape)))
    expected = [ndimage.gaussian_filter(m, sigma_px, mode="reflect", truncate=4) for m in maps]
    blurred = blur(jnp.asarray(maps), sigma_px=sigma_px)
    # float32 sums of at most 57 weights that add up to 1.
    np.testing.assert_allclose(blurred, np.stack(expected), atol=2e-6)


def test_anomaly_map_of_a_hand_drawn_residual_is_its_mean_over_channels():
    image = jnp.zeros((1, 2, 2, 3)).at[0, 0, 1].set(jnp.array([1.0, -1.0, 0.4]))
    expected = np.array([[[0.0, 0.8], [0.0, 0.0]]])
    np.testing.assert_allclose(
        anomaly_map(image, jnp.zeros_like(image), sigma_px=0.0), expected, atol=1e-7
    )


def test_anomaly_map_under_jit_equals_the_one_without(key):
    image, other = jax.random.uniform(key, (2, 3, 16, 16, 1), minval=-1.0)
    compiled = jax.jit(anomaly_map, static_argnames="sigma_px")(image, other, sigma_px=1.0)
    np.testing.assert_allclose(compiled, anomaly_map(image, other, sigma_px=1.0), atol=1e-6)


def test_anomaly_map_of_bfloat16_images_is_float32():
    image = jnp.full((1, 4, 4, 1), 0.5, jnp.bfloat16)
    assert anomaly_map(image, -image, sigma_px=1.0).dtype == jnp.float32


@settings(deadline=None, max_examples=20)
@given(value=st.floats(0, 2, width=32), sigma_px=st.floats(0.1, 4))
def test_blur_leaves_a_flat_map_as_it_is(value, sigma_px):
    flat = jnp.full((1, 8, 8), value, jnp.float32)
    # XLA flushes subnormal numbers to zero.
    np.testing.assert_allclose(blur(flat, sigma_px=sigma_px), flat, rtol=1e-5, atol=1e-37)


def _hand_drawn():
    """A map of 8 x 10: a bar of 6 pixels, a diagonal of 2, a lone pixel, noise below 0.5."""
    drawn = np.full((8, 10), 0.4, np.float32)
    drawn[1:3, 2:5] = 0.75
    drawn[1, 3] = 1.5
    drawn[5, 7] = drawn[6, 8] = 2.0
    drawn[7, 0] = 0.9
    return drawn


def onto(width, height, across=0, down=0):
    """A map of across x down pixels (of the same size without) stretched onto an image."""
    content = (0, 0, across or width, down or height)
    return Placement(width, height, (content[3], content[2]), (0, 0, width, height), content)


def test_regions_of_a_letterboxed_map_lie_in_the_image_and_none_in_its_mirror():
    drawn = np.zeros((8, 8), np.float32)
    drawn[1, :] = 1  # the mirror of row 2, above the content of rows 2 to 6
    drawn[2, 0:2] = drawn[5, 7] = 2
    found = regions(
        drawn, level=0.5, min_area=0.0, placement=place(80, 40, size=8, resize="letterbox")
    )
    assert [(r["x"], r["y"], r["width"], r["height"], r["area"]) for r in found] == [
        (0, 0, 20, 10, 200),
        (70, 30, 10, 10, 100),
    ]


def test_regions_of_a_centre_crop_are_moved_by_it():
    drawn = np.zeros((8, 8), np.float32)
    drawn[0, 7] = 1
    found = regions(
        drawn, level=0.5, min_area=0.0, placement=place(30, 16, size=8, resize="centre_crop")
    )
    # The crop is the 16 columns from 7 on; its last cell covers columns 21 and 22.
    assert [(r["x"], r["y"], r["width"], r["height"], r["area"]) for r in found] == [
        (21, 0, 2, 2, 4)
    ]


def test_regions_of_a_hand_drawn_map_stand_in_pixels_of_the_original():
    found = regions(_hand_drawn(), level=0.5, min_area=0.02, placement=onto(25, 16, 10, 8))
    assert found == [
        # Columns 7 and 8 of 10 are pixels 17.5 to 22.5 of 25, rows 5 and 6 are 10 to 14.
        {"x": 17, "y": 10, "width": 6, "height": 4, "area": 10, "peak": 2.0, "mean": 2.0},
        {"x": 5, "y": 2, "width": 8, "height": 4, "area": 30, "peak": 1.5, "mean": 0.875},
    ]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_regions_keep_small_ones_when_asked_to():
    found = regions(_hand_drawn(), level=0.5, min_area=0.0, placement=onto(10, 8))
    assert [region["area"] for region in found] == [2, 6, 1]
    assert found[2] == pytest.approx(
        {"x": 0, "y": 7, "width": 1, "height": 1, "area": 1, "peak": 0.9, "mean": 0.9}
    )


def test_regions_agree_with_scipy_on_a_random_map(key):
    field = np.asarray(blur(jax.random.uniform(key, (1, 40, 40)), sigma_px=1.0))[0]
    found = regions(field, level=0.55, min_area=0.0, placement=onto(40, 40))
    labelled, count = ndimage.label(field > 0.55, structure=np.ones((3, 3)))
    sizes = ndimage.sum_labels(field > 0.55, labelled, np.arange(1, count + 1))
    assert count > 3
    assert sorted(region["area"] for region in found) == sorted(sizes)
    assert [region["peak"] for region in found] == sorted(
        ndimage.maximum(field, labelled, np.arange(1, count + 1)), reverse=True
    )


def test_a_region_lies_strictly_above_the_level():
    assert regions(np.full((4, 4), 0.5), level=0.5, min_area=0.0, placement=onto(4, 4)) == []


def test_pixels_that_are_not_finite_belong_to_no_region():
    broken = np.full((4, 4), np.nan, np.float32)
    broken[0, 0], broken[3, 3] = np.inf, 1.0
    found = regions(broken, level=0.5, min_area=0.0, placement=onto(4, 4))
    assert [(region["x"], region["y"], region["area"]) for region in found] == [(3, 3, 1)]


def test_scale_of_hand_drawn_maps_has_the_level_at_its_middle():
    maps = np.zeros((5, 4, 4), np.float32) + 0.1
    maps[:, 0, 0] = [0.2, 0.3, 0.4, 0.5, 0.6]
    scale = fit_scale([maps[:2], maps[2:]], level_quantile=0.66)  # the fourth: 0.66 of 6 is 3.96
    assert scale == pytest.approx((0.1, 0.9, 0.5))
    np.testing.assert_allclose(scale.position(np.array([0.0, 0.3, 0.5])), [0.0, 0.25, 0.5], 1e-6)


def test_each_doubling_beyond_the_level_takes_a_third_of_the_hot_half():
    scale = MapScale(low=1.0, high=3.0, level=2.0)
    values = np.array([2.0, 3.0, 5.0, 9.0, 99.0])  # 1, 2, 4, 8 and more times the level's height
    np.testing.assert_allclose(scale.position(values), [1 / 2, 2 / 3, 5 / 6, 1, 1], rtol=1e-6)
    whole = MapScale(low=0.0, high=4.0, level=4.0)  # no room beyond: all is in proportion
    np.testing.assert_allclose(whole.position(np.array([-1.0, 1.0, 4.0, 9.0])), [0, 0.25, 1, 1])


def test_the_level_of_a_scale_is_the_conformal_rank_of_the_normals_maxima(key):
    maps = np.asarray(jax.random.uniform(key, (50, 6, 6)))
    scale = fit_scale([maps], level_quantile=0.9)
    assert scale.level == np.sort(maps.max(axis=(1, 2)))[45]  # ceil(51 * 0.9) is 46
    shown = [regions(m, level=scale.level, min_area=0.0, placement=onto(6, 6)) for m in maps]
    assert sum(bool(found) for found in shown) == 4
    few = fit_scale([maps[:8]], level_quantile=0.9)  # 0.9 of 9 is more than 8
    assert few.level == maps[:8].max()
    assert fit_scale([maps[:9]], level_quantile=0.9).level == maps[:9].max()


@pytest.mark.parametrize("count", [9, 19, 36])
def test_of_normal_images_to_come_the_stated_share_shows_no_region(count):
    rng = np.random.default_rng(0)
    shown = [
        rng.gumbel() > fit_scale([rng.gumbel(size=(count, 1, 1))], level_quantile=0.9).level
        for _ in range(2000)
    ]
    assert np.mean(shown) <= 0.1 + 3 * np.sqrt(0.09 / 2000)
    assert np.mean(shown) > 0.05  # and not much rarer: the level is no higher than it must be


def test_maps_of_one_scale_may_have_several_sizes():
    wide, high = np.full((1, 4, 8), 0.1, np.float32), np.full((2, 8, 3), 0.2, np.float32)
    assert fit_scale([wide, high], level_quantile=0.5).level == pytest.approx(0.2)


def test_flat_maps_of_a_perfect_reconstruction_still_give_a_scale():
    scale = fit_scale([np.zeros((3, 4, 4), np.float32)], level_quantile=0.995)
    assert scale.low == scale.level == 0 and scale.high > 0
    assert (scale.position(np.zeros((4, 4))) == 0).all()


@pytest.mark.parametrize("maps", [[], [np.full((2, 4, 4), np.nan)]])
def test_scale_refuses_maps_that_tell_nothing(maps):
    with pytest.raises(UserError, match="calibration normals"):
        fit_scale(maps, level_quantile=0.9)


def test_a_value_that_is_not_a_number_stands_at_the_hot_end():
    position = MapScale(0.0, 1.0, 0.5).position(np.array([np.nan, -np.inf, np.inf]))
    np.testing.assert_array_equal(position, [1, 0, 1])


def test_scale_survives_json():
    scale = MapScale(low=0.1, high=0.7, level=0.4)
    assert MapScale.from_dict(json.loads(json.dumps(scale.to_dict()))) == scale


def test_places_are_said_in_words():
    found = regions(_hand_drawn(), level=0.5, min_area=0.0, placement=onto(25, 16, 10, 8))
    said = "3 places stand out, the strongest: 6 x 4 px at x 17, y 10"
    assert places_in_words(found, inspected=True) == said
    assert (
        places_in_words(found[:1], inspected=False) == "1 place stands out: 6 x 4 px at x 17, y 10"
    )
    assert places_in_words([], inspected=False) == "no place stands out"
    whole = "no place stands out; the image as a whole does"
    assert places_in_words([], inspected=True) == whole
