import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cyclegan_ad.spectral import largest_singular_value, normalise_kernels


@pytest.mark.parametrize("shape", [(16, 8), (64, 128), (512, 1)])
def test_largest_singular_value_is_numpys(key, shape):
    matrix = jax.random.normal(key, shape)
    exact = np.linalg.norm(np.asarray(matrix), 2)
    found = float(largest_singular_value(matrix))
    # The power method from below; random matrices have many values close to the largest.
    assert 0.93 * exact <= found <= 1.0001 * exact


def test_gradient_is_that_of_the_largest_singular_value(key):
    left, _ = jnp.linalg.qr(jax.random.normal(key, (6, 3)))
    right, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (3, 3)))
    matrix = (left * jnp.array([[4.0, 1.0, 0.5]])) @ right.T
    gradient = jax.grad(largest_singular_value)(matrix)
    np.testing.assert_allclose(gradient, jnp.outer(left[:, 0], right[:, 0]), atol=1e-4)


def test_kernels_alone_are_divided(key):
    params = {"Conv_0": {"kernel": jax.random.normal(key, (4, 4, 2, 3)), "bias": jnp.ones(3)}}
    normal = normalise_kernels(params)["Conv_0"]
    np.testing.assert_array_equal(normal["bias"], 1.0)
    flat = np.asarray(normal["kernel"]).reshape(-1, 3)
    assert abs(np.linalg.norm(flat, 2) - 1.0) < 0.05
