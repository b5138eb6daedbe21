import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.training.means import image_weights, weighted_mean


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 2, 5)])
def test_padding_does_not_count_in_a_mean(shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    valid = np.array([True, True, False, True])
    found = weighted_mean(jnp.asarray(values), image_weights(jnp.asarray(valid)))
    np.testing.assert_allclose(found, values[valid].mean(), rtol=1e-6)


def test_a_batch_of_padding_alone_has_mean_zero():
    weight = image_weights(jnp.zeros(3, bool))
    assert float(weighted_mean(jnp.ones((3, 2)), weight)) == 0.0
