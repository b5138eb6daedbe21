"""AUPIMO and F1-max by hand and by brute force; all pixel figures together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from sklearn.metrics import precision_recall_curve

from ad_core.errors import UserError
from ad_core.metrics import (
    aupimo,
    aupro,
    auroc,
    average_precision,
    f1_max,
    pixel_figures,
    pointing,
)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=40))
@settings(max_examples=100)
def test_f1_max_equals_the_best_of_scikit_learns_curve(drawn):
    labels = np.array([0, 1, *(int(label) for label, _ in drawn)])
    scores = np.array([3, 3, *(score for _, score in drawn)]) / 7
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    assert f1_max(labels, scores) == pytest.approx(f1.max(), abs=1e-12)


def test_f1_max_of_a_hand_drawn_case():
    labels, scores = np.array([1, 0, 1, 1, 0]), np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    # Flagging four of five: 3 tp, 1 fp, 0 fn.
    assert f1_max(labels, scores) == pytest.approx(6 / 7)
    assert f1_max(labels, -scores) == pytest.approx(6 / 8)  # flagging all


def brute_force_aupimo(masks, maps, low, high):
    """The overlap at many rates between the bounds, each by a search over all thresholds."""
    normal = [m for mask, m in zip(masks, maps, strict=True) if not mask.any()]
    values = np.unique(np.concatenate([m.ravel() for m in maps]))
    # Just above the highest value no pixel is flagged.
    thresholds = np.append(values, np.inf)
    fpr = np.array([np.mean([(m >= t).mean() for m in normal]) for t in thresholds])
    axis = np.linspace(np.log(low), np.log(high), 4001)
    lowest = np.array([thresholds[fpr <= np.exp(z) * (1 + 1e-12)].min() for z in axis])
    areas = []
    for mask, found in zip(masks, maps, strict=True):
        share = [(found[mask] >= t).mean() if mask.any() else np.nan for t in lowest]
        areas.append(integrate.trapezoid(share, axis) / (axis[-1] - axis[0]))
    return np.array(areas)


@pytest.mark.parametrize("levels", [7, 60, 100_000])
def test_aupimo_equals_a_search_over_all_thresholds(levels):
    rng = np.random.default_rng(levels)
    masks = rng.random((6, 11, 9)) < 0.3
    masks[:3] = False
    maps = (rng.random((6, 11, 9)) + 0.3 * masks) * levels // 1 / levels
    bounds = (0.004, 0.31)
    expected = brute_force_aupimo(masks, maps, *bounds)
    found = aupimo(masks, maps, bounds=bounds)
    # The search looks at 4,001 rates, and may miss each of some 80 steps by one of them.
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.isnan(found[:3]).all() and np.ptp(found[3:]) > 0


def test_aupimo_of_a_hand_drawn_case():
    masks, maps = np.zeros((3, 10, 10), bool), np.zeros((3, 10, 10))
    # 200 normal pixels. Above 0.8 none is flagged, from it on 1 of 100 of one image: FPR 0.005.
    maps[0, 0, 0] = 0.8
    masks[2, 0, :4] = True
    maps[2, 0, :4] = (0.9, 0.8, 0.5, 0.0)
    # Below a rate of 0.005 only 0.9 counts: 1/4. From there on 0.5 too, and 0.8: 3/4.
    share = np.log(0.005 / 0.001) / np.log(0.1 / 0.001)
    expected = share * 0.25 + (1 - share) * 0.75
    np.testing.assert_allclose(
        aupimo(masks, maps, bounds=(0.001, 0.1)), [np.nan, np.nan, expected], rtol=1e-12
    )
    # With the paper's bounds 200 pixels allow no false positive.
    assert aupimo(masks, maps)[2] == pytest.approx(0.25, abs=1e-12)
    # Hot pixels beside a mask cost nothing: normal images alone set the rates.
    maps[2, 5:] = 7.0
    assert aupimo(masks, maps)[2] == pytest.approx(0.25, abs=1e-12)


def test_aupimo_weighs_normal_images_of_any_size_alike():
    rng = np.random.default_rng(0)
    masks = [np.zeros((4, 5), bool), np.zeros((20, 30), bool), rng.random((9, 9)) < 0.4]
    maps = [rng.random(mask.shape).round(2) for mask in masks]
    found = aupimo(masks, maps, bounds=(0.01, 0.4))
    expected = brute_force_aupimo(masks, maps, 0.01, 0.4)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_aupimo_is_one_where_marked_pixels_are_the_hottest_and_no_monotone_map_moves_it():
    rng = np.random.default_rng(1)
    masks = rng.random((5, 12, 12)) < 0.2
    masks[:2] = False
    maps = rng.random(masks.shape).astype(np.float32)
    np.testing.assert_allclose(aupimo(masks, maps + 2 * masks)[2:], 1.0, rtol=1e-12)
    np.testing.assert_array_equal(aupimo(masks, maps - 2 * masks)[2:], 0.0)
    bounds = (0.01, 0.5)
    np.testing.assert_array_equal(
        aupimo(masks, maps, bounds=bounds), aupimo(masks, np.exp(maps), bounds=bounds)
    )


def test_aupimo_needs_normal_and_abnormal_images_and_sound_bounds():
    masks, maps = np.zeros((2, 3, 3), bool), np.zeros((2, 3, 3))
    with pytest.raises(UserError, match="2 images without and 0 with abnormal pixels"):
        aupimo(masks, maps)
    masks[:, 0, 0] = True
    with pytest.raises(UserError, match="0 images without and 2 with"):
        aupimo(masks, maps)
    for bounds in ((0.0, 0.1), (0.1, 0.1), (0.1, 2.0)):
        with pytest.raises(UserError, match="0 < low < high <= 1"):
            aupimo(masks, maps, bounds=bounds)


@pytest.mark.parametrize("levels", [4, 100_000])
def test_all_figures_together_are_those_of_each_alone(levels):
    rng = np.random.default_rng(levels)
    masks = rng.random((5, 16, 12)) < 0.1
    masks[:2] = False
    maps = (rng.random(masks.shape) + 0.2 * masks).astype(np.float32) * levels // 1
    labels, values = masks.ravel(), maps.ravel()
    assert pixel_figures(masks, maps) == {
        "auroc": auroc(labels, values),
        "aupro": aupro(masks, maps),
        "ap": average_precision(labels, values),
        "aupimo": np.nanmean(aupimo(masks, maps)),
        "f1_max": f1_max(labels, values),
        "pointing": pointing(masks, maps),
    }


def test_without_a_normal_image_there_is_no_aupimo():
    masks, maps = np.zeros((1, 4, 4), bool), np.zeros((1, 4, 4))
    masks[0, 0, 0] = maps[0, 0, 0] = 1
    assert pixel_figures(masks, maps)["aupimo"] is None
