"""What normal maps are at each position, and maps that are told by it."""

import numpy as np
import pytest

from ad_core.errors import UserError
from ad_core.runtime.inference import Begun
from ad_core.scoring.files import PROFILE, _read_profile
from ad_core.scoring.measuring import Measured, Measurer
from ad_core.scoring.profile import (
    FLOOR,
    KINDS,
    PRIOR,
    Moments,
    NormalMaps,
    Profile,
    fit_profile,
    told,
)

SIDE = 16
WHOLE = (0, 0, SIDE, SIDE)


def maps(count, seed=0):
    """Normal maps of even noise around 1."""
    return np.random.default_rng(seed).normal(1.0, 0.1, (count, SIDE, SIDE)).astype(np.float32)


def bordered(count, seed=0):
    """The same with a hot border, two pixels wide."""
    found = maps(count, seed) + 2.0
    found[:, 2:-2, 2:-2] -= 2.0
    return found


def moments_of(shown, content=WHOLE):
    moments = Moments.nothing((SIDE, SIDE))
    for one in shown:
        moments = moments.add(one, content)
    return moments


def gathered(shown, groups=None):
    normal = NormalMaps()
    for number, one in enumerate(shown):
        normal.add(one, WHOLE, group=str(number if groups is None else groups[number]))
    return normal


def test_moments_are_numpys_mean_and_variance_at_each_position():
    shown = bordered(7)
    moments = moments_of(shown)
    np.testing.assert_allclose(moments.mean, shown.mean(axis=0, dtype=np.float64), rtol=1e-12)
    scatter = shown.astype(np.float64).var(axis=0) * 7
    np.testing.assert_allclose(moments.scatter, scatter, rtol=1e-9)


