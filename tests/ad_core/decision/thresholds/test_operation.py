import pytest
from scipy.stats import binomtest

from ad_core.decision import cost_of_operation
from ad_core.errors import UserError


def test_a_hand_drawn_line():
    # 5 of 100 normal images alarm, 1 of 50 abnormal ones passes; one part in 200 is abnormal.
    price = cost_of_operation(tp=49, fn=1, fp=5, tn=95, prevalence=0.005)
    assert price.false_alarms_per_thousand.estimate == pytest.approx(0.05 * 995)
    assert price.misses_per_million.estimate == pytest.approx(0.02 * 5000)


@pytest.mark.parametrize("fn, tp", [(0, 23), (3, 40), (12, 0)])
def test_the_intervals_are_the_exact_binomial_ones(fn, tp):
    misses = cost_of_operation(tp=tp, fn=fn, fp=0, tn=10, prevalence=0.1).misses_per_million
    exact = binomtest(fn, fn + tp).proportion_ci(0.95, method="exact")
    assert misses[1:] == pytest.approx((1e5 * exact.low, 1e5 * exact.high))


def test_a_class_without_images_and_a_share_out_of_range_are_refused():
    with pytest.raises(UserError, match="0 abnormal and 2 normal"):
        cost_of_operation(tp=0, fn=0, fp=1, tn=1, prevalence=0.1)
    with pytest.raises(UserError, match="`prevalence`"):
        cost_of_operation(tp=1, fn=1, fp=1, tn=1, prevalence=0.0)
