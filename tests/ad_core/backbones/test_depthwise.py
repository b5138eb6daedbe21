"""Depthwise convolution by shifts against SciPy's and XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from ad_core.backbones.depthwise import by_shifts, depthwise, native


def draw(height, width, k, channels=3):
    rng = np.random.default_rng(height * width + k)
    x = rng.normal(size=(2, height, width, channels))
    return jnp.asarray(x, jnp.float32), jnp.asarray(rng.normal(size=(k, k, 1, channels)), "float32")


def test_a_channel_equals_scipys_correlation():
    x, kernel = draw(9, 12, 5)
    found = depthwise(x, kernel)
    for image in range(2):
        for c in range(3):
            expected = correlate2d(x[image, :, :, c], kernel[:, :, 0, c], mode="same")
            np.testing.assert_allclose(found[image, :, :, c], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("k", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (1, 2), (5, 3)])
@pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 3)])
def test_shifts_and_their_gradients_equal_xlas_convolution(size, stride, k):
    x, kernel = draw(*size, k)

    def value_and_gradients(convolve):
        def weighed(x, kernel):
            y = convolve(x, kernel, stride=stride)
            return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)), y

        return jax.jit(jax.grad(weighed, argnums=(0, 1), has_aux=True))(x, kernel)

    found, expected = value_and_gradients(by_shifts), value_and_gradients(native)
    # Sums of up to 25 products, of the kernel's gradient up to 200, in another order.
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)


def test_bfloat16_sums_in_float32():
    x, kernel = draw(8, 9, 5)
    found = depthwise(x.astype(jnp.bfloat16), kernel, stride=2)
    assert found.dtype == jnp.bfloat16
    rounded = [v.astype(jnp.bfloat16).astype(jnp.float32) for v in (x, kernel)]
    expected = native(*rounded, stride=2).astype(jnp.bfloat16)
    np.testing.assert_allclose(*(v.astype(jnp.float32) for v in (found, expected)), rtol=2**-7)


@pytest.mark.parametrize(("platform", "convolves"), [("cpu", False), ("cuda", True), ("tpu", True)])
def test_the_device_for_which_a_program_is_compiled_decides(platform, convolves):
    traced = jax.jit(functools.partial(depthwise, stride=2)).trace(*draw(8, 8, 3))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("feature_group_count = 3" in text) == convolves
