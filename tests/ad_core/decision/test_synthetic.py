"""The choice of a score by made-up defects, and what they never touch."""

from functools import partial

import numpy as np
import pytest
from ml_collections import ConfigDict
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import roc_auc_score

from ad_core.data.source import Record
from ad_core.decision import load_classifier, save_classifier
from ad_core.decision.calibration import calibrate
from ad_core.decision.classifiers.fitting import anomaly_score
from ad_core.decision.explainer import Explainer
from ad_core.decision.synthetic import (
    TRAINED,
    Candidate,
    candidates_of,
    learn_chosen,
    partial_auc,
    standard_error,
    tell,
    unseen_scores,
    usable,
)
from ad_core.decision.table import joined, make_table
from ad_core.runtime.defaults import defaults

NAMES = ("loss_a", "loss_b", "other")
KINDS = ("scratch", "texture")
NORMALS, ODD = 80, 40


def tables(shift, *, names=NAMES, seed=0, normals=NORMALS):
    """Normal rows ~ N(0, 1), made-up defects moved by `shift` [kinds, columns]; two of a group."""
    rng = np.random.default_rng(seed)
    groups = [f"part {i // 2}" for i in range(normals)]
    records = [Record(f"{i}.png", 0, "good", g, "", False) for i, g in enumerate(groups)]
    table = make_table(records, names, rng.normal(size=(normals, len(names))), [""] * normals)
    base = np.arange(ODD) % normals
    kinds = [KINDS[i % 2] for i in range(ODD)]
    made = [
        Record(f"{b}.png#{k}", 1, k, groups[b], "", False) for b, k in zip(base, kinds, strict=True)
    ]
    moves = np.array([np.broadcast_to(shift, (2, len(names)))[KINDS.index(k)] for k in kinds])
    synthetic = make_table(made, names, table.values[base] + moves, [""] * ODD)
    return table, synthetic


def decision_of(**changes):
    decision = ConfigDict(defaults("cpu").decision.to_dict())
    decision.update({"rule": "normal_quantile", "rules": ("zfn", "normal_quantile"), **changes})
    return decision


def calibrated(table, synthetic, *, synthetic_does="choose", **changes):
    decision = decision_of(synthetic=synthetic_does, **changes)
    return calibrate(table, decision, split="calibration", seed=0, synthetic=synthetic)


def figures_of(shift, *, synthetic="weigh", **options):
    calibration = calibrated(*tables(shift, **options), synthetic_does=synthetic)
    return calibration, calibration.facts["synthetic"]


def test_partial_auc_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    normal, odd = rng.normal(size=40), rng.normal(1.0, size=25)
    labels, scores = np.r_[np.zeros(40), np.ones(25)], np.r_[normal, odd]
    standardised = roc_auc_score(labels, scores, max_fpr=0.1)
    area = (2 * standardised - 1) * (0.1 - 0.005) + 0.005  # McClish's scaling undone
    assert partial_auc(normal, odd) == pytest.approx(area / 0.1)


def test_partial_auc_of_all_rates_is_the_auc_with_ties():
    rng = np.random.default_rng(1)
    normal, odd = rng.integers(0, 5, 30).astype(float), rng.integers(1, 7, 20).astype(float)
    labels, scores = np.r_[np.zeros(30), np.ones(20)], np.r_[normal, odd]
    assert partial_auc(normal, odd, most=1.0) == pytest.approx(roc_auc_score(labels, scores))


def test_partial_auc_of_few_normals_looks_at_the_highest():
    assert partial_auc(np.array([1.0, 3.0]), np.array([0.0, 2.0, 4.0, 3.0])) == pytest.approx(
        1.5 / 4
    )


def test_own_score_that_tells_the_defects_is_chosen_alone():
    calibration, made = figures_of([0, 5, 0])
    assert made["chosen"] == calibration.name == "single of loss_b"
    assert made["figures"]["single of loss_b"] > 0.95 > 0.3 > made["figures"]["single of loss_a"]
    assert made["kinds"] == {"scratch": 20, "texture": 20}
    table, _ = tables([0, 5, 0])
    np.testing.assert_array_equal(
        anomaly_score(calibration.classifier, table.values), table.values[:, 1]
    )
    np.testing.assert_array_equal(calibration.scores, table.values[:, 1].astype(np.float64))


