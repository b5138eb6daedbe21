import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ad_core.data.formats.resizing import reduce_area
from ad_core.data.phantoms.fpet_brain import RISE, STIMULATION, activity, anatomy
from ad_core.data.phantoms.fpet_sinogram import FRAMES, REFERENCE, draw, expected
from ad_core.data.phantoms.radon import project


def _slopes(brain, minutes, stimulated):
    total = [sum(activity(brain, minute, stimulated=stimulated)) for minute in minutes]
    return np.diff(total, axis=0) / np.diff(minutes)[:, None, None]


def test_at_rest_every_place_gains_activity_at_a_constant_rate():
    brain = anatomy((0, 0, 3), 0, 64)
    slopes = _slopes(brain, [0.0, 2.0, 7.0, 30.0, 60.0], stimulated=False)
    for slope in slopes:
        np.testing.assert_allclose(slope, brain.slope, atol=1e-4)


def test_stimulation_raises_the_slope_of_visual_cortex_alone_and_while_it_lasts():
    brain = anatomy((0, 0, 3), 0, 64)
    start, end = STIMULATION
    before, during, after = (
        _slopes(brain, [a, b], stimulated=True)[0]
        for a, b in ((0.0, start), (start, end), (end, end + 20))
    )
    np.testing.assert_allclose(before, brain.slope, atol=1e-4)
    np.testing.assert_allclose(after, brain.slope, atol=1e-4)  # and keeps what it took up
    np.testing.assert_allclose(during, brain.slope * (1 + brain.rise), atol=1e-4)
    visual = brain.rise > 0
    assert (during[visual] > before[visual]).all()
    np.testing.assert_array_equal(during[~visual] > before[~visual] + 1e-4, False)


@pytest.mark.parametrize("subject", range(6))
def test_visual_cortex_is_grey_matter_at_the_back_on_both_sides(subject):
    brain = anatomy((1, 0, subject), 0, 128)
    head = brain.slope > 0
    rows, columns = np.nonzero(head)
    y, x = np.nonzero(brain.rise > 0.05)
    assert y.min() > np.quantile(rows, 0.6)  # towards the back
    assert (x < columns.mean()).sum() > 20 and (x > columns.mean()).sum() > 20
    assert brain.slope[brain.rise > 0.2].mean() > 0.75 > 0.35 > np.median(brain.slope[head])
    assert RISE[0] * 0.7 < brain.rise.max() <= RISE[1]
    assert 0.01 < (brain.rise > 0).sum() / head.sum() < 0.15


def test_the_mask_is_where_the_activations_noiseless_projection_is_not_zero():
    seed, scan = (2, 1, 5), 1
    _, mask = draw(seed, scan, size=64, defect="activation", dose=1e4)
    brain = anatomy(seed, scan, 256)
    added = project(brain.slope * brain.rise, views=64, bins=64)
    np.testing.assert_array_equal(mask, added > 0)
    assert 0.1 < mask.mean() < 0.45


@pytest.mark.parametrize("dose", [1e3, 1e6])
def test_an_activated_frame_differs_from_the_same_frame_at_rest_within_the_mask_only(dose):
    for subject in range(4):
        active, mask = draw((0, 1, subject), 0, size=48, defect="activation", dose=dose)
        rest, empty = draw((0, 1, subject), 0, size=48, defect=None, dose=dose)
        np.testing.assert_array_equal(active[~mask], rest[~mask])
        assert not empty.any() and (active >= rest).all() and (active > rest).any()


def test_the_mask_is_full_of_change_where_counts_are_many():
    for subject in range(4):
        active, mask = draw((0, 1, subject), 0, size=48, defect="activation", dose=1e6)
        rest, _ = draw((0, 1, subject), 0, size=48, defect=None, dose=1e6)
        # Where 3 more counts are expected, hardly a bin has none (e^-3 = 5 %).
        many = expected((0, 1, subject), 0, size=48, dose=1e6).added > 3
        assert (active > rest)[many].mean() > 0.95
        assert many.sum() > 0.7 * mask.sum()


