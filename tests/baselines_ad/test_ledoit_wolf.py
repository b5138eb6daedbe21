"""Ledoit and Wolf's estimate from sums against scikit-learn's from all rows."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from baselines_ad.ledoit_wolf import PowerSums, whiten

RNG = np.random.default_rng(0)


def sums_of(rows, size):
    sums = PowerSums()
    for first in range(0, len(rows), size):
        sums.add(rows[first : first + size])
    return sums


@pytest.mark.parametrize(("n", "d"), [(400, 6), (30, 50), (12, 4)])
@pytest.mark.parametrize("size", [5, 1000])
def test_mean_covariance_and_shrinkage_are_scikit_learns(n, d, size):
    rows = (RNG.normal(size=(n, d)) @ RNG.normal(size=(d, d)) + 40).astype(np.float32)
    expected = LedoitWolf().fit(rows.astype(np.float64))
    sums = sums_of(rows, size)
    covariance, shrinkage = sums.covariance()
    np.testing.assert_allclose(sums.mean(), expected.location_, rtol=1e-10)
    np.testing.assert_allclose(covariance, expected.covariance_, rtol=1e-8, atol=1e-8)
    assert shrinkage == pytest.approx(expected.shrinkage_, rel=1e-8)


def test_the_distance_is_scikit_learns_where_the_floor_is_small():
    rows = (RNG.normal(size=(80, 7)) @ RNG.normal(size=(7, 7))).astype(np.float32)
    other = RNG.normal(size=(5, 7)).astype(np.float32)
    sums = sums_of(rows, 80)
    whitening = whiten(sums.covariance()[0], floor=1e-9)
    got = np.sum((whitening @ (other - sums.mean()).T) ** 2, axis=0)
    np.testing.assert_allclose(got, LedoitWolf().fit(rows).mahalanobis(other), rtol=1e-3)


def test_a_dead_channel_does_not_explode_and_equal_rows_give_finite_weights():
    rows = RNG.normal(size=(5000, 4)).astype(np.float32)
    rows[:, 3] = 0.0
    whitening = whiten(sums_of(rows, 500).covariance()[0], floor=0.1)
    assert np.abs(whitening[3]).max() < 1 / np.sqrt(0.1 * 0.7)
    same = sums_of(np.ones((9, 3), np.float32), 4).covariance()[0]
    np.testing.assert_allclose(whiten(same, floor=0.25), 2 * np.eye(3), rtol=1e-6)
