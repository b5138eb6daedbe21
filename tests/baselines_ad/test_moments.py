"""Gaussians by position against NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis

from baselines_ad.moments import add, mahalanobis, merge, no_moments, whiten, without

RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(5, 5))
X = (RNG.normal(size=(40, 2, 3, 5)) @ MIX + 7.0).astype(np.float32)
GROUPS = np.array([0, 0, 1, 1, 1])
distances = jax.jit(mahalanobis)


def moments_of(x, size=16):
    """In batches of `size`, the last one padded with what must not be learnt."""
    found, update = no_moments(*x.shape[1:]), jax.jit(add)
    for first in range(0, len(x), size):
        batch = np.full((size, *x.shape[1:]), np.nan, np.float32)
        rows = x[first : first + size]
        batch[: len(rows)] = rows
        found = update(found, jnp.asarray(batch), np.arange(size) < len(rows))
    return found


def test_mean_and_covariance_are_numpys_at_each_position():
    found = moments_of(X)
    assert found.count == 40
    for row, column in np.ndindex(2, 3):
        at = X[:, row, column].astype(np.float64)
        np.testing.assert_allclose(found.mean[row, column], at.mean(axis=0), rtol=1e-5)
        covariance = np.cov(at, rowvar=False)
        # Of float32 sums of 40 products.
        np.testing.assert_allclose(
            found.scatter[row, column] / 39, covariance, rtol=1e-4, atol=1e-4
        )


def test_distance_is_scipys_with_the_floor_on_each_levels_variances():
    found = moments_of(X)
    whitening = whiten(found, GROUPS, floor=0.05)
    other = (RNG.normal(size=(4, 2, 3, 5)) * 3 + 7).astype(np.float32)
    got = distances(found.mean, whitening, other)
    variances = X.astype(np.float64).var(axis=0, ddof=1)
    ridge = 0.05 * np.array([variances[..., GROUPS == g].mean() for g in GROUPS])
    for image, row, column in np.ndindex(4, 2, 3):
        at = X[:, row, column].astype(np.float64)
        inverse = np.linalg.inv(np.cov(at, rowvar=False) + np.diag(ridge))
        expected = scipy_mahalanobis(other[image, row, column], at.mean(axis=0), inverse)
        assert got[image, row, column] == pytest.approx(expected, rel=1e-4)


def test_batches_do_not_change_the_moments():
    whole = moments_of(X, 40)
    for size in (7, 16):
        for a, b in zip(whole, moments_of(X, size), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


def test_moments_of_folds_add_up_to_those_of_all_images():
    merged = jax.jit(merge)(moments_of(X[:11]), moments_of(X[11:]))
    for a, b in zip(moments_of(X), merged, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


def test_a_large_mean_costs_no_digits_of_the_covariance():
    far = moments_of(X + 1000.0)
    near = moments_of(X)
    # Adding 1000 rounds the images themselves to 6e-5.
    np.testing.assert_allclose(far.scatter, near.scatter, rtol=1e-3, atol=5e-2)


def test_a_channel_dead_among_normals_counts_in_the_unit_of_its_level():
    x = X.copy()
    x[..., 4] = 0.0
    found = moments_of(x)
    whitening = whiten(found, GROUPS, floor=0.1)
    moved = np.asarray(found.mean)[None] + np.array([0, 0, 0, 0, 0.5], np.float32)
    got = distances(found.mean, whitening, moved)
    variance = x[..., GROUPS == 1].astype(np.float64).var(axis=0, ddof=1).mean()
    np.testing.assert_allclose(got, np.full((1, 2, 3), 0.5 / np.sqrt(0.1 * variance)), rtol=1e-4)


def test_one_image_or_a_level_without_variance_gives_finite_distances():
    found = moments_of(np.ones((1, 2, 3, 5), np.float32))
    got = distances(found.mean, whiten(found, GROUPS, floor=0.25), jnp.full((1, 2, 3, 5), 2.0))
    np.testing.assert_allclose(got, np.full((1, 2, 3), np.sqrt(5 / 0.25)), rtol=1e-5)


def test_what_was_merged_is_taken_away_again():
    rest, part, whole = moments_of(X[:30]), moments_of(X[30:]), moments_of(X)
    for a, b, c in zip(without(whole, part), rest, without(merge(rest, part), part), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(c, b, rtol=1e-4, atol=1e-3)


def test_all_but_one_of_many_images_keep_their_digits():
    """As the folds of a large set: what is taken away is small, and so is what rounding leaves."""
    x = (RNG.normal(size=(600, 1, 1, 5)) @ MIX + 7.0).astype(np.float32)
    found = without(moments_of(x, 100), moments_of(x[:30], 100))
    at = x[30:, 0, 0].astype(np.float64)
    np.testing.assert_allclose(found.mean[0, 0], at.mean(axis=0), rtol=1e-5)
    covariance = np.cov(at, rowvar=False)
    scale = np.sqrt(np.outer(covariance.diagonal(), covariance.diagonal()))
    np.testing.assert_allclose(found.scatter[0, 0] / 569 / scale, covariance / scale, atol=1e-5)
