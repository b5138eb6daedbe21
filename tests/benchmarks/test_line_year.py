"""The simulation of a line's year in small: the promise holds with the rule and breaks without."""

import numpy as np
import pytest
from scipy.stats import norm

from ad_core.decision import fit_threshold
from tests.benchmark_script import script

line_year = script("line_year")
YEARS = 12


def last_days(policy):
    years = line_year.simulated(policy, clearer=False, years=YEARS, share=0.05, seed=1)
    return [lines[-1] for lines in years]


@pytest.mark.parametrize("policy", ["drawn, returns lower", "line alone"])
def test_bound_is_kept_when_only_exchangeable_defects_count(policy):
    broken = sum(line.misses() > line.bound for line in last_days(policy))
    # Of 12 years that each break it with 5 %, four or more do so once in 450.
    assert broken <= 3


def test_bound_is_broken_when_all_verdicts_count():
    last = last_days("all verdicts")
    assert all(line.misses() > line.bound for line in last)
    assert np.mean([line.misses() for line in last]) > 2 * line_year.MISS_RATE


def test_threshold_of_the_first_day_is_the_lowest_abnormal_score():
    line = line_year.fitted(np.array([3.0, 2.0, 4.0]), np.zeros(5))
    lowest = fit_threshold("zfn", np.array([3.0, 2.0, 4.0]), np.ones(3, int))
    assert line == (lowest.value, pytest.approx(1 - 0.05 ** (1 / 3)))
    assert line.misses() == norm.cdf(2.0, loc=3.0)