def test_statistics_are_weighed_where_the_defects_clearly_ask_for_it():
    calibration, made = figures_of([2.4, -2.4, 2.4])
    assert made["chosen"] == TRAINED
    assert "weighed the statistics" in made["statement"]
    assert made["figures"][TRAINED] > made["figures"]["single of loss_a"] + made["error"]
    table, synthetic = tables([2.4, -2.4, 2.4], seed=7)
    scores = anomaly_score(calibration.classifier, joined(table, synthetic).values)
    assert roc_auc_score(joined(table, synthetic).label, scores) > 0.97


def test_nothing_learns_from_the_defects_unless_told_to():
    calibration, made = figures_of([2.4, -2.4, 2.4], synthetic="choose")
    assert TRAINED not in made["figures"] and "weighed" not in made["statement"]
    assert calibration.name in made["figures"] and len(made["figures"]) == 3


def test_mark_of_one_kind_wins_nothing():
    # Each kind has a mark of its own, of which the other says nothing.
    shift = np.array([[1.5, 0, 40, 0], [1.5, 0, 0, 40]])
    _, made = figures_of(shift, names=("loss_a", "loss_b", "mark", "other_mark"))
    assert made["figures"][TRAINED] < 0.7


def test_made_up_defects_count_in_no_promise_and_in_no_table_of_counts():
    table, synthetic = tables([0, 5, 0])
    with_them, without = calibrated(table, synthetic), calibrated(table, None)
    assert without.name == "one_class" and without.facts["synthetic"] is None
    for calibration in (with_them, without):
        threshold = calibration.thresholds["normal_quantile"]
        assert threshold.fitted_on == {"split": "calibration", "normal": NORMALS, "abnormal": 0}
        assert threshold.guarantee["n_abnormal"] == threshold.guarantee["n_groups"] == 0
        assert threshold.guarantee["miss_rate_bound"] is None
        assert calibration.facts["lowest"] == [] and calibration.facts["defects"] == {}
        assert len(calibration.scores) == NORMALS and "zfn" in calibration.refused
    statement = with_them.facts["synthetic"]["statement"]
    assert "40 made-up defects" in statement and "They are no abnormal images" in statement


def test_threshold_lies_among_normals_alone():
    table, synthetic = tables([2.4, -2.4, 2.4])
    calibration = calibrated(table, synthetic, synthetic_does="weigh")
    assert calibration.name == TRAINED
    value = calibration.thresholds["normal_quantile"].value
    assert value == np.nextafter(calibration.scores.max(), np.inf)


def test_named_classifier_and_abnormal_images_leave_them_nothing_to_choose():
    table, synthetic = tables([0, 5, 0])
    assert calibrated(table, synthetic, classifier="one_class").facts["synthetic"] is None
    labelled = table._replace(label=(np.arange(NORMALS) >= 60).astype(int))
    given = calibrated(labelled, synthetic, classifier="logistic_regression")
    assert given.facts["synthetic"] is None