def test_moments_without_a_map_are_those_of_the_others():
    shown = bordered(6)
    left = moments_of(shown).without(shown[2], WHOLE)
    for found, expected in zip(left, moments_of(np.delete(shown, 2, axis=0)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    for found in moments_of(shown[:1]).without(shown[0], WHOLE):
        assert (found == 0).all()


@pytest.mark.parametrize("kind", ["mean", "deviation"])
def test_a_border_that_is_hot_on_all_normals_vanishes_and_a_planted_spot_is_hottest(kind):
    profile = fit_profile(moments_of(bordered(40)), kind)
    defect = bordered(1, seed=9)[0]
    defect[6, 9] += 1.0
    assert defect[6, 9] < defect[:2].min()  # as it is, every place of the border is hotter
    told = profile(defect)
    assert np.unravel_index(told.argmax(), told.shape) == (6, 9)


def test_a_busy_place_is_less_hot_for_the_same_excess():
    shown = maps(60)
    shown[:, 4, 4] = 1.0 + 4.0 * (shown[:, 4, 4] - 1.0)
    image = np.ones((SIDE, SIDE), np.float32)
    image[4, 4] = image[10, 10] = 1.4
    by_mean, by_deviation = (fit_profile(moments_of(shown), kind)(image) for kind in KINDS[1:])
    assert by_mean[4, 4] == pytest.approx(by_mean[10, 10], abs=0.6)
    assert by_deviation[4, 4] < 0.5 * by_deviation[10, 10]


def test_a_position_is_trusted_by_the_share_of_its_images_beside_the_prior():
    shown = np.ones((5, SIDE, SIDE))
    shown[:, 0, 0] = 9.0
    shown[0, 1:3, 1:3] += 0.5  # so that there is a deviation
    moments = moments_of(shown)
    profile = fit_profile(moments, "deviation")
    level = shown.mean()
    share = 5 / (5 + PRIOR)
    assert profile.mean[0, 0] == pytest.approx(level + share * (9.0 - level), rel=1e-6)
    pooled = shown.var(axis=0, ddof=1).mean()
    own = shown[:, 1, 1].var(ddof=1)
    expected = np.sqrt(pooled + share * (own - pooled))
    assert profile.deviation[1, 1] == pytest.approx(expected, rel=1e-6)
    still = np.sqrt(max((1 - share) * pooled, FLOOR**2 * pooled))
    assert profile.deviation[0, 0] == pytest.approx(still, rel=1e-6)
    assert profile.deviation.min() >= FLOOR * np.sqrt(pooled) * (1 - 1e-6)


def test_what_a_letterbox_mirrors_around_an_image_never_counts():
    shown, content = bordered(12)[:, 4:12], (0, 4, SIDE, 12)
    moments = moments_of(shown, content)
    assert (moments.count[:4] == 0).all() and (moments.count[4:12] == 12).all()
    profile = fit_profile(moments, "deviation")
    level, pooled = shown.mean(dtype=np.float64), shown.var(axis=0, ddof=1).mean()
    np.testing.assert_allclose(profile.mean[:4], level, rtol=1e-5)
    np.testing.assert_allclose(profile.deviation[12:], np.sqrt(pooled), rtol=1e-4)
    filled = np.full((12, SIDE, SIDE), 1e6, np.float32)
    filled[:, 4:12] = shown
    normal = NormalMaps()
    for number, one in enumerate(filled):
        normal.add(one, content, group=str(number))
    found, scale = normal.fit(kind="deviation", level_quantile=0.9)
    np.testing.assert_array_equal(found.mean, profile.mean)
    assert scale.level < 100


def test_the_scale_is_that_of_images_which_have_added_nothing_to_the_profile():
    shown = bordered(9)
    _, scale = gathered(shown, groups="aabbccdde").fit(kind="mean", level_quantile=0.9)
    told = []
    for members in ([0, 1], [2, 3], [4, 5], [6, 7], [8]):
        profile = fit_profile(moments_of(np.delete(shown, members, axis=0)), "mean")
        told.extend(profile(shown[members]).max(axis=(1, 2)))
    assert scale.level == pytest.approx(max(told), rel=1e-5)  # 0.9 of 10 is the ninth of nine


@pytest.mark.parametrize("count", [1, 2])
def test_of_fewer_than_three_normals_maps_stay_as_they_are(count):
    shown = bordered(count)
    profile, scale = gathered(shown).fit(kind="deviation", level_quantile=0.9)
    assert profile is None and scale.level == shown.max()


def test_maps_that_are_all_the_same_lose_their_mean_alone():
    profile = fit_profile(moments_of(np.full((50, SIDE, SIDE), 0.25)), "deviation")
    np.testing.assert_array_equal(profile(np.full((2, SIDE, SIDE), 0.25)), 0)
    np.testing.assert_array_equal(profile.deviation, 1)


def test_a_map_that_is_not_finite_is_refused_with_the_others_counted():
    shown = bordered(5)
    shown[1, 3, 3] = np.nan
    with pytest.raises(UserError, match="5 given, 4 finite"):
        gathered(shown).fit(kind="deviation", level_quantile=0.9)


def test_a_profile_survives_its_file_and_a_folder_without_one_has_none(tmp_path):
    profile = fit_profile(moments_of(bordered(8)), "deviation")
    np.savez(tmp_path / PROFILE, allow_pickle=False, **profile._asdict())
    for found, expected in zip(_read_profile(tmp_path / PROFILE), profile, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert _read_profile(tmp_path / "none.npz") is None


def test_a_profile_changes_the_map_and_nothing_else_that_is_measured():
    maps = np.full((2, 1, SIDE, SIDE), 3.0)
    measured = Measured(np.ones((2, 3)), maps, np.zeros((2, 4, 4, 1)))
    begun = Begun(lambda: measured, lambda: None)
    raw = Measurer(2, lambda i, c: begun, lambda i, c: None, lambda: 0, lambda known: raw)
    profile = Profile(np.full((SIDE, SIDE), 1.0, np.float32), np.full((SIDE, SIDE), 4, np.float32))
    by_profile = told(raw, fusion=None, profile=profile)
    for measurer in (by_profile, by_profile.relearnt([None])):
        found = measurer.measure(np.zeros((2, 4, 4, 1)), None)
        assert found.statistics is measured.statistics and found.drawn is measured.drawn
        np.testing.assert_array_equal(found.anomaly_map, 0.5)
    assert told(raw, fusion=None, profile=None) is raw
