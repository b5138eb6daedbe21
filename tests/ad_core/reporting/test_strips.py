import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from ad_core.reporting.strips import Strip, strips_svg


def strip(scores, passed, *, abnormal=True, words="a kind"):
    return Strip(words, np.array(scores, float), np.array(passed, bool), abnormal)


def drawn(*strips, threshold=0.5):
    return ET.fromstring(strips_svg(strips, threshold))


def strokes(root):
    return [one for one in root.iter("line") if one.attrib["stroke-width"] == "1.2"]


def test_every_finite_score_is_a_stroke_at_its_place():
    root = drawn(strip([0.0, 0.25, 1.0, np.nan, np.inf], [0] * 5))
    across = np.array([float(one.attrib["x1"]) for one in strokes(root)])
    # The range 0 to 1 is widened by 2 % at either end over 624 units from 8 on.
    expected = 8 + 624 * (np.array([0.0, 0.25, 1.0]) + 0.02) / 1.04
    np.testing.assert_allclose(across, expected, atol=0.06)


def test_a_ring_marks_abnormal_images_that_passed_and_no_others():
    normal = strip([0.1, 0.9], [1, 0], abnormal=False)
    root = drawn(normal, strip([0.2, 0.3, 0.8], [1, 0, 0]))
    (ring,) = root.iter("circle")
    assert ring.attrib["cx"] == strokes(root)[2].attrib["x1"]


def test_types_are_told_from_normal_images_by_words_too():
    root = drawn(strip([0.1], [1], abnormal=False, words="normal <b>"), strip([0.2], [1]))
    words = ["".join(one.itertext()) for one in root.iter("text")]
    assert "normal <b>" in words and "a kind" in words and "inspected from 0.5 on" in words
    assert len({one.attrib["stroke"] for one in strokes(root)}) == 2


@pytest.mark.parametrize("scores", [[], [0.5], [np.nan]])
def test_strips_of_next_to_nothing_are_drawn(scores):
    written = strips_svg([strip(scores, [1] * len(scores))], math.inf)
    ET.fromstring(written)
    assert "nan" not in written and "inspected" not in written
