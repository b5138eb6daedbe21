"""The simulation of promises in small, and the tables of figures that it shares with real sets."""

import numpy as np
import pytest

from ad_core.data.source import Record
from ad_core.decision.table import make_table, write_table
from tests.benchmark_script import script

promises = script("promises")
DRAWS = 2000
MOST = 0.05 + 3 * np.sqrt(0.05 * 0.95 / DRAWS)


@pytest.mark.parametrize("world", promises.WORLDS)
def test_no_rule_breaks_its_promise_more_often_than_it_says(world):
    made = promises.WORLDS[world]()
    for rule, options in promises.RULES.values():
        for n in (5, 60):
            found = promises.simulated(made, n, rule, options, DRAWS)
            if found is None:
                continue
            missed, bounds, alarms = found
            assert np.mean(missed > bounds) <= MOST, (rule, n)
            if rule == "conformal_risk":
                assert missed.mean() <= 0.1 + 3 * missed.std() / np.sqrt(DRAWS)
            assert 0 < alarms.mean() < 1


@pytest.mark.parametrize("world", ["continuous", "ties", "groups of 1 to 8"])
@pytest.mark.parametrize("kind", promises.MADE_UP)
def test_made_up_scores_of_any_kind_break_no_promise(world, kind):
    draws = 200
    missed, bound, _ = promises.powered(promises.WORLDS[world](), 20, kind, draws)
    assert missed.mean() <= bound + 3 * missed.std() / np.sqrt(draws)
    if kind == "adversarial" and world == "continuous":  # the bound is sharp
        assert missed.mean() >= bound - 3 * missed.std() / np.sqrt(draws)
    if kind == "alike" and world == "continuous":
        assert missed.mean() == pytest.approx(0.1, abs=0.03)


def test_images_counted_in_place_of_groups_would_break_it():
    found = promises.simulated(promises.Unequal(), 60, "zfn", {}, DRAWS, by_images=True)
    assert np.mean(found[0] > found[1]) > 0.3


def test_a_bound_costs_fewer_false_alarms_than_the_lowest_score():
    world, draws = promises.Continuous(), 50
    lowest = promises.simulated(world, 100, "zfn", {}, draws)
    bound = promises.simulated(world, 100, "miss_bound", {"miss_rate": 0.05}, draws)
    # The same draws: the second lowest score of 100 in place of the lowest.
    assert (bound[2] <= lowest[2]).all() and bound[2].mean() < lowest[2].mean() - 0.05


def test_a_rule_that_cannot_keep_the_bound_is_a_refusal():
    options = {"miss_rate": 0.05}
    assert promises.simulated(promises.Continuous(), 5, "miss_bound", options, 2) is None
    assert promises.ridge(promises.ConformalRidge, 5, 2) is None


@pytest.fixture
def run(tmp_path):
    """A workdir with statistics alone: one column tells the classes apart, one does not."""
    rng = np.random.default_rng(0)
    for split, at in (("calibration", 0), ("test", 1000)):
        labels = np.repeat([0, 1], [40, 100])
        records = [
            Record(f"{at + i}.png", int(one), "good", f"part {at + i}", "", False)
            for i, one in enumerate(labels)
        ]
        values = rng.normal(size=(140, 2)).astype(np.float32)
        values[:, 0] += 4 * labels
        table = make_table(records, ("shift", "noise"), values, [""] * 140)
        write_table(tmp_path / "run" / "statistics" / f"{split}.parquet", table)
    return tmp_path / "run"


def test_classifiers_are_compared_on_calibration_images_alone(run):
    (run / "statistics" / "test.parquet").unlink()
    choice = script("classifier_choice")
    names = ["logistic_regression", "k_nn"]
    n, rank, found = choice.compared(run, names, seeds=2, miss_rate=0.05, confidence=0.95)
    assert (n, rank) == (100, 2)
    for shares in found.values():
        assert shares.shape == (2, 2) and (shares[:, 1] <= shares[:, 0]).all()
    table = choice.table_of({"run": (n, rank, found)}, names, miss_rate=0.05)
    assert "run (n = 100): zfn | 5 % (k = 2)" in table and table.count("\n") == 3
    few = choice.table_of({"run": (n, 0, found)}, names, miss_rate=0.01)
    assert "1 % (cannot be kept)" in few


