import jax
import jax.numpy as jnp
import pytest

from ad_core.networks.patchgan import PatchGAN


@pytest.mark.parametrize("size, logits", [(256, 30), (64, 6)])
def test_logit_grid_has_the_size_of_the_published_recipe(key, size, logits):
    shape = jax.eval_shape(
        lambda: PatchGAN(4, norm="none").init_with_output(key, jnp.zeros((1, size, size, 1)))[0]
    ).shape
    assert shape == (1, logits, logits)


def test_each_logit_sees_seventy_pixels(key):
    # Without a norm, which would join all positions, the gradient shows the receptive field.
    model = PatchGAN(2, norm="none")
    x = jax.random.normal(key, (1, 128, 128, 1))
    params = jax.tree.map(jnp.ones_like, model.init(key, x))
    seen = jax.grad(lambda x: model.apply(params, x)[0, 7, 7])(x)[0, :, :, 0] != 0
    assert int(seen.any(axis=1).sum()) == 70 and int(seen.any(axis=0).sum()) == 70


def test_images_of_a_batch_do_not_mix(key):
    x = jax.random.normal(key, (3, 32, 32, 1))
    for norm in ("instance", "group", "none"):
        model = PatchGAN(4, norm=norm)
        params = model.init(key, x)
        alone = model.apply(params, x[1:2])
        assert float(jnp.abs(model.apply(params, x)[1:2] - alone).max()) < 1e-5


def test_unknown_norm_is_refused(key):
    with pytest.raises(ValueError, match="`norm` \\(='batch'\\) must be one of"):
        PatchGAN(4, norm="batch").init(key, jnp.zeros((1, 32, 32, 1)))
