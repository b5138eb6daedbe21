import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from vqgan_ad import quantiser


@pytest.fixture
def latent(key):
    return jax.random.normal(key, (2, 4, 4, 5))


@pytest.fixture
def codebook():
    return jax.random.normal(jax.random.key(7), (11, 5))


def test_nearest_agrees_with_scipys_distances(codebook, latent):
    expected = cdist(latent.reshape(-1, 5), codebook).argmin(axis=1)
    np.testing.assert_array_equal(quantiser.nearest(codebook, latent).reshape(-1), expected)


def test_nearest_takes_the_lowest_of_equal_codes():
    codes = jnp.array([[2.0], [1.0], [1.0], [3.0]])
    assert quantiser.nearest(codes, jnp.array([[1.0], [2.5]])).tolist() == [1, 0]


def test_gradient_passes_straight_through_to_the_latent(codebook, latent):
    weight = jax.random.normal(jax.random.key(3), latent.shape)
    gradient = jax.grad(lambda z: jnp.sum(weight * quantiser.quantise(codebook, z).latent))(latent)
    np.testing.assert_array_equal(gradient, weight)


def test_quantisation_moves_codes_alone_and_commitment_the_latent_alone(codebook, latent):
    def term(name, codes, z):
        return jnp.sum(getattr(quantiser.quantise(codes, z), name))

    for name, moved in (("quantisation", 0), ("commitment", 1)):
        gradients = jax.grad(term, argnums=(1, 2))(name, codebook, latent)
        assert float(jnp.abs(gradients[moved]).max()) > 0.1
        assert float(jnp.abs(gradients[1 - moved]).max()) == 0.0


def test_both_terms_equal_the_mean_squared_distance(codebook, latent):
    result = quantiser.quantise(codebook, latent)
    flat = cdist(latent.reshape(-1, 5), codebook, "sqeuclidean").min(axis=1) / 5
    np.testing.assert_allclose(result.quantisation.reshape(-1), flat, rtol=1e-5)
    np.testing.assert_allclose(result.commitment, result.quantisation, rtol=1e-6)


def test_unit_codes_choose_by_cosine(codebook, latent):
    result = quantiser.quantise(codebook, latent, unit=True)
    expected = cdist(latent.reshape(-1, 5), codebook, "cosine").argmin(axis=1)
    np.testing.assert_array_equal(result.codes.reshape(-1), expected)
    np.testing.assert_allclose(jnp.linalg.norm(result.latent, axis=-1), 1.0, rtol=1e-5)


def test_normalise_has_a_finite_gradient_at_zero():
    gradient = jax.grad(lambda z: jnp.sum(quantiser.normalise(z)))(jnp.zeros((1, 3)))
    assert bool(jnp.isfinite(gradient).all())


def test_kmeans_agrees_with_scikit_learn_from_the_same_start(key):
    latent = jax.random.normal(key, (8, 8, 8, 3))
    start = quantiser.draw(key, latent, 6)
    ours = quantiser.kmeans(key, latent, 6, iterations=10)
    theirs = KMeans(6, init=np.asarray(start), n_init=1, max_iter=10, tol=0.0, algorithm="lloyd")
    points = np.asarray(latent).reshape(-1, 3)
    np.testing.assert_allclose(ours, _ten_iterations(theirs, points), rtol=1e-4, atol=1e-4)


def _ten_iterations(estimator, points):
    # scikit-learn warns when it stops before convergence, which is what is asked of it here.
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(points).cluster_centers_


def test_draw_repeats_latents_only_when_there_are_too_few(key):
    latent = jnp.arange(4.0).reshape(1, 2, 2, 1)
    assert sorted(quantiser.draw(key, latent, 4).ravel().tolist()) == [0, 1, 2, 3]
    assert sorted(quantiser.draw(key, latent, 8).ravel().tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_average_follows_the_papers_formula(codebook, latent):
    codes = quantiser.nearest(codebook, latent)
    average, moved = quantiser.update_average(
        quantiser.start_average(codebook), latent, codes, decay=0.9
    )
    one_hot = np.eye(11)[np.asarray(codes).reshape(-1)]
    size = 0.9 + 0.1 * one_hot.sum(axis=0)
    total = 0.9 * np.asarray(codebook) + 0.1 * one_hot.T @ np.asarray(latent).reshape(-1, 5)
    smooth = (size + 1e-5) / (size.sum() + 11e-5) * size.sum()
    np.testing.assert_allclose(average.size, size, rtol=1e-5)
    np.testing.assert_allclose(moved, total / smooth[:, None], rtol=1e-4, atol=1e-5)


def test_restart_average_touches_marked_codes_alone(codebook):
    average = quantiser.Average(jnp.full(11, 5.0), 5.0 * codebook)
    anew = jnp.arange(11) == 3
    result = quantiser.restart_average(average, codebook, anew)
    assert result.size.tolist() == [1.0 if i == 3 else 5.0 for i in range(11)]
    np.testing.assert_array_equal(result.total[3], codebook[3])
    np.testing.assert_array_equal(result.total[4], average.total[4])


def test_count_codes_counts(latent, codebook):
    codes = quantiser.nearest(codebook, latent)
    expected = np.bincount(np.asarray(codes).reshape(-1), minlength=11)
    np.testing.assert_array_equal(quantiser.count_codes(codes, 11), expected)
