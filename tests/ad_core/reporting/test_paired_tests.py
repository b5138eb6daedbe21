"""Paired tests against the worked example of their source, and small cases by hand."""

import numpy as np
import pytest

from ad_core.reporting.critical_difference import difference_svg
from ad_core.reporting.paired_tests import (
    cliques,
    compare_pairs,
    critical_difference,
    friedman,
    holm,
    least_p,
    mean_ranks,
    rank_methods,
    signed_rank,
)

# J. Demšar, JMLR 7, 2006, table 6: AUC of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 sets. The
# paper ranks the two last 2 and 3 on `voting`, where both round to 0.975.
NAMES = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
    ]
)  # fmt: skip
FIGURES = {
    name: {f"set {row}": value for row, value in enumerate(DEMSAR[:, column])}
    for column, name in enumerate(NAMES)
}


def test_mean_ranks_and_friedmans_statistic_are_those_of_the_paper():
    np.testing.assert_allclose(mean_ranks(DEMSAR), [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    # The paper's 9.28 is not corrected for ties: 3 pairs (6 each) and a four (60) of 14 (4^3 - 4).
    statistic, p = friedman(DEMSAR)
    assert statistic * (1 - (3 * 6 + 60) / (14 * 60)) == pytest.approx(9.28, abs=0.005)
    assert 0.01 < p < 0.05


@pytest.mark.parametrize(("alpha", "critical"), [(0.05, 1.25), (0.10, 1.12)])
def test_the_critical_difference_is_that_of_the_paper(alpha, critical):
    assert critical_difference(4, 14, alpha=alpha) == pytest.approx(critical, abs=0.005)


@pytest.mark.parametrize(
    ("methods", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)]
)
def test_quantiles_are_those_of_the_papers_table_5(methods, q):
    n = methods * (methods + 1)  # then the root is that of 1 / 6
    assert critical_difference(methods, n) * 6**0.5 == pytest.approx(
        q, abs=1e-3
    )  # cut, not rounded


def test_the_signed_rank_test_rejects_what_the_paper_rejects():
    """Section 3.1.3: R+ = 93, R- = 12, so z = -2.54 of a normal distribution."""
    p = signed_rank(DEMSAR[:, 1] - DEMSAR[:, 0])
    assert p == pytest.approx(0.011, abs=0.0005)


def test_without_ties_the_signed_rank_test_is_exact():
    assert signed_rank(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == 2 / 2**5 == least_p(5)
    assert signed_rank(np.zeros(4)) == 1.0


def test_holms_adjustment_of_a_case_by_hand():
    """0.01 x 4, 0.02 x 3, 0.03 x 2 (no less than 0.06 before it), 0.5 x 1."""
    np.testing.assert_allclose(holm([0.03, 0.01, 0.5, 0.02]), [0.06, 0.04, 0.5, 0.06])


def test_a_ranking_puts_the_best_first_and_tells_the_pairs():
    ranking = rank_methods(FIGURES)
    assert ranking.names == ("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")
    assert ranking.blocks == 14 and ranking.critical == pytest.approx(1.25, abs=0.005)
    assert len(ranking.pairs) == 6 and ranking.left_out == ()
    (best,) = [pair for pair in ranking.pairs if pair.names == ("C4.5+m", "C4.5")]
    assert best.wins == (10, 2)
    assert best.adjusted >= best.p


def test_methods_with_few_figures_are_left_out_and_incomplete_blocks_do_not_count():
    figures = {name: dict(own) for name, own in FIGURES.items()}
    del figures["C4.5"]["set 3"]
    figures["rare"] = {"set 0": 1.0}
    ranking = rank_methods(figures)
    assert ranking.blocks == 13 and ranking.left_out == ("rare",)


def test_one_set_or_one_method_allows_no_ranking():
    assert rank_methods({"a": {"s": 1.0}, "b": {"s": 0.5}}) is None
    assert rank_methods({"a": {"s": 1.0, "t": 1.0}}) is None
    assert rank_methods({}) is None


def test_equal_figures_differ_in_nothing():
    ranking = rank_methods({name: {"s": 1.0, "t": 1.0} for name in "abc"})
    assert ranking.ranks == (2.0, 2.0, 2.0) and ranking.p == 1.0
    assert not any(pair.real for pair in ranking.pairs)


def test_twenty_wins_of_twenty_are_real():
    values = np.stack([np.arange(20) + 0.5 + 0.01 * np.arange(20), np.arange(20.0)], axis=1)
    (pair,) = compare_pairs(["a", "b"], values)
    assert pair.real and pair.wins == (20, 0)


def test_bars_join_what_does_not_differ():
    assert cliques([1.0, 1.5, 2.5, 4.0], 1.2) == [(0, 1), (1, 2)]
    assert cliques([1.0, 1.1, 1.2], 1.0) == [(0, 2)]
    assert cliques([1.0, 3.0], 1.0) == []


def test_what_the_paper_concludes_at_10_percent():
    """C4.5 is worse than C4.5+m and C4.5+m+cf, and C4.5+cf belongs to neither group."""
    assert cliques(rank_methods(FIGURES).ranks, 1.12) == [(0, 2), (2, 3)]


def test_the_diagram_names_every_method_and_joins_them_as_the_paper_does_at_5_percent():
    svg = difference_svg(rank_methods(FIGURES))
    assert all(name in svg for name in NAMES) and "critical difference 1.25" in svg
    assert svg.count('stroke-width="4"') == 1  # best and worst differ by 1.18


def test_a_diagram_escapes_names():
    ranking = rank_methods({"<a>": {"s": 1.0, "t": 2.0}, "b": {"s": 0.0, "t": 0.0}})
    assert "&lt;a&gt;" in difference_svg(ranking) and "<a>" not in difference_svg(ranking)
