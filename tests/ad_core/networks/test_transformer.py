import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, softmax

from ad_core.networks.transformer import Attention, Block, LayerScale, Transformer
from tests.quick import compiled, drawn_params


def normed(x, own):
    """As a page of the paper has it, in float64."""
    centred = x - x.mean(axis=-1, keepdims=True)
    unit = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-6)
    return unit * own["scale"] + own["bias"]


def dense(x, own):
    return x @ own["kernel"] + own["bias"]


def attention(x, own, heads):
    """Head by head, query by query."""
    joint, width = dense(x, own["qkv"]), x.shape[-1]
    mixed = np.empty_like(x)
    for head in range(heads):
        channels = np.arange(width // heads) + head * width // heads
        query, key, value = (joint[..., channels + part * width] for part in range(3))
        for image in range(len(x)):
            for place, q in enumerate(query[image]):
                weights = softmax(key[image] @ q / np.sqrt(len(channels)))
                mixed[image, place, channels] = weights @ value[image]
    return dense(mixed, own["proj"])


def apply(module, params, x):
    return compiled(module.apply)(params, x)


def test_attention_equals_its_definition_in_numpy(key):
    x = jax.random.normal(key, (2, 5, 12))
    module = Attention(heads=3)
    params = drawn_params(module, x)
    wide = jax.tree.map(np.float64, params["params"])
    expected = attention(np.float64(x), wide, 3)
    np.testing.assert_allclose(apply(module, params, x), expected, atol=2e-5)


def test_a_block_equals_its_definition_in_numpy(key):
    x = jax.random.normal(key, (1, 4, 8))
    module = Block(heads=2, layer_scale=0.5)
    params = drawn_params(module, x)
    own = jax.tree.map(np.float64, params["params"])
    y = np.float64(x)
    y = y + own["ls1"]["gamma"] * attention(normed(y, own["norm1"]), own["attn"], 2)
    inner = dense(normed(y, own["norm2"]), own["mlp"]["fc1"])
    inner = 0.5 * inner * (1 + erf(inner / np.sqrt(2)))
    y = y + own["ls2"]["gamma"] * dense(inner, own["mlp"]["fc2"])
    np.testing.assert_allclose(apply(module, params, x), y, atol=2e-5)


def test_heads_that_do_not_divide_the_width_are_refused(key):
    with pytest.raises(ValueError, match=r"`heads` \(=3\) must divide the width \(=8\)"):
        Attention(heads=3).init(key, jnp.zeros((1, 2, 8)))


def test_a_layer_scale_begins_at_its_start(key):
    x = jax.random.normal(key, (2, 3, 4))
    out, _ = LayerScale(0.25).init_with_output(key, x)
    np.testing.assert_array_equal(out, 0.25 * x)


def test_tokens_know_where_they_lie(key):
    """Blocks alone would give each token of a constant grid the same."""
    grid = jnp.ones((1, 3, 4, 8))
    module = Transformer(depth=1, heads=2)
    out = apply(module, drawn_params(module, grid), grid)
    flat = np.asarray(out).reshape(12, 8)
    apart = np.abs(flat[:, None] - flat[None]).max(axis=-1) + np.eye(12)
    assert apart.min() > 1e-3


def test_a_transformer_takes_a_grid_of_another_size_with_the_same_parameters():
    module = Transformer(depth=1, heads=2)
    params = drawn_params(module, jnp.zeros((1, 4, 4, 8)))
    other = jax.ShapeDtypeStruct((2, 6, 3, 8), np.float32)
    assert jax.eval_shape(module.apply, params, other).shape == other.shape


def test_images_of_a_batch_do_not_mix(key):
    grid = jax.random.normal(key, (3, 4, 4, 8))
    module = Transformer(depth=2, heads=2)
    params = drawn_params(module, grid)
    other = grid.at[1:].set(jax.random.normal(key, grid[1:].shape))
    run = compiled(module.apply)
    np.testing.assert_allclose(run(params, grid)[0], run(params, other)[0], atol=1e-6)


@pytest.mark.parametrize("size", [1.0, 100.0])
def test_bfloat16_stays_near_float32_also_of_large_tokens(key, size):
    grid = size * jax.random.normal(key, (2, 6, 6, 32))
    params = drawn_params(Transformer(depth=4, heads=4), grid)
    exact = apply(Transformer(depth=4, heads=4), params, grid)
    near = apply(Transformer(depth=4, heads=4, dtype=jnp.bfloat16), params, grid)
    assert near.dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype("float32")}
    error = np.linalg.norm(np.asarray(near, np.float32) - np.asarray(exact))
    # Half a unit of eight bits (0.2 to 0.4 %) at each of some 40 roundings.
    assert 0 < error < 0.03 * np.linalg.norm(exact)
