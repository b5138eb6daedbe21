"""Thresholds with the defects of a line: what counts, what lowers, what never raises."""

import json

import numpy as np
import pytest
from scipy.stats import beta

from ad_core.console.promise import Evidence, Judged
from ad_core.console.recalibrate import LINE, LOWEST, effect, refit
from ad_core.decision import Threshold, fit_threshold
from ad_core.decision.calibration import calibrate
from ad_core.decision.facts import read_scored, scored
from ad_core.decision.table import StatisticsTable
from ad_core.errors import UserError
from ad_core.scoring.detector import Parts
from ad_core.scoring.localisation import MapScale
from tests.small_config import small_config

NOTHING = Evidence((), (), 0)


def table_of(labels):
    count = len(labels)
    return StatisticsTable(
        path=tuple(f"{i}.png" for i in range(count)),
        label=np.asarray(labels),
        defect=tuple("scratch" if label else "" for label in labels),
        group=tuple(f"{i}.png" for i in range(count)),
        error=("",) * count,
        names=(),
        values=np.zeros((count, 0), np.float32),
    )


def detector(abnormal, *, normal=(0.0, 0.1, 0.2), rule="auto", decides="zfn", facts=True):
    """Parts of a detector that was calibrated on these scores."""
    scores = np.array([*normal, *abnormal])
    labels = np.repeat([0, 1], [len(normal), len(abnormal)])
    threshold = fit_threshold(decides, scores, labels)
    kept = {"scored": scored(table_of(labels), scores), "left_out": []} if facts else None
    return Parts(
        config=small_config(decision={"rule": rule}),
        methods=(),
        classifier=None,
        thresholds={decides: threshold},
        rule=decides,
        scale=MapScale(0.0, 1.0, 0.5),
        reference=np.zeros((3, 0)),
        facts=kept,
    )


def defects(*scores):
    return tuple(Judged(f"line {i}", score, True, "defect") for i, score in enumerate(scores))


def bound(found):
    return found.threshold.guarantee["miss_rate_bound"]


def test_scores_of_calibration_are_read_as_they_were_kept():
    scores = np.array([0.25, np.nan, -3.0])
    table, again = read_scored(
        json.loads(json.dumps({"scored": scored(table_of([0, 1, 1]), scores)}))
    )
    np.testing.assert_array_equal(again, scores)
    assert table.path == table_of([0, 1, 1]).path and table.label.tolist() == [0, 1, 1]


def test_detector_without_its_scores_is_refused():
    with pytest.raises(UserError, match="calibrate its workdir again"):
        refit(detector([1.0, 2.0], facts=False), NOTHING)


def test_without_evidence_nothing_changes():
    parts = detector([1.0, 2.0, 3.0])
    found = refit(parts, NOTHING)
    assert found.threshold == parts.thresholds["zfn"]


def test_without_evidence_every_rule_of_a_calibration_stays_as_it_is():
    rules = ("zfn", "miss_bound", "target_fpr", "accuracy", "normal_quantile", "np_umbrella")
    config = small_config(decision={"rules": rules, "classifier": "logistic_regression"})
    rng, labels = np.random.default_rng(0), np.repeat([0, 1], [80, 70])
    table = table_of(labels)._replace(
        names=("a", "b"),
        values=(rng.normal(size=(150, 2)) + 3 * labels[:, None]).astype(np.float32),
        group=tuple(f"part {i // 2}" for i in range(75)) + tuple(f"{i}" for i in range(75)),
    )
    given = calibrate(table, config.decision, split="calibration", seed=0)
    parts = detector([1.0])._replace(
        config=config, thresholds=given.thresholds, rule=given.rule, facts=given.facts
    )
    found = refit(parts, NOTHING)
    assert len(given.thresholds) >= 5 and found.thresholds == given.thresholds
    assert found.rule == given.rule and found.facts["price"] == given.facts["price"]
    assert found.facts["lowest"] == given.facts["lowest"]


def test_drawn_defects_strengthen_the_promise():
    found = refit(detector([1.0] * 10), Evidence(defects(*[5.0] * 20), (), 0))
    assert found.threshold.value == 1.0
    # All 30 lie at or above the threshold: the closed form 1 - 0.05^(1/30).
    assert bound(found) == pytest.approx(1 - 0.05 ** (1 / 30), rel=1e-12)
    assert found.threshold.fitted_on == {
        "split": "calibration and line",
        "normal": 3,
        "abnormal": 30,
    }


