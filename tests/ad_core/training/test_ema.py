import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.training.ema import warmed_up_average


@pytest.mark.parametrize("step, decay", [(0, 0.1), (1, 2 / 11), (80, 0.9), (10_000, 0.99)])
def test_decay_rises_to_the_most_that_it_may_be(step, decay):
    average, params = {"kernel": jnp.array([1.0, -3.0])}, {"kernel": jnp.array([2.0, 5.0])}
    moved = warmed_up_average(average, params, jnp.int32(step), most=0.99)
    expected = [decay * 1.0 + (1.0 - decay) * 2.0, decay * -3.0 + (1.0 - decay) * 5.0]
    np.testing.assert_allclose(moved["kernel"], expected, rtol=1e-6)
