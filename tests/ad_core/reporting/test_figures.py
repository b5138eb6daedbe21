import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from ad_core.reporting import figures, svg
from ad_core.scoring.localisation import MapScale

LABELS = np.array([0, 0, 1, 0, 1, 1, 0, 1])
SCORES = np.array([0.1, 0.2, 0.2, 0.4, 0.5, 0.7, 0.7, 0.9])


def _texts(drawn):
    """What can be read in the figure; parsing also proves it well-formed."""
    return ["".join(element.itertext()) for element in ET.fromstring(drawn).iter("text")]


def _lines(drawn):
    """The points of each polyline."""
    return [
        np.array([pair.split(",") for pair in element.attrib["points"].split()], float)
        for element in ET.fromstring(drawn).iter("polyline")
    ]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.9, 1, [0.9, 0.92, 0.94, 0.96, 0.98, 1]),
        (-3, 12, [-2, 0, 2, 4, 6, 8, 10, 12]),
        (0, 790, [0, 200, 400, 600]),
    ],
)
def test_ticks_are_round_values(low, high, expected):
    np.testing.assert_allclose(svg.ticks(low, high), expected, atol=1e-12)


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6))
def test_ticks_lie_in_their_range_and_are_a_handful(low, width):
    found = svg.ticks(low, low + width)
    assert 2 <= len(found) <= 9
    assert min(found) >= low - 1e-6 * width and max(found) <= low + width * (1 + 1e-6)


@pytest.mark.parametrize(
    ("value", "short"), [(0, "0"), (0.05, "0.05"), (12800, "12,800"), (3e-5, "3e-05"), (-2, "-2")]
)
def test_numbers_are_written_short(value, short):
    assert svg.number(value) == short


def test_the_roc_curve_runs_through_scikit_learns_points():
    fpr, tpr, _ = roc_curve(LABELS, SCORES, drop_intermediate=False)
    curve = _lines(figures.roc_svg(LABELS, SCORES, []))[-1]
    across = (curve[:, 0] - curve[0, 0]) / np.ptp(curve[:, 0])
    up = (curve[0, 1] - curve[:, 1]) / np.ptp(curve[:, 1])
    # Coordinates are written to a tenth of a unit, of some 300.
    np.testing.assert_allclose(across, fpr, atol=1e-3)
    np.testing.assert_allclose(up, tpr, atol=1e-3)


def test_the_magnified_roc_starts_at_its_lower_edge_and_names_the_cost_of_no_miss():
    drawn = figures.roc_svg(LABELS, SCORES, [("zfn", 0.75, 1.0)], tpr_from=0.9)
    curve = _lines(drawn)[-1]
    # From TPR 3/4 at FPR 1/2 to TPR 1 at FPR 3/4: TPR 0.9 is crossed at FPR 0.65.
    left, right, top, bottom = 58, 434, 34, 300
    np.testing.assert_allclose(curve[0], [left + 0.65 * (right - left), bottom], atol=0.1)
    np.testing.assert_allclose(curve[-1], [right, top], atol=0.1)
    assert any(words.startswith("no miss from 75") for words in _texts(drawn))


def test_the_roc_grid_tells_how_many_images_were_missed():
    labels = np.repeat([0, 1], 50)
    drawn = figures.roc_svg(labels, np.linspace(0, 1, 100), [], tpr_from=0.9)
    found = [words for words in _texts(drawn) if "missed" in words]
    assert found == [f"{count} of 50 missed" for count in (5, 4, 3, 2, 1)]


def test_an_infinite_score_takes_part_in_the_roc_curve():
    drawn = figures.roc_svg(np.array([0, 1]), np.array([0.2, np.inf]), [])
    curve = _lines(drawn)[-1]
    np.testing.assert_allclose(curve[1], [58, 34], atol=0.1)


def test_histogram_bars_stand_for_numpys_counts():
    scores, labels = np.linspace(0, 1, 60) ** 2, np.repeat([0, 1], 30)
    drawn = ET.fromstring(figures.histogram_svg(scores, labels, [("zfn", 0.5)], bins=10))
    groups = [group for group in drawn.iter("g") if group.find("rect") is not None]
    span = np.ptp(scores)
    edges = np.linspace(-0.02 * span, 1 + 0.02 * span, 11)
    for kind, group in enumerate(groups):
        heights = np.array([float(bar.attrib["height"]) for bar in group.iter("rect")])
        counts = np.histogram(scores[labels == kind], edges)[0]
        np.testing.assert_allclose(heights / heights.max(), counts / counts.max(), atol=2e-3)
    assert len(groups) == 2


