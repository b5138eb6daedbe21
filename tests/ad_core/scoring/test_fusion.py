"""Maps of several methods told as one."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.errors import UserError
from ad_core.scoring.fusion import SOFTNESS, Fusion, fit_fusion
from ad_core.scoring.localisation import MapScale, fit_scale

EVEN, WIDE = MapScale(0.0, 2.0, 1.0), MapScale(10.0, 50.0, 30.0)
FLAT = MapScale(0.0, 2e-6, 0.0)  # of a map that is 0 on every normal image


def height(x):
    return (x + np.sqrt(x * x + SOFTNESS)) / 2


def test_a_hand_drawn_case_is_the_geometric_mean_of_heights():
    maps = np.array([[[0.0, 1.0, 4.0, -9.0]], [[10.0, 30.0, 10.0, 90.0]]], np.float32)
    x = np.array([[0, 1, 4, -9], [0, 1, 0, 4]])
    expected = np.sqrt(height(x[0]) * height(x[1]))
    found = Fusion((EVEN, WIDE))(maps)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)
    assert found[0, 1] == pytest.approx(1.059, abs=1e-3)  # all at their level
    assert found[0, 3] < found[0, 0] < found[0, 2] < found[0, 1] * 2  # one alone is not enough


def test_leading_axes_and_devices_change_nothing():
    maps = np.random.default_rng(0).normal(size=(3, 2, 5, 4)).astype(np.float32)
    fusion = Fusion((EVEN, WIDE))
    whole = fusion(maps)
    assert whole.shape == (3, 5, 4)
    for one, each in zip(maps, whole, strict=True):
        np.testing.assert_array_equal(fusion(one), each)
    np.testing.assert_allclose(fusion(jnp.asarray(maps)), whole, rtol=1e-6)


def test_the_order_of_the_methods_does_not_matter_and_heat_is_never_lost():
    maps = np.random.default_rng(1).normal(size=(2, 9, 9)).astype(np.float32)
    one, other = Fusion((EVEN, WIDE))(maps), Fusion((WIDE, EVEN))(maps[::-1])
    np.testing.assert_allclose(one, other, rtol=1e-6)
    hotter = maps.copy()
    hotter[0] += 0.5
    assert (Fusion((EVEN, WIDE))(hotter) > one).all()


def test_a_method_that_has_learnt_nothing_does_not_count():
    maps = np.stack([np.linspace(-1, 2, 6), np.zeros(6)]).astype(np.float32)[:, None]
    np.testing.assert_allclose(Fusion((EVEN, FLAT))(maps)[0], height(maps[0, 0]), rtol=1e-6)
    np.testing.assert_array_equal(Fusion((FLAT, FLAT))(maps), maps[0])


def test_what_is_no_number_stays_none():
    maps = np.ones((2, 1, 3), np.float32)
    maps[1, 0, 1] = np.nan
    assert np.isnan(Fusion((EVEN, WIDE))(maps))[0].tolist() == [False, True, False]


def test_scales_are_those_of_each_map_on_normal_images():
    normal = list(np.random.default_rng(2).normal(size=(20, 2, 8, 8)).astype(np.float32))
    normal[3] = normal[3][:, :5]  # images need not be alike in size
    fusion = fit_fusion(normal, level_quantile=0.9)
    for number, scale in enumerate(fusion.scales):
        expected = fit_scale((one[number][None] for one in normal), level_quantile=0.9)
        assert scale == expected
    assert Fusion.from_list(json.loads(json.dumps(fusion.to_list()))) == fusion
    assert fit_fusion([one[:1] for one in normal], level_quantile=0.9) is None


def test_a_map_that_is_not_finite_is_refused():
    normal = np.ones((4, 2, 3, 3), np.float32)
    normal[2, 1, 0, 0] = np.inf
    with pytest.raises(UserError, match="4 given, 3 finite"):
        fit_fusion(list(normal), level_quantile=0.9)
