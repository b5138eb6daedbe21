import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from ad_core.networks.attention import attend, implementation


def test_values_and_gradients_are_those_of_jax(key):
    shapes = (2, 9, 3, 8), (2, 7, 3, 8), (2, 7, 3, 8), (2, 9, 3, 8)
    *given, pull = (
        jax.random.normal(own, shape)
        for own, shape in zip(jax.random.split(key, 4), shapes, strict=True)
    )
    found, wanted = (jax.vjp(f, *given) for f in (attend, jax.nn.dot_product_attention))
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)
    for ours, theirs in zip(found[1](pull), wanted[1](pull), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_softmax_of_bfloat16_is_taken_in_float32():
    """In bfloat16 logits of 64 and 64.25 would be one number; 1 / (1 + exp(-0.25)) is 0.562."""
    query = jnp.full((1, 1, 1, 1), 1.0, jnp.bfloat16)
    key = jnp.asarray([64.25, 64.0], jnp.bfloat16).reshape(1, 2, 1, 1)
    query = jnp.concatenate([query, query], axis=-1)
    key = jnp.concatenate([key, jnp.full_like(key, 0.125)], axis=-1)
    value = jnp.asarray([[1.0, 0.0], [0.0, 1.0]], jnp.bfloat16).reshape(1, 2, 1, 2)
    found = np.asarray(attend(query, key, value), np.float32).ravel()
    # Two channels: the difference is divided by sqrt(2).
    logits = np.asarray(key, np.float32)[0, :, 0].sum(axis=-1) / np.sqrt(2)
    np.testing.assert_allclose(found, softmax(logits), atol=4e-3)


def test_the_fused_kernel_is_taken_where_it_fits():
    assert implementation(jnp.bfloat16, 64, capability=9.0) == "cudnn"
    assert implementation(jnp.float32, 64, capability=9.0) == "xla"
    assert implementation(jnp.bfloat16, 12, capability=9.0) == "xla"
    assert implementation(jnp.bfloat16, 256, capability=9.0) == "xla"
    assert implementation(jnp.bfloat16, 64, capability=7.5) == "xla"
    assert implementation(jnp.bfloat16, 64, capability=0.0) == "xla"


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="no GPU here")
def test_the_fused_kernel_equals_the_plain_one(key):
    query, keys, value = (
        jax.random.normal(own, (2, 65, 3, 64), jnp.bfloat16) for own in jax.random.split(key, 3)
    )
    plain = jax.nn.dot_product_attention(query, keys, value, implementation="xla")
    np.testing.assert_allclose(
        np.asarray(attend(query, keys, value), np.float32), np.asarray(plain, np.float32), atol=0.02
    )
