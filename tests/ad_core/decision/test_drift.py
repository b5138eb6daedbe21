"""A lot against the calibration normals: the test itself, its validity, its words."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from ad_core.decision.drift import CLEAR, DEFECTS, FEWEST, LEVEL, Normals, Watch, compare_lot
from ad_core.decision.drift import _stands_higher as stands_higher
from ad_core.errors import UserError


def normals(values, group=None, *, pooled=0, **directions):
    """Of a table [m, k], the last `pooled` columns being features; both directions unless told."""
    values = np.asarray(values, float)
    m, k = values.shape
    both = {"higher": np.ones(k, bool), "lower": np.ones(k, bool)}
    names = ["mse", "ssim", *(f"other_{i}" for i in range(k))][:k]
    return Normals(
        names=tuple(names),
        values=values,
        group=np.arange(m) if group is None else np.asarray(group),
        pooled=np.arange(k) >= k - pooled,
        **(both | directions),
    )


def column(*values):
    return np.asarray(values, float)[:, None]


def test_the_p_value_is_that_of_scipy_after_the_highest_are_left_out():
    rng = np.random.default_rng(0)
    lot, known = rng.normal(0.5, 1, (40, 3)), rng.normal(size=(30, 3))
    p, share = stands_higher(lot, known)
    kept = np.sort(lot, axis=0)[:38]  # 5 % of 40 may be anything
    expected = mannwhitneyu(kept, known, alternative="greater", method="exact")
    np.testing.assert_allclose(p, expected.pvalue)
    pairs = (kept[:, None] > known[None]).mean(axis=(0, 1))
    np.testing.assert_allclose(share, pairs)


def test_a_lot_above_all_normals_has_the_p_value_of_one_arrangement():
    found = compare_lot(normals(column(*range(10))), column(*range(20, 30)))
    # 9 of 10 are compared: one of C(19, 9) arrangements, in two directions.
    assert found.p == pytest.approx(2 / 92378)
    assert found.drifted and (found.images, found.normals) == (10, 10)
    (shift,) = found.shifts
    assert (shift.name, shift.higher, shift.share) == ("mse", True, 1.0)


def test_equal_values_speak_for_no_direction():
    p, share = stands_higher(np.zeros((20, 1)), np.zeros((30, 1)))
    assert share[0] == 0 and p[0] > 0.99
    assert compare_lot(normals(np.zeros((30, 1))), np.zeros((20, 1))).p == 1.0


def test_no_values_of_the_share_of_defects_make_a_lot_higher():
    rng = np.random.default_rng(1)
    clean, known = rng.normal(size=(60, 1)), rng.normal(size=(80, 1))
    whole, _ = stands_higher(np.concatenate([clean[3:], np.full((3, 1), np.inf)]), known)
    # As if the three had not been there; their values do not count.
    assert whole == pytest.approx(
        mannwhitneyu(clean[3:], known, alternative="greater", method="exact").pvalue
    )
    for value in (-50.0, 0.0, 50.0):
        p, _ = stands_higher(np.concatenate([clean[3:], np.full((3, 1), value)]), known)
        assert p >= whole - 1e-12


@pytest.mark.parametrize("defects", [0.0, DEFECTS])
@pytest.mark.parametrize("n", [10, 40])
def test_lots_without_drift_are_warned_of_no_more_often_than_said(n, defects):
    rng, level, warned = np.random.default_rng(2), 0.1, 0
    draws, k = 200, 4
    for _ in range(draws):
        known, lot = rng.normal(size=(30, k)), rng.normal(size=(n, k))
        lot[: int(np.ceil(defects * n))] += 30
        warned += compare_lot(normals(known, pooled=2), lot, level=level).p <= level
    assert warned / draws <= level + 3 * np.sqrt(level * (1 - level) / draws)


def test_the_level_is_used_up_where_one_statistic_looks_one_way():
    rng, level, draws = np.random.default_rng(3), 0.2, 300
    one_way = {"higher": np.array([True]), "lower": np.array([False])}
    found = [
        compare_lot(normals(rng.normal(size=(40, 1)), **one_way), rng.normal(size=(60, 1)))
        for _ in range(draws)
    ]
    # What is left out costs power: 57 of 60 lie 0.1 lower than they were drawn, or about so.
    below = np.mean([one.p <= level for one in found])
    assert 0.05 < below <= level


def test_a_clear_shift_of_the_bulk_is_found_and_a_slight_one_is_no_warning():
    rng = np.random.default_rng(4)
    known = normals(rng.normal(size=(500, 2)))
    clear = compare_lot(known, rng.normal(size=(300, 2)) + [0.0, 1.0])
    assert clear.drifted and [shift.name for shift in clear.shifts] == ["ssim"]
    slight = compare_lot(known, rng.normal(size=(300, 2)) + [0.0, 0.45])
    assert slight.p <= LEVEL and not slight.drifted and not slight.shifts
    assert norm.cdf(0.45 / np.sqrt(2)) < CLEAR < norm.cdf(1.0 / np.sqrt(2))


def test_a_lot_of_defects_alone_is_told_too():
    rng = np.random.default_rng(5)
    assert compare_lot(normals(rng.normal(size=(50, 1))), rng.normal(5, 1, (20, 1))).drifted


def test_a_direction_that_is_not_compared_says_nothing():
    rng = np.random.default_rng(6)
    known, lot = rng.normal(size=(50, 1)), rng.normal(-5, 1, (30, 1))
    up = {"higher": np.array([True]), "lower": np.array([False])}
    assert not compare_lot(normals(known, **up), lot).drifted
    assert compare_lot(normals(known), lot).drifted
    none = {"higher": np.array([False]), "lower": np.array([False])}
    assert "learns from the images that calibrate" in str(compare_lot(normals(known, **none), lot))


def test_images_of_a_group_count_once():
    rng = np.random.default_rng(7)
    known, lot = rng.normal(size=(40, 1)), rng.normal(2, 1, (9, 1))
    many, groups = np.repeat(lot, 10, axis=0), np.repeat(np.arange(9), 10)
    assert compare_lot(normals(known), many).drifted
    found = compare_lot(normals(known), many, groups)
    assert found.drifted is None and found.images == 9
    thrice = normals(np.repeat(known, 3, axis=0), np.repeat(np.arange(40), 3))
    assert compare_lot(thrice, many).normals == 40


def test_few_images_and_what_was_not_measured_say_so():
    known = normals(column(*range(20)))
    found = compare_lot(known, column(*[50.0] * (FEWEST - 1), np.nan))
    assert found.drifted is None and found.p is None and found.images == FEWEST - 1
    assert str(found) == (
        "nothing is known about drift: too few to tell (9 images of the lot, 10 are needed)"
    )
    few = compare_lot(normals(column(*range(9))), column(*range(50)))
    assert "9 normal ones calibrated" in str(few)


def test_a_warning_says_what_is_unlike_in_words_and_numbers():
    found = compare_lot(normals(np.arange(40.0).reshape(20, 2)), np.full((30, 2), 99.0))
    assert str(found).startswith(
        "this lot does not look like the calibration images; the promise does not cover it (p = "
    )
    assert "30 images against 20 normal" in str(found)
    words = "the mean squared difference from the normal version is higher in 100 % (mse)"
    assert words in str(found)
    told = found.to_dict()
    assert told["drifted"] is True and told["statement"] == str(found)
    assert told["shifts"][0].keys() == {"name", "higher", "share", "p"}
    calm = compare_lot(normals(column(*range(20))), column(*range(20)))
    assert str(calm).startswith("nothing clear tells this lot from the calibration images (p = 1,")


def test_a_watch_warns_of_no_more_lots_than_said_however_long_it_looks():
    rng, level, draws, warned = np.random.default_rng(8), 0.2, 120, 0
    for _ in range(draws):
        watch = Watch(normals(rng.normal(size=(25, 2))), level=level)
        p = [watch.add(rng.normal(size=(20, 2))).p for _ in range(5)]
        assert all(a >= b for a, b in zip(p, p[1:], strict=False))
        warned += p[-1] <= level
    assert warned / draws <= level + 3 * np.sqrt(level * (1 - level) / draws)


def test_a_watch_looks_as_often_as_the_images_double_and_a_warning_stays():
    rng = np.random.default_rng(9)
    known = normals(rng.normal(size=(60, 1)))
    watch = Watch(known)
    assert watch.add(rng.normal(4, 1, (9, 1))).drifted is None
    assert watch.add(rng.normal(4, 1, (1, 1))).drifted
    first = watch.found
    assert watch.add(rng.normal(0, 1, (70, 1))).drifted and watch.found.images == first.images
    # One image alone, of a part seen before or not measured, brings no look nearer.
    again = Watch(known)
    again.add(rng.normal(4, 1, (30, 1)), ["same"] * 30)
    again.add(np.full((30, 1), np.nan))
    assert again.found.drifted is None


def test_a_watch_finds_a_drift_that_begins_late():
    rng = np.random.default_rng(10)
    watch = Watch(normals(rng.normal(size=(60, 1))))
    assert not watch.add(rng.normal(size=(400, 1))).drifted
    assert watch.add(rng.normal(2, 1, (900, 1))).drifted


def test_a_table_of_other_statistics_is_refused():
    known = normals(np.zeros((20, 2)))
    with pytest.raises(UserError, match="must hold the 2 statistics"):
        compare_lot(known, np.zeros((20, 3)))
    with pytest.raises(UserError, match="as many as images"):
        compare_lot(known, np.zeros((20, 2)), np.zeros(3))
