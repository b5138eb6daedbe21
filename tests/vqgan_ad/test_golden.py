"""VQGAN against its twin in PyTorch (benchmarks/torch_vqgan.py), which shares no code with it.

tests/golden/vqgan_torch.npz: PyTorch 2.13.0 on CPU in float64, seed 0, by
`python benchmarks/torch_vqgan.py --golden=tests/golden/vqgan_torch.npz`. It holds the weights, two
images, what the network makes of them, gradients, and the metrics of three steps of Adam.
"""

from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from ad_core.networks.blocks import GroupNorm
from ad_core.runtime.config import complete
from ad_core.types import Batch
from tests.quick import blank, compiled
from vqgan_ad import vqgan
from vqgan_ad.model import make_model
from vqgan_ad.settings import make_settings

GOLDEN = Path(__file__).parents[1] / "golden" / "vqgan_torch.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return {
            name: x.astype(np.float32) if x.dtype == np.float16 else x for name, x in file.items()
        }


@pytest.fixture(scope="module")
def config():
    adam = {"name": "adam", "lr": 1e-2, "b1": 0.5, "b2": 0.9, "eps": 1e-8}
    reconstructor = {
        "width": 2,
        "multipliers": (1, 2),
        "blocks": 1,
        "attention": (1,),
        "latent": 4,
        "disc_width": 2,
        "disc_layers": 2,
        "codes": 8,
        "codebook_start": "uniform",
        "restart_dead": False,
        "beta": 0.25,
        "disc_weight": 0.8,
        "disc_start": 0,
        "disc_ramp": 1,
        "optimiser": adam,
        "disc_optimiser": adam,
    }
    data = {"image_size": 16, "channels": 3}
    return complete(
        ConfigDict({"method": "vqgan_ad.vqgan", "data": data, "reconstructor": reconstructor})
    )


@pytest.fixture(scope="module")
def params(golden, config):
    """The golden weights in the places that the network here has for them."""
    model = make_model(make_settings(config), 3)
    shapes = jax.eval_shape(lambda key: model.init(key, (16, 16, 3)), jax.random.key(0))
    flat = flax.traverse_util.flatten_dict(shapes, sep="/")
    names = sorted(flat)
    assert names == str(golden["names"]).split()
    sizes = [flat[name].size for name in names]
    assert sum(sizes) == golden["weights"].size
    pieces = np.split(golden["weights"], np.cumsum(sizes)[:-1])
    placed = {
        name: jnp.asarray(x.reshape(flat[name].shape))
        for name, x in zip(names, pieces, strict=True)
    }
    return flax.traverse_util.unflatten_dict(placed, sep="/")


@pytest.fixture(scope="module")
def steps(golden, config, params):
    """(state, metrics) after each of three steps."""
    method = vqgan.make(config)
    state = blank(method, (16, 16, 3))
    averaged = {"generator": params["generator"]}
    state = state._replace(params=params, extra={**state.extra, "ema": averaged})
    n = len(golden["image"])
    labels, valid = np.zeros(n, np.int32), np.ones(n, bool)
    batch = Batch(golden["image"], labels, valid, np.arange(n, dtype=np.int32))
    step, passed = compiled(method.learn.train_step), []
    for number in range(3):
        state, metrics = step(state, batch, jax.random.key(number))
        passed.append((state, metrics))
    return passed


def test_one_pass_agrees_with_pytorch(golden, config, params):
    model = make_model(make_settings(config), 3)
    image = jnp.asarray(golden["image"])
    passed = compiled(model.forward)(params["generator"], image)
    np.testing.assert_array_equal(passed.quantised.codes, golden["codes"])
    assert len(np.unique(golden["codes"])) > 1
    # Float32 against float64, values up to about 1.
    np.testing.assert_allclose(passed.image, golden["reconstruction"], atol=2e-5)
    logits = compiled(model.discriminate)(params["discriminator"], image)
    np.testing.assert_allclose(logits, golden["logits"], atol=2e-5)


def test_gradients_of_both_players_agree_with_pytorch(golden, steps):
    state, _ = steps[0]
    # Adam's average of gradients starts at zero, so that after one step it is (1 - b1) g.
    halves = {player: optax.tree.get(state.opt_state[player], "mu") for player in state.opt_state}
    found = flax.traverse_util.flatten_dict(halves, sep="/")
    names = [name for name in golden if name.startswith("gradients/")]
    assert len(names) == 7
    for name in names:
        gradient = 2.0 * np.asarray(found[name.removeprefix("gradients/")])
        expected = golden[name]
        largest = np.abs(expected).max()
        assert largest > 0.0
        np.testing.assert_allclose(gradient, expected, atol=1e-4 * largest, err_msg=name)


def test_losses_of_three_steps_agree_with_pytorch(golden, steps):
    names = str(golden["metric_names"]).split()
    found = np.array([[float(metrics[name]) for name in names] for _, metrics in steps])
    # Adam divides by the gradient's size, which lifts the rounding of small gradients.
    for column, name in enumerate(names):
        np.testing.assert_allclose(
            found[:, column], golden["metrics"][:, column], rtol=1e-3, atol=1e-5, err_msg=name
        )


def test_group_norm_joins_channels_as_pytorch_does(golden):
    scale_and_offset = {"scale": golden["norm/scale"], "bias": golden["norm/bias"]}
    y = GroupNorm().apply({"params": scale_and_offset}, jnp.asarray(golden["norm/x"]))
    np.testing.assert_allclose(y, golden["norm/y"], atol=1e-5)
