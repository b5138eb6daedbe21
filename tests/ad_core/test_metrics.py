import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from ad_core.errors import UserError
from ad_core.metrics import aupro, auroc, average_precision, confusion, oracle, pointing


@st.composite
def labelled_scores(draw):
    n = draw(st.integers(2, 40))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    labels[:2] = 0, 1
    # Few distinct values: most draws hold ties within and across the classes.
    scores = np.array(draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))) / 7
    return labels, scores


@given(labelled_scores())
@settings(deadline=None, max_examples=100)
def test_auroc_and_average_precision_equal_sklearn_with_ties(case):
    labels, scores = case
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    expected = average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)


@given(labelled_scores())
@settings(deadline=None, max_examples=100)
def test_oracle_equals_a_search_over_every_threshold(case):
    labels, scores = case
    thresholds = [*scores, np.inf]
    accuracy = {t: np.mean((scores >= t) == labels) for t in thresholds}
    lowest = scores[labels == 1].min()
    figures = oracle(labels, scores)
    assert figures["acc"] == pytest.approx(max(accuracy.values()))
    assert figures["zfn"] == pytest.approx(accuracy[lowest])
    assert figures["fpr_at_tpr1"] == pytest.approx(np.mean(scores[labels == 0] >= lowest))
    assert figures["auc"] == pytest.approx(roc_auc_score(labels, scores))


def test_oracle_of_a_hand_drawn_case():
    #           normal                 abnormal
    scores = np.array([0.1, 0.2, 0.3, 0.6, 0.3, 0.7, 0.8])
    labels = np.array([0, 0, 0, 0, 1, 1, 1])
    # Threshold 0.3 flags two normals: 5 of 7. Threshold 0.7 misses one abnormal: 6 of 7.
    # Pairs won: 2.5 + 4 + 4 of 12.
    assert oracle(labels, scores) == pytest.approx(
        {"zfn": 5 / 7, "acc": 6 / 7, "auc": 10.5 / 12, "fpr_at_tpr1": 0.5}
    )


def test_best_accuracy_may_flag_nothing():
    labels, scores = np.array([0, 0, 0, 1]), np.array([0.5, 0.6, 0.7, 0.1])
    assert oracle(labels, scores)["acc"] == 0.75


def test_figures_do_not_change_under_a_monotone_map():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 200), rng.normal(size=200).round(1)
    assert oracle(labels, scores) == oracle(labels, np.exp(scores))
    assert average_precision(labels, scores) == average_precision(labels, np.exp(scores))


def test_confusion_of_a_hand_drawn_case():
    labels = np.array([1, 1, 1, 0, 0, 0, 0])
    flags = np.array([True, True, False, True, False, False, False])
    assert confusion(labels, flags) == {
        "tp": 2, "fn": 1, "fp": 1, "tn": 3, "tpr": 2 / 3, "fpr": 0.25, "accuracy": 5 / 7
    }  # fmt: skip


def test_confusion_without_abnormal_images_has_no_tpr():
    result = confusion(np.zeros(3, int), np.array([True, False, False]))
    assert result["tpr"] is None and result["fpr"] == pytest.approx(1 / 3)


def brute_force_aupro(masks, maps, max_fpr):
    """PRO and FPR at every threshold, one at a time, then the area by interpolation."""
    structure = np.zeros((3, 3, 3), bool)
    structure[1] = True
    regions, count = ndimage.label(masks, structure=structure)
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        flagged = maps >= threshold
        overlap = [flagged[regions == k].mean() for k in range(1, count + 1)]
        points.append((flagged[~masks].mean(), np.mean(overlap)))
    fpr, pro = np.array(points).T
    area = 0.0
    for i in range(1, len(fpr)):
        left, right = fpr[i - 1], min(fpr[i], max_fpr)
        if right > left:
            slope = (pro[i] - pro[i - 1]) / (fpr[i] - fpr[i - 1])
            area += (right - left) * (pro[i - 1] + slope * (right - left) / 2)
    return area / max_fpr


@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("levels", [5, 50, 100_000])
def test_aupro_equals_a_loop_over_thresholds(levels, max_fpr):
    rng = np.random.default_rng(levels)
    masks = ndimage.gaussian_filter(rng.normal(size=(4, 12, 9)), (0, 1, 1)) > 0.35
    masks[0] = False
    maps = (rng.random((4, 12, 9)) + 0.4 * masks) * levels // 1 / levels
    expected = brute_force_aupro(masks, maps, max_fpr)
    assert aupro(masks, maps, max_fpr=max_fpr) == pytest.approx(expected, abs=1e-12)


def test_aupro_of_a_hand_drawn_case():
    masks, maps = np.zeros((1, 5, 10), bool), np.zeros((1, 5, 10))
    masks[0, 0:2, 0:2] = True  # a region of 4, found at once
    masks[0, 3, 5:10] = True  # a region of 5, of which 3 are found at once, 2 never
    maps[0, 0:2, 0:2] = 1.0
    maps[0, 3, 5:8] = 1.0
    # PRO is (1 + 3/5) / 2 = 0.8 at FPR 0, and climbs straight to 1 at FPR 1, where all are flagged.
    assert aupro(masks, maps, max_fpr=0.3) == pytest.approx(0.8 + 0.2 * 0.3 / 2)
    assert aupro(masks, maps, max_fpr=1.0) == pytest.approx(0.9)
    maps[0, 4, 0:5] = (
        0.5  # 5 of the 41 normal pixels come next, alone: the curve is flat, then climbs
    )
    flat, climb = 5 / 41, 0.3 - 5 / 41
    area = 0.3 * 0.8 + climb**2 * 0.2 / (1 - flat) / 2
    assert aupro(masks, maps, max_fpr=0.3) == pytest.approx(area / 0.3)


