"""The experimental rule spi: a line by made-up scores, kept by ranks of abnormal ones."""

import numpy as np
import pytest
from scipy.stats import norm

from ad_core.decision import fit_threshold
from ad_core.decision.thresholds.synthetic_powered import OUTSIDE, window
from ad_core.errors import UserError


def spi(odd, synthetic, **options):
    return fit_threshold(
        "spi", odd, np.ones(len(odd), int), synthetic=np.asarray(synthetic, float), **options
    )


def test_window_is_that_of_ranks_drawn_at_random():
    n, m, rank, draws = 9, 40, 6, 20_000
    rng = np.random.default_rng(0)
    order = rng.permuted(np.tile(np.arange(n + 1 + m), (draws, 1)), axis=1)
    real = np.sort(order[:, : n + 1], axis=1)
    below = real - np.arange(n + 1)  # made-up ones below each of the n + 1, lowest first
    shares = (below < rank).mean(axis=0)
    found = window(n, m, rank)
    assert found.high == (shares[:n] > OUTSIDE / 2).sum()
    assert found.low == (shares[:n] >= 1 - OUTSIDE / 2).sum()
    assert 0 <= found.low <= found.high <= n


def test_line_lies_at_the_rank_of_made_up_scores_that_may_pass():
    odd, made_up = np.arange(20.0), np.linspace(-5, 30, 99)
    (low, high), line = window(20, 99, 10), np.sort(made_up)[9]
    expected = np.clip(line, odd[low - 1] if low else -np.inf, odd[high - 1])
    assert spi(odd, made_up, miss_rate=0.1).value == expected


@pytest.mark.parametrize(("made_up", "at"), [(1e6, "high"), (-1e6, "low")])
def test_made_up_scores_far_away_leave_the_line_in_the_window(made_up, at):
    odd = np.arange(40.0)
    found = window(40, 200, 20)
    value = spi(odd, np.full(200, made_up), miss_rate=0.1).value
    assert value == odd[getattr(found, at) - 1]


@pytest.mark.parametrize(
    "draw", [lambda rng, n: rng.normal(size=n), lambda rng, n: np.full(n, 9.0)]
)
def test_mean_miss_rate_keeps_the_bound_for_good_and_for_adversarial_scores(draw):
    rng, missed = np.random.default_rng(0), []
    for _ in range(500):
        line = spi(rng.normal(size=25), draw(rng, 300), miss_rate=0.05)
        missed.append(norm.cdf(line.value))
    bound = line.guarantee["miss_rate_bound"]
    assert bound == window(25, 300, 15).high / 26
    assert np.mean(missed) <= bound + 3 * np.std(missed) / np.sqrt(500)


def test_useful_scores_come_nearer_to_the_rate_asked_for_than_the_lowest_score_can():
    # Of 9 abnormal images the lowest score misses 10 % on average, and 5 % are asked for.
    rng, missed = np.random.default_rng(1), []
    for _ in range(500):
        line = spi(rng.normal(size=9), rng.normal(size=1000), miss_rate=0.05)
        missed.append(norm.cdf(line.value))
    assert 0.03 < np.mean(missed) < 0.06


def test_statement_says_experimental_and_what_holds_whatever_the_scores_are():
    guarantee = spi(np.arange(30.0), np.arange(200.0), miss_rate=0.05).guarantee
    assert guarantee["statement"].startswith("Experimental. 30 abnormal images calibrated")
    assert "whatever the scores of the 200 made-up defects are" in guarantee["statement"]
    assert guarantee["n_abnormal"] == 30 and guarantee["confidence"] is None


def test_groups_count_once_and_made_up_scores_never():
    odd, groups = np.arange(40.0), np.arange(40) // 2
    threshold = fit_threshold(
        "spi", odd, np.ones(40, int), groups=groups, synthetic=np.full(100, 1e3), miss_rate=0.1
    )
    assert threshold.fitted_on["abnormal"] == 40
    assert threshold.guarantee["n_abnormal"] == 40 and threshold.guarantee["n_groups"] == 20
    assert threshold.guarantee["miss_rate_bound"] == window(20, 100, 10).high / 21


def test_choice_among_classifiers_adds_up_in_the_bound():
    one, three = (
        spi(np.arange(40.0), np.arange(99.0), miss_rate=0.1, candidates=c) for c in (1, 3)
    )
    bounds = [each.guarantee["miss_rate_bound"] for each in (one, three)]
    assert bounds[1] == pytest.approx(3 * bounds[0])


@pytest.mark.parametrize(
    ("n", "made_up", "miss_rate", "message"),
    [
        (20, None, 0.1, "needs scores of made-up defects"),
        (20, [], 0.1, "needs scores of made-up defects"),
        (20, np.zeros(18), 0.05, "needs 19 made-up defects"),
        (1, np.zeros(500), 0.05, "would inspect everything: 1 abnormal"),
    ],
)
def test_spi_refuses_what_gives_no_line(n, made_up, miss_rate, message):
    with pytest.raises(UserError, match=message):
        fit_threshold(
            "spi",
            np.arange(float(n)),
            np.ones(n, int),
            synthetic=None if made_up is None else np.asarray(made_up, float),
            miss_rate=miss_rate,
        )
