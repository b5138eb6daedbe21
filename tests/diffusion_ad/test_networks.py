import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.networks.starting import ENDING, fan_in_start
from diffusion_ad.dit import DiT, TimedTransformerBlock
from diffusion_ad.unet import UNet, time_waves
from tests.quick import compiled

NETWORKS = {
    "unet": UNet(width=4, multipliers=(1, 2), blocks=1, attention=(1,)),
    "dit": DiT(patch=4, width=16, depth=1, heads=2),
}
X = np.random.default_rng(0).normal(size=(2, 8, 12, 3)).astype(np.float32)
TIME = np.array([3, 700], np.int32)


@functools.cache
def program(name):
    return compiled(NETWORKS[name].apply)


def shaken(network, x, seed=0):
    """Parameters of which none is zero."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), x, jnp.asarray(TIME))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: (0.3 * rng.normal(size=s.shape)).astype(s.dtype), shapes)


def test_waves_of_the_time_are_those_of_the_transformer():
    found = time_waves(jnp.asarray([0, 7], jnp.int32), 8)
    rates = 1e4 ** -(np.arange(4) / 4)
    expected = np.concatenate([np.cos(7 * rates), np.sin(7 * rates)])
    np.testing.assert_allclose(found[0], [1, 1, 1, 1, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found[1], expected, rtol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_starts_with_zero_and_ends_in_the_shape_of_its_input(name):
    network = NETWORKS[name]
    shapes = jax.eval_shape(network.init, jax.random.key(0), X, jnp.asarray(TIME))
    params = fan_in_start(shapes, jax.random.key(0))
    found = program(name)(params, X, TIME)
    assert found.shape == X.shape and found.dtype == jnp.float32
    np.testing.assert_array_equal(found, 0.0)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_time_of_an_image_changes_its_output_alone(name):
    network = NETWORKS[name]
    params, apply = shaken(network, X), program(name)
    found = apply(params, X, TIME)
    later = apply(params, X, np.array([3, 20], np.int32))
    np.testing.assert_allclose(later[0], found[0], atol=1e-5)
    assert np.abs(np.asarray(later[1] - found[1])).max() > 0.05


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_stays_near_float32(name):
    network = NETWORKS[name]
    params = shaken(network, X)
    exact = program(name)(params, X, TIME)
    near = compiled(network.clone(dtype=jnp.bfloat16).apply)(params, X, TIME)
    assert near.dtype == jnp.float32
    error = np.linalg.norm(near - exact) / np.linalg.norm(exact)
    assert 0 < error < 0.06


def test_a_block_of_the_transformer_starts_as_the_identity_and_its_gates_scale_its_part():
    """adaLN-zero: of the six numbers a channel the third and the sixth are gates."""
    block = TimedTransformerBlock(heads=2)
    x = jax.random.normal(jax.random.key(1), (2, 5, 8))
    time = jnp.ones((2, 3))
    shapes = jax.eval_shape(block.init, jax.random.key(0), x, time)
    params = fan_in_start(shapes, jax.random.key(0))
    np.testing.assert_array_equal(block.apply(params, x, time), x)
    dense = params["params"]["Modulation_0"][ENDING]
    gates = np.zeros((6, 8), np.float32)
    changes = []
    for factor in (1.0, 2.0):
        gates[5] = factor
        dense["bias"] = jnp.asarray(gates.ravel())
        changes.append(np.asarray(block.apply(params, x, time)) - x)
    assert np.abs(changes[0]).max() > 0.05
    np.testing.assert_allclose(changes[1], 2 * changes[0], atol=1e-5)


def test_kernels_start_with_one_over_their_inputs_and_endings_with_zero():
    shape = jax.ShapeDtypeStruct
    shapes = {
        "Conv_0": {"kernel": shape((3, 3, 20, 50), "float32"), "bias": shape((50,), "float32")},
        ENDING: {"kernel": shape((3, 3, 4, 4), "float32"), "bias": shape((4,), "float32")},
        "GroupNorm_0": {"scale": shape((4,), "float32")},
    }
    found = fan_in_start(shapes, jax.random.key(0))
    kernel = np.asarray(found["Conv_0"]["kernel"])
    assert kernel.std() == pytest.approx(1 / np.sqrt(180), rel=0.03)
    assert not np.any(found[ENDING]["kernel"]) and not np.any(found["Conv_0"]["bias"])
    np.testing.assert_array_equal(found["GroupNorm_0"]["scale"], 1.0)
