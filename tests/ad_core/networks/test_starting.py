import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from ad_core.networks.starting import lecun_start


class Two(nn.Module):
    """A convolution and a dense layer as Linen starts them, and a norm's scale."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(64, (3, 3), name="conv")(x)
        scale = self.param("scale", nn.initializers.ones, (64,))
        return nn.Dense(32, name="dense")(x * scale.reshape(1, 1, 1, -1))


def test_kernels_start_as_linens_do_by_a_single_draw(key):
    image = jnp.zeros((1, 8, 8, 16))
    ours = lecun_start(jax.eval_shape(Two().init, key, image), key)["params"]
    theirs = Two().init(key, image)["params"]
    for name, inputs in (("conv", 9 * 16), ("dense", 64)):
        found, expected = (np.ravel(x[name]["kernel"]) for x in (ours, theirs))
        assert stats.ks_2samp(found, expected).pvalue > 0.001
        cut = stats.truncnorm(-2, 2, scale=inputs**-0.5 / stats.truncnorm(-2, 2).std())
        assert stats.kstest(found, cut.cdf).pvalue > 0.001
        assert abs(found).max() <= cut.ppf(1) * (1 + 1e-5)
        assert not np.any(ours[name]["bias"])
    assert np.all(ours["scale"] == 1)
    assert not np.array_equal(ours["conv"]["kernel"], theirs["conv"]["kernel"])