def test_resplits_keep_images_that_look_alike_in_one_group(run, tmp_path, monkeypatch):
    resplits = script("resplits")
    asked = []

    def alike(root):
        asked.append(root)
        return {f"{i}.png": f"pair {i // 2}" for i in range(1140)}

    monkeypatch.setattr(resplits, "alike", alike)
    _, _, groups, names = resplits.pooled(run, data=tmp_path, plain=True)
    assert asked == [tmp_path / "run"] and names == ()
    assert np.unique(groups).size == 140 and groups[0] == groups[1] == "pair 0"


def test_resplits_thin_pooled_features_and_no_other_column(run):
    resplits = script("resplits")
    names = [f"deep_low_{i:04d}" for i in range(5)]
    for split in ("calibration", "test"):
        path = run / "statistics" / f"{split}.parquet"
        table = resplits.read_table(path)
        values = np.column_stack([table.values, np.tile(np.arange(5.0), (140, 1))])
        write_table(path, table._replace(names=(*table.names, *names), values=values))
    values, _, _, kept = resplits.pooled(run, every=2)
    assert kept == ("shift", "noise", names[0], names[2], names[4])
    np.testing.assert_array_equal(values[0, 2:], [0, 2, 4])


def test_a_resplit_judges_groups_that_it_has_not_seen(run):
    resplits = script("resplits")
    pool = resplits.pooled(run)
    assert len(pool[1]) == 280
    found = resplits.resplit(pool, ["logistic_regression"], 0)["logistic_regression"]
    missed, alarms, bound, rank, n, m = found["miss_bound 10 %"]
    assert (rank, n, m) == (5, 100, 100) and bound <= 0.1
    assert found["zfn"][0] <= missed <= 0.2 and alarms <= found["zfn"][1]
    # Beta-binomial: P(more than 5 of 100 below the lowest of 100) = 100/200 ... 95/195.
    exact = np.prod([(100 - i) / (200 - i) for i in range(6)])
    assert resplits.expected_share(1, 100, 100, 0.05) == pytest.approx(exact, abs=0.003)


def test_classifiers_of_a_resplit_score_as_if_each_had_a_head_of_its_own():
    resplits, rng = script("resplits"), np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)
    values = rng.normal(size=(60, 8)) + labels[:, None]
    names = ("loss", "other", *(f"deep_low_{i:04d}" for i in range(6)))
    pool = values, labels, np.arange(60), names
    fit, judge = np.arange(0, 60, 2), np.arange(1, 60, 2)
    found = resplits.scored(pool, ["svm", "logistic_regression"], fit, judge, 0)
    for name, scores in found.items():
        made = resplits.make_classifier(name, seed=0, names=names)
        made = resplits.fit_classifier(made, values[fit], labels[fit], groups=fit)
        np.testing.assert_allclose(scores, resplits.imputed_score(made, values[judge]), rtol=1e-12)


def test_the_choice_that_adds_each_image_keeps_its_mean_bound_and_ignoring_the_choice_does_not():
    world, draws = promises.CHOICES["six alike"](), 300
    missed, alarms, bound = promises.chosen(world, 20, "integrative", draws)
    flattered, _, same = promises.chosen(world, 20, "ignored", draws)
    assert bound == same == pytest.approx(2 / 21)
    error = 0.065 / np.sqrt(draws)  # Beta(2, 19) has the standard deviation 0.063
    assert missed <= bound + 3 * error < flattered
    _, dear, _ = promises.chosen(world, 60, "union bound", draws)
    assert promises.chosen(world, 60, "integrative", draws)[1] < dear - 0.1 and alarms < 0.5


def test_the_choice_is_the_one_that_adding_each_image_by_hand_gives():
    world, n, rank = promises.Chosen(), 20, 2
    rng = np.random.default_rng(n)
    odd, _ = world.abnormal(rng, 3, n)
    normal = world.normal(rng, 3)
    later, _ = world.abnormal(rng, 3, 20)
    passed = 0
    for draw, of in enumerate(later):
        for x in of.T:
            lines = np.sort(np.column_stack([odd[draw], x]), axis=1)[:, rank - 1]
            best = (normal[draw] >= lines[:, None]).sum(axis=1).argmin()
            passed += x[best] <= lines[best]
    assert promises.chosen(world, n, "integrative", 3)[0] == pytest.approx(passed / 60)