@pytest.mark.parametrize("dose", [1e3, 1e5])
@pytest.mark.parametrize("defect", [None, "activation"])
def test_counts_have_the_mean_and_the_variance_of_poisson(dose, defect):
    means, counts = [], []
    for subject in range(12):
        mean = expected((0, 0, subject), 0, size=32, dose=dose)
        image, _ = draw((0, 0, subject), 0, size=32, defect=defect, dose=dose)
        counts.append((image[:, :, 0].astype(np.float64) + 1) / 2 * mean.full)
        means.append(mean.rest + (mean.added if defect else 0))
    n, m = np.array(counts), np.array(means)
    assert (n == n.max()).mean() < 0.001  # hardly a count is clipped
    np.testing.assert_allclose(n, n.round(), atol=1e-3)
    n, m = n[m > 0.1], m[m > 0.1]
    # Of a Poisson count (n - m)^2 / m has mean 1 and variance 2 + 1 / m.
    assert abs(((n - m) ** 2 / m).mean() - 1) < 4 * np.sqrt((2 + 1 / m).mean() / n.size)
    assert abs(n.sum() - m.sum()) < 4 * np.sqrt(m.sum())


@pytest.mark.parametrize("size", [32, 64])
def test_the_dose_is_the_expected_count_at_rest_after_half_an_hour(size):
    totals = []
    for subject in range(24):
        mean = expected((0, 0, subject), 0, size=size, dose=2e4)
        twice = expected((0, 0, subject), 0, size=size, dose=4e4)
        totals.append(mean.rest.sum() / 2e4)
        np.testing.assert_allclose(twice.rest, 2 * mean.rest)
        np.testing.assert_allclose(twice.added, 2 * mean.added)
        assert 0.005 < mean.added.sum() / mean.rest.sum() < 0.08
    ramp = np.mean(FRAMES) / REFERENCE  # the mean time; uptakes vary by 15 % around ordinary
    assert np.mean(totals) == pytest.approx(ramp, abs=4 * 0.2 / np.sqrt(24))


def test_frames_of_a_subject_share_the_brain_and_not_the_noise():
    one, other, stranger = (anatomy((4, 0, p), f, 64) for p, f in ((7, 0), (7, 1), (8, 0)))
    assert one.rise.max() == pytest.approx(other.rise.max(), rel=0.05)
    near = np.corrcoef(one.slope.ravel(), other.slope.ravel())[0, 1]
    far = np.corrcoef(one.slope.ravel(), stranger.slope.ravel())[0, 1]
    assert near > 0.95 > far
    first, second = (draw((4, 0, 7), f, size=32, defect=None, dose=1e4)[0] for f in (0, 1))
    assert not np.array_equal(first, second)


def test_more_resolution_is_the_same_measurement():
    coarse = expected((0, 0, 1), 0, size=64, dose=1e5).rest
    fine = expected((0, 0, 1), 0, size=128, dose=1e5).rest
    paired = reduce_area(fine.astype(np.float32), 64) * 4
    assert np.abs(paired - coarse).mean() < 0.05 * coarse.mean()


def test_no_naive_statistic_of_the_image_gives_the_activation_away():
    # Not asked of the maximum, which lies on lines through visual cortex.
    rest = np.stack([draw((8, 0, s), 0, size=32, defect=None, dose=1e5)[0] for s in range(60)])
    active = [draw((8, 1, s), 0, size=32, defect="activation", dose=1e5)[0] for s in range(40)]
    reference, normal, active = rest[:20].mean(axis=0), rest[20:], np.stack(active)
    statistics = {
        "mean": lambda x: x.mean(axis=(1, 2, 3)),
        "std": lambda x: x.std(axis=(1, 2, 3)),
        "distance": lambda x: np.sqrt(((x - reference) ** 2).sum(axis=(1, 2, 3))),
    }
    labels = np.repeat([0, 1], [len(normal), len(active)])
    for name, statistic in statistics.items():
        auroc = roc_auc_score(labels, np.concatenate([statistic(normal), statistic(active)]))
        assert 0.15 < auroc < 0.85, (name, auroc)
