import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ad_core.data.source import Record
from ad_core.decision import anomaly_score
from ad_core.decision.calibration import calibrate, check_decision, check_single, cross_fit
from ad_core.decision.classifiers.grouped_folds import grouped_folds
from ad_core.decision.facts import read_scored
from ad_core.decision.table import make_table, select
from ad_core.errors import UserError
from tests.small_config import small_config

NAMES = ("shift", "noise", "copy")


def decision_of(**changes):
    config = small_config().decision
    with config.unlocked():
        config.update(changes)
    return config


def table_of(normal=40, abnormal=20, *, shift=3.0, seed=0, errors=()):
    """Two scans a group; `shift` tells the classes apart, `noise` does not."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [normal, abnormal])
    records = [
        Record(f"{i}.png", int(label), "good", f"part {i // 2}", "", False)
        for i, label in enumerate(labels)
    ]
    values = rng.normal(size=(len(labels), 3)).astype(np.float32)
    values[:, 0] += np.float32(shift) * labels
    values[:, 2] = values[:, 0]
    messages = ["it is damaged" if i in errors else "" for i in range(len(labels))]
    values[list(errors)] = np.nan
    return make_table(records, NAMES, values, messages)


@pytest.fixture(scope="module")
def calibrated():
    return calibrate(table_of(), decision_of(), split="calibration", seed=0)


def test_zfn_is_the_lowest_out_of_fold_score_of_an_abnormal_image(calibrated):
    table, found = table_of(), calibrated
    assert found.name == "extra_trees"
    assert found.thresholds["zfn"].value == found.scores[table.label == 1].min()
    assert found.thresholds["zfn"].fitted_on == {
        "split": "calibration", "normal": 40, "abnormal": 20
    }  # fmt: skip
    assert found.refused == {}
    assert 0.9 < roc_auc_score(table.label, found.scores) < 1
    fitted = anomaly_score(found.classifier, table.values)
    assert roc_auc_score(table.label, fitted) >= roc_auc_score(table.label, found.scores)


def test_the_same_table_and_seed_give_the_same_thresholds(calibrated):
    first, again = calibrated, calibrate(table_of(), decision_of(), split="calibration", seed=0)
    assert first.thresholds == again.thresholds
    np.testing.assert_array_equal(first.scores, again.scores)


def test_facts_keep_the_out_of_fold_score_of_every_image(calibrated):
    table, scores = read_scored(json.loads(json.dumps(calibrated.facts)))
    np.testing.assert_array_equal(scores, calibrated.scores)
    given = table_of()
    assert (table.path, table.defect, table.group) == (given.path, given.defect, given.group)
    np.testing.assert_array_equal(table.label, given.label)


def test_unreadable_images_are_left_out_of_the_count():
    table = table_of(errors=(0, 1, 45))
    decision = decision_of(classifier="logistic_regression")
    found = calibrate(table, decision, split="calibration", seed=0)
    assert found.thresholds["zfn"].fitted_on["normal"] == 38
    assert found.thresholds["zfn"].fitted_on["abnormal"] == 19
    assert len(found.scores) == 57


def test_without_abnormal_images_one_class_decides_and_zfn_says_why_not():
    decision = decision_of(rule="normal_quantile")
    found = calibrate(table_of(abnormal=0), decision, split="calibration", seed=0)
    assert found.name == "one_class"
    assert "needs abnormal calibration images" in found.refused["zfn"]
    assert "normal_quantile" in found.thresholds and "zfn" not in found.thresholds
    assert found.thresholds["normal_quantile"].guarantee["n_abnormal"] == 0
    planted = anomaly_score(found.classifier, np.full((1, 3), 9.0, np.float32))
    assert found.thresholds["normal_quantile"].flags(planted).all()


def test_a_rule_that_cannot_decide_names_the_one_that_can():
    table = table_of(abnormal=0)
    mend = r"`decision.rule` \(='auto'\) cannot decide: .*--config\.decision\.rule=normal_quantile"
    with pytest.raises(UserError, match=mend):
        calibrate(table, decision_of(), split="calibration", seed=0)
    with pytest.raises(UserError, match=mend):
        check_decision(decision_of(), table.label, np.array(table.group), split="calibration")
    with pytest.raises(UserError, match="`decision.review`.*'cost' needs `miss_cost`"):
        calibrate(
            table_of(),
            decision_of(review="cost", classifier="logistic_regression"),
            split="calibration",
            seed=0,
        )
    with pytest.raises(UserError, match="Unknown threshold rule 'zffn'"):
        check_decision(
            decision_of(rule="zffn"), table_of().label, np.arange(60), split="calibration"
        )
    with pytest.raises(UserError, match=r"`loss` \(='two_ways'\) must be one of wmw, "):
        check_decision(
            decision_of(loss="two_ways"), table_of().label, np.arange(60), split="calibration"
        )


def test_the_deciding_rule_and_that_of_review_need_no_other_mention():
    decision = decision_of(rule="np_umbrella", review="cost", rules=("zfn",), miss_rate=0.3)
    decision.classifier = "logistic_regression"
    decision.update({"delta": 0.1, "miss_cost": 50.0, "alarm_cost": 1.0, "prevalence": 0.02})
    found = calibrate(table_of(), decision, split="calibration", seed=0)
    assert list(found.thresholds) == ["zfn", "np_umbrella", "cost"]
    guarantee = found.thresholds["np_umbrella"].guarantee
    assert guarantee["confidence"] == 0.9 and guarantee["miss_rate_bound"] <= 0.3
    by_hand = decision_of(rule="manual", threshold=0.25, classifier="one_class")
    found = calibrate(table_of(), by_hand, split="calibration", seed=0)
    assert found.thresholds["manual"].value == 0.25


def test_a_proved_classifier_decides_by_its_own_rank():
    decision = decision_of(
        classifier="conformal_ridge", rule="proved", rules=("zfn",), miss_rate=0.2
    )
    table = table_of(60, 20)
    found = calibrate(table, decision, split="calibration", seed=0)
    # Two images a part: 10 parts, of which floor(0.2 x 11) = 2 ranks are given up.
    assert found.thresholds["proved"].value == 2 / 11
    assert found.thresholds["proved"].guarantee["proved"]
    assert not found.thresholds["zfn"].guarantee["proved"]
    planted = anomaly_score(found.classifier, np.array([[9, 0, 9], [-9, 0, -9]], np.float32))
    assert found.thresholds["proved"].flags(planted).tolist() == [True, False]
    check_decision(decision, table.label, np.array(table.group), split="calibration")
    for other in ({"classifier": "extra_trees"}, {"resample": "over"}):
        changed = decision_of(**{**decision.to_dict(), **other})
        with pytest.raises(UserError, match="needs a classifier whose score carries a proof"):
            check_decision(changed, table.label, np.array(table.group), split="calibration")


def test_auto_and_what_it_chose_are_told():
    few = calibrate(table_of(), decision_of(), split="calibration", seed=0)
    assert few.rule == "zfn" and "10 abnormal groups calibrated, and 93" in few.facts["reason"]
    decision = decision_of(classifier="logistic_regression", rule="auto", miss_rate=0.4)
    enough = calibrate(table_of(40, 40), decision, split="calibration", seed=0)
    assert enough.rule == "miss_bound" and "took miss_bound" in enough.facts["reason"]
    bound = enough.thresholds["miss_bound"]
    assert bound.value > enough.thresholds["zfn"].value
    assert bound.guarantee["miss_rate_bound"] <= 0.4
    (asked,) = [offer for offer in enough.facts["price"] if offer["bound"] == 0.2]
    assert asked["threshold"] == enough.thresholds["zfn"].value


@pytest.mark.parametrize("resample", ["over", "under"])
def test_resampling_stays_within_the_rows_to_fit(resample):
    table = table_of(40, 8)
    decision = decision_of(classifier="logistic_regression", class_weight="none", resample=resample)
    found = calibrate(table, decision, split="calibration", seed=0)
    assert found.thresholds["zfn"].fitted_on["abnormal"] == 8 and len(found.scores) == 48
    plain = decision_of(classifier="logistic_regression", class_weight="none")
    plain = calibrate(table, plain, split="calibration", seed=0)
    # Balanced by its rows, the average score lies higher.
    assert np.mean(found.scores) > np.mean(plain.scores) + 0.5


def test_selection_takes_the_classifier_that_can_and_reports_its_optimism():
    rng = np.random.default_rng(0)
    table = table_of(40, 24, shift=0.0)
    angle = rng.uniform(0, 2 * np.pi, 64)
    radius = np.where(table.label == 1, 3.0, 1.0)
    circle = np.stack([radius * np.cos(angle), radius * np.sin(angle), angle], axis=1)
    table = table._replace(values=circle.astype(np.float32))
    decision = decision_of(
        classifier="select", candidates=("logistic_regression", "k_nn"), criterion="auc", folds=3
    )
    found = calibrate(table, decision, split="calibration", seed=0)
    selection = found.selection
    assert found.name == selection.name == "k_nn" and set(selection.chosen) == {"k_nn"}
    assert selection.inside["k_nn"] > 0.95 > selection.inside["logistic_regression"]
    assert selection.optimism == selection.inside["k_nn"] - selection.outside
    assert "whichever of 2 classifiers" in found.thresholds["zfn"].guarantee["statement"]
    with pytest.raises(UserError, match="`criterion`"):
        check_decision(
            decision_of(classifier="select", criterion="f1"),
            table.label, np.array(table.group), split="calibration",
        )  # fmt: skip


def test_the_test_split_sets_no_threshold():
    with pytest.raises(UserError, match="flatters itself"):
        decision = decision_of(classifier="logistic_regression")
        calibrate(table_of(), decision, split="test", seed=0)


def pool_and_folds(decision):
    table = table_of(30, 18, shift=1.5)
    folds = grouped_folds(table.label, np.array(table.group), folds=decision.folds, seed=0)
    return table, folds


def test_a_fold_of_a_pool_is_judged_without_its_labels_values_or_groups():
    decision = decision_of(folds=3, classifier="logistic_regression")
    table, folds = pool_and_folds(decision)
    whole = cross_fit(table, decision, seed=0)
    assert np.isfinite(whole.scores).all()
    for fit, judge in folds:
        groups = np.array(table.group)
        assert not set(groups[fit]) & set(groups[judge])
        rest = calibrate(select(table, fit), decision, split="pool", seed=0)
        scores = anomaly_score(rest.classifier, table.values[judge])
        np.testing.assert_array_equal(whole.scores[judge], scores)
        for rule, threshold in rest.thresholds.items():
            np.testing.assert_array_equal(whole.flags[rule][judge], threshold.flags(scores))


def test_what_a_fold_holds_does_not_move_its_own_line():
    """Another image in a fold changes its own verdict, and no other of that fold."""
    decision = decision_of(folds=3, classifier="logistic_regression")
    table, folds = pool_and_folds(decision)
    whole = cross_fit(table, decision, seed=0)
    fit, judge = folds[0]
    values = table.values.copy()
    values[judge[0]] = 50.0
    moved = cross_fit(table._replace(values=values), decision, seed=0)
    assert moved.scores[judge[0]] != whole.scores[judge[0]]
    np.testing.assert_array_equal(moved.scores[judge[1:]], whole.scores[judge[1:]])
    for rule, flagged in whole.flags.items():
        np.testing.assert_array_equal(moved.flags[rule][judge[1:]], flagged[judge[1:]])
    assert (moved.scores[fit] != whole.scores[fit]).any()


def test_labels_exchanged_within_a_fold_leave_its_scores(monkeypatch):
    decision = decision_of(folds=3, classifier="logistic_regression")
    table, folds = pool_and_folds(decision)
    # The folds are drawn by label: they are held still while labels change.
    monkeypatch.setattr(
        "ad_core.decision.calibration.grouped_folds", lambda *arguments, **options: folds
    )
    whole = cross_fit(table, decision, seed=0)
    fit, judge = folds[0]
    labels = table.label.copy()
    labels[judge] = labels[judge][::-1]
    assert (labels != table.label).any()
    moved = cross_fit(table._replace(label=labels), decision, seed=0)
    np.testing.assert_array_equal(moved.scores[judge], whole.scores[judge])
    assert (moved.scores[fit] != whole.scores[fit]).any()


def test_single_judges_by_one_statistic_and_refuses_several():
    table = table_of()
    one = table._replace(names=("sse",), values=table.values[:, :1])
    found = calibrate(one, decision_of(classifier="single"), split="calibration", seed=0)
    np.testing.assert_array_equal(found.scores, one.values[:, 0])
    assert found.thresholds["zfn"].value == one.values[table.label == 1].min()
    assert set(found.thresholds) == {"zfn", "accuracy", "target_fpr", "normal_quantile"}
    with pytest.raises(UserError, match="gives shift, noise, copy; name one"):
        calibrate(table, decision_of(classifier="single"), split="calibration", seed=0)
    check_single("single", ("sse",))
    with pytest.raises(UserError, match="gives fast; name one, as in --config.statistics.names"):
        check_single("single", ("fast",))
