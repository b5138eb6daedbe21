"""The gate: what it counts, what it lowers, and that it lets nothing else pass."""

import math

import numpy as np
import pytest

from ad_core.errors import UserError
from ad_core.exporting.formats import Found
from ad_core.exporting.golden import MADE, REAL, Golden
from ad_core.exporting.parity import (
    Compared,
    agreement,
    counted,
    lowered,
    require_same_decisions,
)

IMAGE = np.zeros((4, 4), np.uint8)


def compared(*pairs, kind=REAL, apart=0.0):
    return [
        Compared(number, f"image {number}", kind, score, found, score >= 0.5, apart)
        for number, (score, found) in enumerate(pairs)
    ]


def test_the_largest_difference_is_found_and_allowed_within_bounds():
    agreed = agreement(compared((0.0, 0.001), (1.0, 0.995), (0.4, 0.4)), threshold=0.5)
    assert agreed.difference == pytest.approx(0.005)
    assert agreed.allowed == pytest.approx(0.02) and agreed.images == {REAL: 3}


def test_a_score_far_from_the_threshold_counts_less():
    # Width 1, threshold 0.5: a score of 100.5 lies 100 widths away.
    scores, found = np.array([0.0, 1.0, 100.5]), np.array([0.0, 1.01, 100.6])
    np.testing.assert_allclose(
        counted(scores, found, threshold=0.5, width=1.0), [0.0, 0.01, 0.001], atol=1e-12
    )


def test_a_difference_beyond_what_is_allowed_is_refused():
    with pytest.raises(UserError, match="not its detector: the score of image 1 is 0.97"):
        agreement(compared((0.0, 0.0), (1.0, 0.97)), threshold=0.5)


def test_a_score_that_is_no_number_in_one_alone_is_refused():
    with pytest.raises(UserError, match="one of two scores is no number .image 1"):
        agreement(compared((0.0, 0.0), (1.0, math.nan)), threshold=0.5)
    agreement(compared((0.0, 0.0), (1.0, 1.0), (math.nan, math.nan)), threshold=0.5)


def test_another_map_is_refused():
    with pytest.raises(UserError, match="the map of image 0 differs"):
        agreement(compared((0.0, 0.0), (1.0, 1.0), apart=0.011), threshold=0.5)
    with pytest.raises(UserError, match="the map of image 0 differs"):
        agreement(compared((0.0, 0.0), (1.0, 1.0), apart=math.nan), threshold=0.5)


def test_without_a_real_image_there_is_no_agreement():
    with pytest.raises(UserError, match="no real golden image has a score"):
        agreement(compared((0.0, 0.0), (1.0, 1.0), kind=MADE), threshold=0.5)


def test_made_images_do_not_widen_what_is_allowed():
    real, made = compared((0.0, 0.0), (1.0, 1.0)), compared((1e6, 1e6 + 1), kind=MADE)
    assert agreement(real + made, threshold=0.5).allowed == pytest.approx(0.02)


def test_a_lowered_threshold_is_a_float32_at_or_below_what_it_must_be():
    rng = np.random.default_rng(0)
    for value, apart in zip(rng.normal(0, 3, 200), rng.uniform(0, 1e-6, 200), strict=True):
        found = lowered(float(value), float(apart))
        assert found == np.float32(found) and found <= value - apart
        assert np.nextafter(np.float32(found), np.float32(np.inf)) > value - apart
    assert lowered(math.inf, 0.1) == math.inf


def test_no_score_at_the_threshold_passes_the_program():
    value, apart = 0.3, 1e-7  # the detector inspects at 0.3; the program may find 1e-7 less
    assert value - apart >= lowered(value, apart)
    assert np.float32(value - apart) >= np.float32(lowered(value, apart))


def test_a_flipped_decision_is_refused():
    golden = [Golden(f"image {number}", REAL, IMAGE) for number in range(2)]
    pairs = compared((0.1, 0.1), (0.9, 0.9))
    scores = iter([0.1, 0.9, 0.1, 0.2])

    def run(pixels):
        assert pixels.shape == (4, 4, 3)
        score = next(scores)
        return Found(score, score >= 0.5, np.zeros((2, 2), np.float32))

    require_same_decisions(run, golden, pairs)
    with pytest.raises(UserError, match="says normal of image 1 and the detector inspect"):
        require_same_decisions(run, golden, pairs)


def test_a_golden_image_that_is_not_found_again_is_no_proof():
    with pytest.raises(UserError, match="image 0 was not found again"):
        require_same_decisions(lambda pixels: None, [], compared((0.1, 0.1)))