def test_no_score_comes_from_a_classifier_that_learnt_its_group():
    table, synthetic = tables([0, 0, 0])
    # The only column is the number of the group: a classifier that keeps them tells what it knows.
    number = {group: k for k, group in enumerate(dict.fromkeys(table.group))}
    given = [
        one._replace(values=np.array([[number[g]] for g in one.group], np.float32))
        for one in (table, synthetic)
    ]

    class Known(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.known = set(X[:, 0])
            return self

        def decision_function(self, X):
            return np.array([float(x in self.known) for x in X[:, 0]])

    teach = np.ones(ODD, bool)
    normal, odd = unseen_scores(Known, *given, teach=teach, folds=5, seed=0)
    assert not normal.any() and not odd.any()


@pytest.mark.parametrize(("resample", "rows"), [("over", 2 * NORMALS), ("under", 2 * ODD)])
def test_made_up_defects_that_are_learnt_are_resampled_as_abnormal_images_are(resample, rows):
    table, synthetic = tables([0, 0, 0])
    learnt = []

    class Counting(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            learnt.append((int((y == 0).sum()), int((y == 1).sum())))
            return self

        def decision_function(self, X):
            return np.zeros(len(X))

    chosen = Candidate("logistic_regression")
    given = {"folds": 5, "seed": 0, "resample": resample}
    learn_chosen(lambda _: Counting(), chosen, table, synthetic, **given)
    assert len(learnt) == 6 and all(normal == odd for normal, odd in learnt)
    assert sum(learnt[-1]) == rows


def test_error_is_that_of_a_share_where_one_threshold_tells():
    # 10 normals: the highest alone counts, and two thirds of the defects lie above it.
    table, synthetic = tables([0, 0, 0], normals=10)
    table = table._replace(group=tuple(map(str, range(10))), values=np.zeros((10, 3), np.float32))
    above = np.arange(ODD) % 3 > 0
    synthetic = synthetic._replace(
        defect=("scratch",) * ODD,
        group=tuple(str(i % 10) for i in range(ODD)),
        values=np.where(above, 1.0, -1.0)[:, None].astype(np.float32) * np.ones(3, np.float32),
    )
    told = tell(
        lambda c: Single(), Candidate("single", ("loss_a",)), table, synthetic, folds=5, seed=0
    )
    assert told.figure() == pytest.approx(above.mean())
    error = standard_error(told, np.array(table.group), np.array(synthetic.group), seed=0)
    shares = [above[np.arange(ODD) % 10 == g].mean() for g in range(10)]
    assert error == pytest.approx(np.std(shares) / np.sqrt(10), rel=0.15)


class Single(BaseEstimator):
    def fit(self, X, y):
        return self

    def decision_function(self, X):
        return X[:, 0].astype(float)


def test_candidates_are_own_scores_whose_high_end_may_be_abnormal():
    names = (
        "loss_score",
        "ssim",
        "mse",
        "vqgan.loss_map_max",
        "loss_flat",
        "loss_fake_logits_map_max",
    )
    table, _ = tables(0.0, names=names)
    table.values[:, 4] = 1.0
    single = [one.own for one in candidates_of(table, weigh=False) if one.name == "single"]
    assert single == [("loss_score",), ("vqgan.loss_map_max",)]


def test_several_memories_judge_together_by_the_mean_of_their_standardised_scores():
    names = ("loss_score", "loss_top", "gaussian.loss_score")
    table, synthetic = tables([0, 9, 0], names=names)  # the defects ask for loss_top alone
    table.values[:, 2] *= 100.0
    calibration = calibrated(table, synthetic)
    made = calibration.facts["synthetic"]
    assert made["chosen"] == "average of loss_score and gaussian.loss_score"
    assert made["figures"]["single of loss_top"] > made["figures"][made["chosen"]]
    assert "the score is the average" in made["statement"] and "single" not in made["statement"]
    scaled = [(x - x.mean()) / x.std() for x in table.values.T[[0, 2]]]
    expected = np.mean(scaled, axis=0)
    found = anomaly_score(calibration.classifier, table.values)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    explainer = Explainer(calibration.classifier, names, table.values)
    assert explainer.names == ("loss_score", "gaussian.loss_score")
    weighed = calibrated(table, synthetic, synthetic_does="weigh").facts["synthetic"]
    assert weighed["chosen"] == "single of loss_top" and weighed["by_defects"]


def test_one_memory_beside_others_judges_by_what_made_up_defects_choose():
    names = ("loss_score", "loss_top", "features.loss_other")
    made = calibrated(*tables([0, 9, 0], names=names)).facts["synthetic"]
    assert made["chosen"] == "single of loss_top"


def test_rows_without_values_or_of_a_group_that_left_are_not_used():
    table, synthetic = tables(0.0)
    errors = ("broken",) + synthetic.error[1:]
    synthetic = synthetic._replace(error=errors, group=synthetic.group[:-1] + ("elsewhere",))
    assert usable(synthetic, table).path == synthetic.path[1:-1]


def test_without_a_usable_row_nothing_is_chosen_by_them():
    table, synthetic = tables([0, 5, 0])
    assert calibrated(table, synthetic._replace(error=("broken",) * ODD)).name == "one_class"


@pytest.mark.parametrize("shift", [[0, 5, 0], [2.4, -2.4, 2.4]])
def test_chosen_classifier_is_saved_and_explained_like_any_other(tmp_path, shift):
    calibration, made = figures_of(shift)
    table, synthetic = tables(shift)
    save_classifier(calibration.classifier, tmp_path / "classifier.skops")
    loaded = load_classifier(tmp_path / "classifier.skops")
    np.testing.assert_array_equal(
        anomaly_score(loaded, synthetic.values),
        anomaly_score(calibration.classifier, synthetic.values),
    )
    explainer = Explainer(loaded, NAMES, table.values)
    expected = ("loss_b",) if "single" in made["chosen"] else NAMES
    assert explainer.names == expected
    assert explainer.reasons(synthetic.values, top=1)[0][0].name in expected


def test_same_seed_chooses_the_same():
    make = partial(figures_of, [1.0, 1.2, 0.0])
    assert make()[1] == make()[1]
