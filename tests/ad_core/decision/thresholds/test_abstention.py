import numpy as np
import pytest

from ad_core.decision import AbstainBand, fit_threshold
from ad_core.errors import UserError

SCORES = np.array([0.1, 0.2, 0.3, 0.6, 0.3, 0.7, 0.8])
LABELS = np.array([0, 0, 0, 0, 1, 1, 1])


def band():
    return AbstainBand(
        fit_threshold("zfn", SCORES, LABELS), fit_threshold("target_fpr", SCORES, LABELS)
    )


def test_between_the_thresholds_a_person_decides():
    decisions = band().decisions(np.array([0.29, 0.3, 0.6, 0.61, np.nan]))
    assert decisions == ["normal", "person", "person", "inspect", "inspect"]


def test_no_abnormal_calibration_image_is_called_normal():
    decisions = np.array(band().decisions(SCORES))
    assert "normal" not in decisions[LABELS == 1] and "inspect" not in decisions[LABELS == 0]


def test_classes_that_are_apart_need_no_band():
    scores = np.arange(6.0)
    labels = np.repeat([0, 1], 3)
    with pytest.raises(UserError, match="lies above the upper one"):
        AbstainBand(
            fit_threshold("zfn", scores, labels), fit_threshold("target_fpr", scores, labels)
        )
