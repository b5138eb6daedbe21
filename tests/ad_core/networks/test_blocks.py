import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.networks.blocks import AttentionBlock, Downsample, GroupNorm, ResidualBlock, Upsample


@pytest.mark.parametrize("channels, groups", [(8, 4), (12, 12), (6, 1)])
def test_group_norm_equals_linens(key, channels, groups):
    x = 3.0 + 2.0 * jax.random.normal(key, (2, 5, 7, channels))
    ours = GroupNorm(groups)
    theirs = nn.GroupNorm(groups, epsilon=1e-6)
    params = jax.tree.map(lambda p: p + 0.3, ours.init(key, x))
    np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x), atol=1e-5)


def test_group_norm_survives_a_large_offset(key):
    x = 1e4 + jax.random.normal(key, (1, 16, 16, 4))
    out = GroupNorm(4).apply(GroupNorm(4).init(key, x), x)
    np.testing.assert_allclose(out.std(axis=(1, 2)), 1.0, atol=1e-2)


def test_group_norm_cuts_the_groups_to_divide_the_channels(key):
    x = jax.random.normal(key, (1, 4, 4, 6))
    wanted, cut = GroupNorm(32), GroupNorm(6)
    params = wanted.init(key, x)
    np.testing.assert_array_equal(wanted.apply(params, x), cut.apply(params, x))


def test_upsample_repeats_pixels_before_its_convolution(key):
    x = jax.random.normal(key, (1, 2, 3, 1))
    module = Upsample()
    params = jax.tree.map(jnp.zeros_like, module.init(key, x))
    params["params"]["Conv_0"]["kernel"] = jnp.zeros((3, 3, 1, 1)).at[1, 1, 0, 0].set(1.0)
    expected = np.repeat(np.repeat(np.asarray(x), 2, axis=1), 2, axis=2)
    np.testing.assert_array_equal(module.apply(params, x), expected)


def test_downsample_halves_and_residual_block_keeps_the_size(key):
    x = jax.random.normal(key, (1, 8, 8, 4))
    halved, _ = Downsample().init_with_output(key, x)
    kept, _ = ResidualBlock(6).init_with_output(key, x)
    assert halved.shape == (1, 4, 4, 4) and kept.shape == (1, 8, 8, 6)


def test_attention_commutes_with_a_permutation_of_positions(key):
    x = jax.random.normal(key, (1, 4, 4, 8))
    module = AttentionBlock()
    params = module.init(key, x)
    order = jax.random.permutation(key, 16)
    shuffled = x.reshape(1, 16, 8)[:, order].reshape(x.shape)
    expected = module.apply(params, x).reshape(1, 16, 8)[:, order].reshape(x.shape)
    np.testing.assert_allclose(module.apply(params, shuffled), expected, atol=1e-5)


def test_bfloat16_keeps_parameters_in_float32(key):
    x = jax.random.normal(key, (1, 8, 8, 4))
    out, params = ResidualBlock(4, jnp.bfloat16).init_with_output(key, x)
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
