import numpy as np
import pytest
from skimage.measure import label, regionprops
from sklearn.metrics import roc_auc_score

from ad_core.data.phantoms.surface import DEFECTS, draw

KINDS = tuple(DEFECTS)


def _shapes(kind, count=10, size=128):
    """Of each defect: its largest region."""
    masks = [draw((3, 1, s), 0, size=size, defect=kind)[1] for s in range(count)]
    return [max(regionprops(label(mask)), key=lambda region: region.area) for mask in masks]


def _difference(kind, seed=(3, 1, 2), size=128):
    image, mask = draw(seed, 0, size=size, defect=kind)
    whole, _ = draw(seed, 0, size=size, defect=None)
    return image - whole, mask, whole


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("kind", KINDS)
def test_a_defect_changes_exactly_the_pixels_of_its_mask(kind, size):
    for cloth in range(3):
        change, mask, _ = _difference(kind, (3, 1, cloth), size)
        np.testing.assert_array_equal((change != 0).any(axis=-1), mask)
        assert 0.001 < mask.mean() < 0.2
        strong = np.abs(change).max(axis=-1) > 0.04
        assert strong.sum() > 0.7 * mask.sum()


def test_a_scratch_is_long_thin_and_nearly_straight():
    for shape in _shapes("scratch"):
        assert shape.axis_major_length > 8 * shape.axis_minor_length
        assert shape.solidity > 0.5 and shape.area < 0.04 * 128**2


def test_a_hole_is_dark_compact_and_has_a_paler_rim():
    for shape in _shapes("hole"):
        assert shape.axis_major_length < 4 * shape.axis_minor_length and shape.solidity > 0.75
    change, mask, whole = _difference("hole", size=256)
    image = whole + change
    assert image[mask].min() < -0.8 and np.median(image[mask]) < -0.7
    assert (change > 0.05).any() and (change < -0.3).mean(axis=-1).sum() > 0.5 * mask.sum()


def test_a_stain_darkens_softly_and_lets_the_weave_through():
    for shape in _shapes("stain"):
        assert shape.solidity > 0.85
    change, mask, whole = _difference("stain")
    assert (change <= 1e-6).all() and change[mask].min() > -0.9
    seen = (whole + change)[mask].mean(axis=-1)
    assert np.corrcoef(seen, whole[mask].mean(axis=-1))[0, 1] > 0.6


def test_a_thread_is_a_thin_line_of_one_width_with_a_shadow():
    bent = 0
    for shape in _shapes("thread"):
        assert shape.area < 0.06 * 128**2
        bent += shape.solidity < 0.5
    assert bent >= 4  # a curl fills little of its hull; a scratch would fill most
    change = _difference("thread", (3, 1, 6))[0].mean(axis=-1)  # a pale one
    assert (change > 0.2).sum() > 100 and (change < -0.05).sum() > 60


def test_shots_of_a_cloth_share_the_weave_and_lie_elsewhere():
    spectra = []
    for seed, scan in (((4, 0, 7), 0), ((4, 0, 7), 1), ((4, 0, 9), 0)):
        grey = draw(seed, scan, size=128, defect=None)[0].mean(axis=-1)
        spectra.append(np.abs(np.fft.rfft2(grey - grey.mean())).ravel())
    near = np.corrcoef(spectra[0], spectra[1])[0, 1]
    far = np.corrcoef(spectra[0], spectra[2])[0, 1]
    assert near > 0.8 > far
    one, other = (draw((4, 0, 7), scan, size=64, defect=None)[0] for scan in (0, 1))
    assert not np.array_equal(one, other)


def test_no_naive_statistic_of_the_image_gives_the_defects_away():
    whole = np.stack([draw((8, 0, s), 0, size=32, defect=None)[0] for s in range(40)])
    statistics = {
        "mean": lambda x: x.mean(axis=(1, 2, 3)),
        "std": lambda x: x.std(axis=(1, 2, 3)),
        "max": lambda x: x.max(axis=(1, 2, 3)),
    }
    harmed = np.stack(
        [draw((8, 1, s), 0, size=32, defect=KINDS[s % len(KINDS)])[0] for s in range(40)]
    )
    labels = np.repeat([0, 1], [len(whole), len(harmed)])
    for name, statistic in statistics.items():
        scores = np.concatenate([statistic(whole), statistic(harmed)])
        assert 0.15 < roc_auc_score(labels, scores) < 0.85, name
