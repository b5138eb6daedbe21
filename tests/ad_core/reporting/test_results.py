import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from ad_core.decision.thresholds.threshold import Threshold
from ad_core.errors import UserError
from ad_core.reporting import results

FITTED = {"split": "calibration", "normal": 5, "abnormal": 4}
PROMISE = {"statement": "words", "miss_rate_bound": 0.5, "confidence": 0.95, "n_abnormal": 4}


def test_held_out_counts_a_hand_drawn_case():
    labels = np.array([0, 0, 0, 1, 1, 1])
    scores = np.array([0.1, 0.5, np.nan, 0.4, 0.5, 0.9])
    figures = results.held_out(labels, scores, {"zfn": Threshold(0.5, "zfn", FITTED, PROMISE)})
    assert figures == {
        "zfn": {
            "threshold": 0.5,
            "tp": 2,
            "fn": 1,
            "fp": 2,  # one at the threshold itself, one without a score
            "tn": 1,
            "tpr": pytest.approx(2 / 3),
            "fpr": pytest.approx(2 / 3),
            "accuracy": 0.5,
            "fitted_on": FITTED,
            "guarantee": PROMISE,
        }
    }


def test_a_rule_that_refused_stands_with_its_reason():
    figures = results.held_out(np.array([0]), np.array([0.5]), {"zfn": "no abnormal image"})
    assert figures == {"zfn": {"refused": "no abnormal image"}}


def test_a_threshold_of_the_test_split_judges_nothing():
    threshold = Threshold(0.5, "zfn", {**FITTED, "split": "test"})
    with pytest.raises(UserError, match="test split"):
        results.held_out(np.array([0]), np.array([0.5]), {"zfn": threshold})


@pytest.mark.parametrize(("missed", "n"), [(0, 59), (1, 40), (7, 20)])
def test_the_miss_rate_bound_leaves_five_percent_of_scipys_binomial(missed, n):
    bound = results.miss_rate_bound(missed, n)
    assert binom.cdf(missed, n, bound) == pytest.approx(0.05)


def test_fifty_nine_images_without_a_miss_bear_out_five_percent():
    assert results.miss_rate_bound(0, 59) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert results.miss_rate_bound(0, 59) < 0.05 < results.miss_rate_bound(0, 58)


@pytest.mark.parametrize(("missed", "n"), [(0, 0), (3, 3)])
def test_nothing_is_borne_out_by_no_image_or_by_misses_alone(missed, n):
    assert results.miss_rate_bound(missed, n) == 1


def test_a_thousand_parts_of_a_hand_drawn_line():
    line = results.per_thousand(0.9, 0.1, defect_rate=0.01)
    assert line == pytest.approx(
        {"inspected": 108, "defects_caught": 9, "defects_missed": 1, "precision": 9 / 108}
    )
    assert results.per_thousand(0.0, 0.0)["precision"] is None


def test_results_survive_as_strict_json(tmp_path):
    path = tmp_path / "results.json"
    written = {
        "a": np.float32(0.5),
        "b": float("nan"),
        "c": (1, np.inf),
        "d": {"e": np.arange(2), 1: True},
        "f": None,
        "g": "ü",
    }
    results.write_results(path, written)
    expected = {
        "a": 0.5,
        "b": None,
        "c": [1, None],
        "d": {"e": [0, 1], "1": True},
        "f": None,
        "g": "ü",
    }

    def refuse(name):
        raise AssertionError(name)

    assert json.loads(path.read_text("utf-8"), parse_constant=refuse) == expected
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_results_refuse_what_is_not_plain(tmp_path):
    with pytest.raises(TypeError, match="PosixPath|object"):
        results.write_results(tmp_path / "results.json", {"a": object(), "b": Path()})
    assert not list(tmp_path.iterdir())


def test_what_an_operator_pays_is_that_of_the_counts():
    of = {"tp": 49, "fn": 1, "fp": 5, "tn": 95}
    price = results.operation(of, prevalence=0.005)
    assert price["prevalence"] == 0.005
    alarms, misses = price["false_alarms_per_thousand"], price["misses_per_million"]
    assert alarms["estimate"] == pytest.approx(0.05 * 995)
    assert misses["estimate"] == pytest.approx(0.02 * 5000)
    # Clopper-Pearson: the tails of the counts at the ends hold 2.5 % each.
    assert binom.sf(4, 100, alarms["low"] / 995) == pytest.approx(0.025)
    assert binom.cdf(1, 50, misses["high"] / 5000) == pytest.approx(0.025)
    words = results.price_in_words(price)
    assert words.startswith("at 0.5 % abnormal parts 49.8 (") and "misses per million" in words
    assert results.operation({**of, "tp": 0, "fn": 0}, prevalence=0.1) is None


def test_groups_are_missed_by_one_image_and_alarm_by_one_image():
    # Two patients with abnormal images, of the first one passes; of three normal parts one alarms.
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    groups = np.array(["p", "p", "q", "a", "a", "b", "c", "q"])
    flags = np.array([True, False, True, True, False, False, False, False])
    found = results.group_counts(labels, flags, groups)
    assert found == {"tp": 1, "fn": 1, "tn": 3, "fp": 1}
    alone = results.group_counts(labels, flags, np.arange(8))
    assert alone is None


def test_a_person_looks_at_what_one_rule_flags_and_the_other_does_not():
    labels = np.array([0, 0, 0, 1, 1, 1])
    lower = np.array([False, True, True, True, True, False])
    upper = np.array([False, False, True, False, True, True])
    found = results.review(labels, lower, upper, rule="target_fpr")
    assert found["normal"] == {"normal": 1, "person": 1, "inspect": 1}
    # The deciding rule alone says normal, whatever the other says.
    assert found["abnormal"] == {"normal": 1, "person": 1, "inspect": 1}
    assert "1 of 3 normal and 1 of 3 abnormal images" in results.review_in_words(found)


def test_an_interval_is_written_as_people_write_numbers():
    rate = {"estimate": 1071.4, "low": 227.04, "high": 12821.9}
    assert results.interval(rate) == "1,070 (227 to 12,800)"
    assert results.interval({"estimate": 0.0, "low": 0.0, "high": 3.6941}) == "0 (0 to 3.69)"
