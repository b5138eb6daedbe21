"""`judge`: what is asked of a detector, and what each verdict holds."""

import numpy as np
import pytest

from ad_core.decision import Reason
from ad_core.scoring.localisation import MapScale
from ad_core.scoring.measuring import Measured
from ad_core.scoring.verdict import INSPECT, NORMAL, Decider, Seen, judge
from ad_core.types import Placement

PLACE = Placement(8, 8, (8, 8), (0, 0, 8, 8), (0, 0, 8, 8))


class Half:
    """A detector whose score is the first statistic, and whose threshold is a half."""

    scale, least_region, clipped, band = MapScale(0.0, 1.0, 0.5), 0.0, 0.1, None

    def __init__(self):
        self.explained = []

    def score_statistics(self, statistics):
        return np.asarray(statistics[:, 0], np.float64)

    def decide(self, score):
        return np.where(score >= 0.5, INSPECT, NORMAL)

    def explain(self, statistics, *, inspected):
        self.explained += statistics[:, 0].tolist()
        return [[Reason("mse", float(row[0]), 0.0, 0.4, 1.0)] for row in statistics]


def judged(scores, explain, *, clipped=0.0, unread=()):
    detector = Half()
    assert isinstance(detector, Decider)
    seen = [
        Seen(f"{i}.png", None if i in unread else PLACE, clipped=clipped)
        for i in range(len(scores))
    ]
    rows = np.asarray(scores, np.float32)[:, None]
    measured = Measured(rows, np.zeros((len(rows), 1, 8, 8), np.float32), None)
    return judge(detector, seen, measured, explain=explain), detector.explained


@pytest.mark.parametrize(
    ("explain", "asked"), [(True, [0.75, 1.0]), ("all", [0.25, 0.75, 0.0, 1.0]), (False, [])]
)
def test_reasons_are_asked_for_those_rows_alone_that_need_them(explain, asked):
    verdicts, explained = judged([0.25, 0.75, 0.0, 1.0], explain)
    assert explained == asked
    assert [one.score for one in verdicts if one.reasons] == asked
    assert [one.decision for one in verdicts] == [NORMAL, INSPECT, NORMAL, INSPECT]


def test_nothing_is_asked_where_nothing_is_inspected():
    verdicts, explained = judged([0.25, 0.0], True)
    assert explained == [] and all(one.reasons == () for one in verdicts)


def test_an_image_that_is_inspected_for_its_clipping_alone_says_why():
    (verdict,), explained = judged([0.25], True, clipped=0.5)
    assert explained == [0.25]
    assert [reason.name for reason in verdict.reasons] == ["clipped", "mse"]


def test_a_verdict_holds_its_statistics_and_an_unread_one_none():
    verdicts, _ = judged([0.25, 0.75, 0.5], False, unread=(1,))
    assert [None if v.statistics is None else v.statistics.tolist() for v in verdicts] == [
        [0.25],
        None,
        [0.5],
    ]