def test_a_histogram_draws_thresholds_between_their_scores():
    drawn = figures.histogram_svg(np.array([0.0, 1.0]), np.array([0, 1]), [("zfn", 0.5)])
    solid = [
        element.attrib
        for element in ET.fromstring(drawn).iter("line")
        if element.attrib["stroke-width"] == "2" and element.attrib["x1"] == element.attrib["x2"]
    ]
    assert [float(attributes["x1"]) for attributes in solid] == [230.0]
    assert "zfn: inspect from 0.5 on" in _texts(drawn)


@pytest.mark.parametrize(
    ("scores", "labels"),
    [([], []), ([0.5], [0]), ([0.5, 0.5], [0, 1]), ([np.nan, np.inf, 1.0], [1, 0, 1])],
)
def test_histograms_of_next_to_nothing_are_drawn(scores, labels):
    drawn = figures.histogram_svg(
        np.array(scores, float), np.array(labels, int), [("zfn", math.inf)]
    )
    ET.fromstring(drawn)
    assert "nan" not in drawn and "inf" not in drawn.replace("inspect", "")


def test_a_curve_breaks_where_a_value_is_not_finite():
    values = [1.0, 2.0, np.nan, 3.0, 4.0, 5.0]
    lines = _lines(figures.curve_svg("loss", range(6), values))
    assert [len(line) for line in lines] == [2, 3]


def test_a_logarithmic_curve_of_powers_of_ten_is_straight():
    drawn = figures.curve_svg("loss", range(5), 10.0 ** -np.arange(5), log=True)
    (points,) = _lines(drawn)
    np.testing.assert_allclose(np.diff(points[:, 1]), np.diff(points[:, 1])[0], atol=0.2)
    assert {"0.001", "0.01", "0.1", "1"} <= set(_texts(drawn))


@pytest.mark.parametrize("values", [[], [1.0], [np.nan, np.nan], [0.0, 0.0]])
@pytest.mark.parametrize("log", [False, True])
def test_curves_of_next_to_nothing_are_drawn(values, log):
    drawn = figures.curve_svg("loss", range(len(values)), values, log=log)
    ET.fromstring(drawn)
    assert "nan" not in drawn


def test_bars_are_as_long_as_their_weights():
    drawn = ET.fromstring(figures.bars_svg(["a", "b", "c"], [0.4, 0.1, 0.0]))
    widths = [float(bar.attrib["width"]) for bar in drawn.iter("rect")]
    np.testing.assert_allclose(np.array(widths) / widths[0], [1, 0.25, 0])


def test_a_colour_bar_writes_low_level_and_high():
    drawn = figures.colour_bar_svg(MapScale(0.125, 0.875, 0.5))
    assert {"0.125", "0.5", "0.875"} <= set(_texts(drawn))


HOSTILE = "<script>\"&'\x00\u202e\udcff"


@pytest.mark.parametrize(
    "drawn",
    [
        figures.roc_svg(LABELS, SCORES, [(HOSTILE, 0.5, 1.0)]),
        figures.histogram_svg(SCORES, LABELS, [(HOSTILE, 0.5)]),
        figures.curve_svg(HOSTILE, [0, 1], [0, 1]),
        figures.bars_svg([HOSTILE], [1.0]),
    ],
)
def test_names_from_outside_are_shown_and_never_obeyed(drawn):
    assert "<script" not in drawn
    words = "".join(_texts(drawn))
    assert "<script>\"&'" in words and "\\u0000\\u202e\\udcff" in words
    drawn.encode("utf-8")


def test_every_figure_has_a_name_for_screen_readers():
    for drawn in (
        figures.roc_svg(LABELS, SCORES, []),
        figures.histogram_svg(SCORES, LABELS, []),
        figures.curve_svg("loss", [0, 1], [0, 1]),
        figures.bars_svg(["a"], [1.0]),
        figures.colour_bar_svg(MapScale(0, 1, 0.5)),
    ):
        root = ET.fromstring(drawn)
        assert root.attrib["role"] == "img" and len(root.attrib["aria-label"]) > 10
