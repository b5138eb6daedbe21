"""Convolution with its own gradients against XLA's, and doubling against repeated pixels."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from ad_core.networks import convolution
from ad_core.networks.blocks import Conv, doubling
from ad_core.networks.convolution import LAYOUT, convolve, convolve_doubled


def draw(shape, kernel):
    rng = np.random.default_rng(sum(shape) + sum(kernel))
    return [jnp.asarray(rng.normal(size=size), jnp.float32) for size in (shape, kernel)]


def values_and_pulls(function, x, kernel):
    def weighed(x, kernel):
        y = function(x, kernel)
        return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)), y

    pulls, y = jax.jit(jax.grad(weighed, argnums=(0, 1), has_aux=True))(x, kernel)
    return y, *pulls


def assert_alike(found, expected, tolerance=2e-6):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        scale = float(jnp.max(jnp.abs(theirs)))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("unfolded", [2**17, 2_000], ids=["one block", "blocks of rows"])
@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding"),
    [
        ((2, 8, 9, 32), (3, 3, 32, 40), 1, "SAME"),
        ((2, 8, 9, 40), (3, 3, 40, 32), 1, "SAME"),
        ((1, 7, 6, 48), (3, 3, 48, 5), 1, "VALID"),
        ((2, 9, 11, 3), (4, 4, 3, 32), 2, ((1, 1), (1, 1))),
        ((2, 8, 8, 33), (3, 3, 33, 33), 2, ((0, 1), (0, 1))),
        ((2, 7, 10, 32), (1, 1, 32, 6), 1, "SAME"),
        ((1, 5, 5, 40), (2, 3, 40, 7), 1, ((3, 2), (0, 4))),
    ],
)
def test_gradients_equal_xlas(monkeypatch, shape, kernel, stride, padding, unfolded):
    monkeypatch.setattr(convolution, "UNFOLDED", unfolded)
    x, kernel = draw(shape, kernel)
    settings = {"window_strides": (stride, stride), "padding": padding, "dimension_numbers": LAYOUT}

    def ours(x, kernel):
        return convolve(x, kernel, (stride, stride), padding, dimension_numbers=LAYOUT)

    def theirs(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, **settings)

    assert "scan" in str(jax.make_jaxpr(jax.grad(lambda k: ours(x, k).sum()))(kernel))
    assert_alike(values_and_pulls(ours, x, kernel), values_and_pulls(theirs, x, kernel))


@pytest.mark.parametrize("shape", [(2, 4, 5, 3), (1, 1, 1, 2), (2, 6, 3, 32)])
def test_doubling_equals_the_convolution_of_repeated_pixels(shape):
    x, kernel = draw(shape, (3, 3, shape[-1], 4))

    def repeated(x, kernel):
        x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)

    assert_alike(
        values_and_pulls(convolve_doubled, x, kernel), values_and_pulls(repeated, x, kernel)
    )


def test_doubling_equals_scipys_correlation():
    x, kernel = draw((1, 4, 6, 1), (3, 3, 1, 1))
    large = np.kron(x[0, :, :, 0], np.ones((2, 2)))
    expected = correlate2d(large, kernel[:, :, 0, 0], mode="same")
    found = convolve_doubled(x, kernel)[0, :, :, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_layer_has_linens_names_start_and_values(key):
    x = jax.random.normal(key, (2, 6, 6, 5))

    class Two(nn.Module):
        ours: bool

        @nn.compact
        def __call__(self, x):
            layer = Conv if self.ours else nn.Conv
            return layer(4, (3, 3), strides=2)(layer(32, (4, 4), padding=1)(x))

    (ours, params), (theirs, expected) = (
        Two(flag).init_with_output(key, x) for flag in (True, False)
    )
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    np.testing.assert_array_equal(ours, theirs)


def test_a_doubling_layer_adds_its_bias(key):
    layer = doubling(3, jnp.float32)
    x = jnp.zeros((1, 2, 2, 3))
    params = {"params": {**layer.init(key, x)["params"], "bias": jnp.arange(3.0)}}
    expected = np.broadcast_to(np.arange(3.0), (1, 4, 4, 3))
    np.testing.assert_array_equal(layer.apply(params, x), expected)


def test_bfloat16_sums_in_float32():
    x, kernel = draw((4, 16, 16, 32), (3, 3, 32, 32))
    x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)

    def pull(x, kernel):
        def total(kernel):
            return jnp.sum(convolve(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT))

        return jax.grad(total)(kernel)

    found, exact = pull(x, kernel), pull(x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    largest = float(jnp.max(jnp.abs(exact)))
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=0, atol=0.01 * largest)


@pytest.mark.parametrize("kernel", [(4, 4, 3, 5), (3, 3, 40, 2), (3, 4, 2, 3)])
@pytest.mark.parametrize("pads", [((2, 2), (2, 2)), ((1, 2), (1, 2)), ((0, 4), (3, 0))])
def test_a_transposed_convolution_equals_linens(kernel, pads):
    x, kernel = draw((2, 4, 5, kernel[2]), kernel)
    dilation = {"lhs_dilation": (2, 3), "dimension_numbers": LAYOUT}

    def ours(x, kernel):
        return convolve(x, kernel, (1, 1), pads, **dilation)

    def theirs(x, kernel):
        layer = nn.ConvTranspose(kernel.shape[3], kernel.shape[:2], (2, 3), pads, use_bias=False)
        return layer.apply({"params": {"kernel": kernel}}, x)

    assert_alike(values_and_pulls(ours, x, kernel), values_and_pulls(theirs, x, kernel))


@pytest.mark.parametrize(
    "others", [{"rhs_dilation": (2, 2)}, {"feature_group_count": 2}, {"precision": "highest"}]
)
def test_what_is_not_known_here_is_left_to_xla(others):
    x, kernel = draw((1, 8, 8, 64), (3, 3, 64 // others.get("feature_group_count", 1), 64))
    others |= {"dimension_numbers": LAYOUT}
    found = convolve(x, kernel, (1, 1), "SAME", **others)
    expected = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", **others)
    np.testing.assert_array_equal(found, expected)