def test_aupro_of_images_of_several_sizes_is_that_of_the_images_padded_by_nothing():
    rng = np.random.default_rng(0)
    masks, maps = rng.uniform(size=(4, 6, 8)) < 0.2, rng.uniform(size=(4, 6, 8))
    assert aupro(list(masks), list(maps)) == aupro(masks, maps)
    # Cut between regions, two images hold the same pixels as one.
    masks[:, :, 3:5] = False
    pieces = [(x[k][:, :5], x[k][:, 5:]) for x in (masks, maps) for k in range(4)]
    halves = [half for pair in pieces for half in pair]
    assert aupro(halves[:8], halves[8:]) == pytest.approx(aupro(masks, maps))
    with pytest.raises(UserError, match="must have one shape"):
        aupro(halves[:8], halves[8:][::-1])


def test_pixels_that_touch_by_a_corner_are_one_region():
    masks, maps = np.zeros((1, 6, 6), bool), np.zeros((1, 6, 6), np.float32)
    masks[0, [1, 2], [1, 2]] = True
    masks[0, 5, 5] = True
    maps[0, 1, 1], maps[0, 4, 0] = 2.0, 1.0
    expected = brute_force_aupro(masks, maps, 0.3)
    assert aupro(masks, maps) == pytest.approx(expected)
    assert expected == pytest.approx(0.25 + 0.75 * (0.3 - 1 / 33) ** 2 / (32 / 33) / 2 / 0.3)


def test_regions_of_neighbouring_images_are_not_joined():
    masks, maps = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4))
    masks[0, 0, :4], masks[1, 0, 0] = True, True
    maps[1, 0, 0] = 1.0
    assert aupro(masks, maps, max_fpr=1.0) == pytest.approx(0.75)


def test_metrics_take_jax_arrays_and_float32():
    import jax.numpy as jnp

    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 500), rng.random(500, np.float32).round(2)
    expected = roc_auc_score(labels, scores)
    assert auroc(jnp.asarray(labels), jnp.asarray(scores)) == pytest.approx(expected, abs=1e-12)


def test_scores_that_are_not_finite_are_refused():
    labels = np.array([0, 1, 1])
    for figure in (auroc, average_precision, oracle):
        with pytest.raises(UserError, match="1 of 3 scores are not finite"):
            figure(labels, np.array([0.0, np.nan, 1.0]))
    with pytest.raises(UserError, match="not finite"):
        aupro(np.eye(3, dtype=bool)[None], np.full((1, 3, 3), np.inf))


def test_a_single_class_or_unequal_lengths_are_refused():
    with pytest.raises(UserError, match="3 normal and 0 abnormal"):
        auroc(np.zeros(3, int), np.arange(3.0))
    with pytest.raises(UserError, match="0 or 1"):
        confusion(np.array([0, 2]), np.array([0, 1]))
    with pytest.raises(UserError, match="only one kind"):
        aupro(np.zeros((1, 3, 3), bool), np.zeros((1, 3, 3)))
    with pytest.raises(UserError, match="max_fpr"):
        aupro(np.eye(3, dtype=bool)[None], np.zeros((1, 3, 3)), max_fpr=0.0)


def brute_force_pointing(masks, maps, near_px):
    hits = []
    for mask, found in zip(masks, maps, strict=True):
        abnormal = np.argwhere(mask)
        hottest = np.argwhere(found == found.max())
        if len(abnormal):
            gaps = np.linalg.norm(hottest[:, None] - abnormal[None], axis=-1).min(axis=1)
            hits.append(np.mean(gaps <= near_px))
    return np.mean(hits)


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("tolerance", [0.0, 0.1, 0.37])
def test_pointing_equals_all_distances_from_hottest_to_abnormal_pixels(levels, tolerance):
    rng = np.random.default_rng(0)
    masks = rng.random((12, 9, 14)) < 0.03
    masks[0] = False
    maps = rng.integers(0, levels, masks.shape) / levels
    expected = brute_force_pointing(masks, maps, 14 * tolerance)
    assert pointing(masks, maps, tolerance=tolerance) == pytest.approx(expected, abs=1e-12)


def test_pointing_of_a_hand_drawn_case():
    masks, maps = np.zeros((3, 32, 64), bool), np.zeros((3, 32, 64))
    masks[:2, 10, 10] = True
    maps[0, 10, 12] = maps[1, 10, 13] = maps[2, 0, 0] = 1.0  # 2 px and 3 px away; a normal image
    assert pointing(masks, maps) == 0.5  # near is 2 px of 64
    assert pointing(masks, maps, tolerance=0.0) == 0
    assert pointing(masks, maps, tolerance=3 / 64) == 1


def test_pointing_of_a_flat_map_is_the_share_of_the_abnormal_area():
    mask = np.zeros((1, 10, 20), bool)
    mask[0, :, :5] = True
    assert pointing(mask, np.zeros((1, 10, 20)), tolerance=0.0) == pytest.approx(0.25)


def test_pointing_needs_abnormal_pixels_and_a_sound_tolerance():
    with pytest.raises(UserError, match="needs abnormal pixels"):
        pointing(np.zeros((1, 3, 3), bool), np.zeros((1, 3, 3)))
    with pytest.raises(UserError, match="tolerance"):
        pointing(np.eye(3, dtype=bool)[None], np.zeros((1, 3, 3)), tolerance=-1.0)