def test_drawn_defect_that_passed_lowers_the_threshold():
    found = refit(detector([1.0] * 10), Evidence(defects(0.4), (), 0))
    assert found.threshold.value == 0.4


def test_defect_found_later_lowers_the_threshold_and_promises_nothing():
    parts = detector([1.0] * 10)
    found = refit(parts, Evidence((), defects(0.3), 0))
    assert found.threshold.value == 0.3
    assert bound(found) == parts.thresholds["zfn"].guarantee["miss_rate_bound"]
    assert "1 more could lower" in found.threshold.guarantee["statement"]


def test_threshold_rises_only_when_enough_count():
    calibrated = np.linspace(1.0, 2.0, 60)
    few = refit(detector(calibrated), Evidence(defects(*np.full(32, 3.0)), (), 0))
    enough = refit(detector(calibrated), Evidence(defects(*np.full(33, 3.0)), (), 0))
    assert (few.rule, few.threshold.value) == ("zfn", 1.0)
    # 93 abnormal images allow one below the threshold: David and Nagaraja's Beta(2, 92).
    assert (enough.rule, enough.threshold.value) == ("miss_bound", calibrated[1])
    assert bound(enough) == pytest.approx(beta.ppf(0.95, 2, 92)) and bound(enough) <= 0.05


def test_lowering_defects_never_raise_the_threshold():
    calibrated = np.linspace(1.0, 2.0, 92)
    for score in (0.5, 1.5, 9.0):
        found = refit(detector(calibrated), Evidence((), defects(*[score] * 100), 0))
        assert found.threshold.value == min(score, 1.0)


def test_first_defects_of_a_line_do_not_raise_a_threshold_that_normals_set():
    parts = detector([], normal=np.linspace(0, 1, 50), decides="normal_quantile")
    before = parts.thresholds["normal_quantile"].value
    high = refit(parts, Evidence(defects(9.0), (), 0), way=LOWEST)
    low = refit(parts, Evidence(defects(0.5), (), 0), way=LOWEST)
    assert (high.threshold.value, low.threshold.value) == (before, 0.5)
    assert bound(high) == pytest.approx(0.95)


def test_line_alone_proves_its_bound_and_asks_for_enough_defects():
    parts = detector([0.5] * 10)
    with pytest.raises(UserError, match="58"):
        refit(parts, Evidence(defects(*np.arange(58.0)), (), 0), way=LINE)
    found = refit(parts, Evidence(defects(*np.arange(1.0, 60.0)), (), 0), way=LINE)
    assert found.threshold.value == 1.0 and found.rule == "miss_bound"
    promised = found.threshold.guarantee
    assert promised["proved"] and promised["n_abnormal"] == 59
    assert promised["miss_rate_bound"] == pytest.approx(1 - 0.05 ** (1 / 59))


def test_images_of_one_part_are_one_draw():
    views = tuple(Judged(f"view {i}", 2.0, True, "defect", group="part 7") for i in range(8))
    found = refit(detector([1.0] * 10), Evidence(views, (), 0))
    assert found.threshold.guarantee["n_groups"] == 11


def test_rule_that_takes_more_than_scores_is_refused():
    parts = detector([1.0, 2.0], rule="proved")
    with pytest.raises(UserError, match="'proved' takes more than the scores"):
        refit(parts, NOTHING)
    with pytest.raises(UserError, match="Unknown way"):
        refit(parts, NOTHING, way="guess")


def test_facts_keep_the_scores_that_calibrated():
    parts = detector([1.0] * 10)
    found = refit(parts, Evidence(defects(0.4), defects(0.7), 2))
    assert found.facts["scored"] == parts.facts["scored"]
    assert found.facts["lowest"][0]["path"] == "line 0"
    assert found.facts["line"]["waiting"] == 2
    again = refit(parts._replace(facts=found.facts, thresholds=found.thresholds), NOTHING)
    assert again.threshold.guarantee["n_abnormal"] == 10


def test_effect_counts_alarms_and_names_the_images_that_turn():
    before, after = (Threshold(value, "manual", {}) for value in (1.0, 2.0))
    seen = [
        Judged("none", None, False),
        Judged("good", 1.5, False, "normal"),
        Judged("bad", 1.2, False, "defect", defect="hole"),
        Judged("low", 0.5, False),
        Judged("high", 2.5, False),
    ]
    found = effect(seen, before, after)
    assert found.alarms == (0.8, 0.4)
    assert [(flip.image, flip.decision) for flip in found.flips] == [
        ("bad", "normal"),
        ("good", "normal"),
    ]
    assert effect([], before, after) == (0, None, ())
