"""The comparison of choices under a proof, against their definitions."""

import numpy as np
import pytest

from ad_core.data.source import Record
from ad_core.decision.classifiers.proved_ridge import ConformalRidge
from ad_core.decision.table import make_table, write_table
from tests.benchmark_script import script

integrative = script("integrative")


@pytest.fixture
def made():
    """(rows, labels, later rows, which columns are features)."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [40, 30])
    rows, later = rng.normal(size=(70, 12)) + 0.6 * labels[:, None], rng.normal(size=(15, 12)) + 0.3
    return rows, labels, later, np.arange(12) >= 4


@pytest.mark.parametrize("kind", range(6))
def test_a_row_and_the_others_have_the_values_of_ridges_that_left_each_out(made, kind):
    rows, labels, later, features = made
    targets, penalty = np.where(labels == 1, 1.0, -1.0), 0.3
    later = later[:2]
    inside, across, own = integrative.kernels(rows, later, features, labels == 0, True)[kind]
    found = integrative.conformal((inside, across, own), targets, penalty)
    for t in range(2):
        whole = np.block([[inside, across[t][:, None]], [across[t][None], own[t]]])
        wanted = np.append(targets, 1.0)
        for i in (0, 55, 70):
            rest = np.delete(np.arange(71), i)
            system = whole[np.ix_(rest, rest)] + penalty * np.eye(70)
            value = whole[i, rest] @ np.linalg.solve(system, wanted[rest])
            assert found[t, i] == pytest.approx(value, abs=1e-9)


def test_one_ridge_is_the_classifier_that_the_project_offers(made):
    rows, labels, later, features = made
    ranks, n, factor = integrative.ridges(rows, labels, later, features, np.arange(70))["one ridge"]
    fitted = ConformalRidge(features=np.flatnonzero(features)).fit(rows, labels)
    assert (n, factor) == (30, 1)
    np.testing.assert_array_equal(ranks, np.floor(fitted.decision_function(later) * 31))


def test_a_rank_is_among_the_abnormal_values_of_the_candidate_with_the_fewest_alarms():
    odd = np.array([False, False, True, True, True])
    alarming = [[5.0, 5.0, 1.0, 2.0, 3.0, 9.0]]  # both normals lie above every abnormal value
    sound = [[0.0, 0.0, 1.0, 2.0, 3.0, 2.0]]
    assert integrative.chosen_rank(np.array([alarming, sound]), odd).tolist() == [2]


def test_every_form_promises_no_more_than_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(integrative, "CANDIDATES", ("logistic_regression", "k_nn"))
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 90])
    names = ("shift", *(f"deep_features_{i:04d}" for i in range(3)))
    records = [
        Record(f"{i}.png", int(one), "good", f"part {i}", "", False) for i, one in enumerate(labels)
    ]
    values = (rng.normal(size=(150, 4)) + labels[:, None]).astype(np.float32)
    path = tmp_path / "run" / "statistics" / "calibration.parquet"
    write_table(path, make_table(records, names, values, [""] * 150))
    pool = integrative.pool_of(tmp_path / "run")
    found = integrative.compared(pool, 0.1, 0)
    assert set(found) >= {"one ridge", "split", "split, best", "CV+, best"}
    assert len(pool[1]) == 4 and integrative.is_feature(names[1])
    for missed, alarms, bound in found.values():
        assert 0.03 < bound <= 0.1 and missed < 0.4 and alarms < 0.9
    assert "| run | 1 |" in integrative.row(tmp_path / "run", [found])
    figures = integrative.figures(
        (np.arange(40), 40, 2), np.repeat([0, 1], 20), np.arange(40), 0.03
    )
    assert figures is None
