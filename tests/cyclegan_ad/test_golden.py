"""CycleGAN against its twin in PyTorch (benchmarks/torch_cyclegan.py): no code is shared.

tests/golden/cyclegan_torch.npz: PyTorch 2.13.0 on CPU in float64, seed 0, by
`python benchmarks/torch_cyclegan.py --golden=tests/golden/cyclegan_torch.npz`. It holds weights,
two pairs of images, what the networks make of them, all gradients of one step, the metrics of
three steps of Adam, and the learning rates of PyTorch's scheduler.
"""

from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from ad_core.runtime.config import complete
from ad_core.training.optimisers import OptimiserSettings, learning_rate
from ad_core.types import Batch
from cyclegan_ad import cyclegan
from cyclegan_ad.model import make_model
from cyclegan_ad.settings import make_settings
from tests.quick import blank, compiled

GOLDEN = Path(__file__).parents[1] / "golden" / "cyclegan_torch.npz"
SHAPE = (16, 16, 3)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return {
            name: x.astype(np.float32) if x.dtype == np.float16 else x for name, x in file.items()
        }


def config_of(upsample):
    reconstructor = {
        "width": 2,
        "blocks": 1,
        "upsample": upsample,
        "disc_width": 2,
        "disc_layers": 2,
        "optimiser": {"schedule": "constant", "lr": 2e-4},
        "disc_optimiser": {"schedule": "constant", "lr": 2e-4},
    }
    return complete(
        ConfigDict(
            {
                "method": "cyclegan_ad.cyclegan",
                "data": {"image_size": 16, "channels": 3},
                "reconstructor": reconstructor,
            }
        )
    )


def pieces(row, names, shapes):
    """Name -> array, from the golden file's long row, in which disc_* are called judge_*."""
    flat = flax.traverse_util.flatten_dict(shapes, sep="/")
    names = str(names).replace("judge_", "disc_").split()
    assert set(names) <= set(flat)
    parts = np.split(row, np.cumsum([flat[name].size for name in names]))
    assert parts.pop().size == 0
    return {name: x.reshape(flat[name].shape) for name, x in zip(names, parts, strict=True)}


def shapes_of(model):
    return jax.eval_shape(lambda key: model.init(key, SHAPE), jax.random.key(0))


@pytest.fixture(scope="module")
def params(golden):
    """The golden weights in the places that the networks here have for them."""
    shapes = shapes_of(make_model(make_settings(config_of("transposed")), 3))
    placed = pieces(golden["weights"], golden["names"], shapes)
    assert len(placed) == len(jax.tree.leaves(shapes))
    return flax.traverse_util.unflatten_dict(
        {name: jnp.asarray(x) for name, x in placed.items()}, sep="/"
    )


@pytest.fixture(scope="module")
def steps(golden, params):
    """(state, metrics) after each of three steps."""
    method = cyclegan.make(config_of("transposed"))
    state = blank(method, SHAPE)
    state = state._replace(params=params)
    image = np.stack([golden["normal"], golden["abnormal"]], axis=1).reshape(4, *SHAPE)
    index = np.arange(4, dtype=np.int32)
    batch = Batch(image, index % 2, np.ones(4, bool), index)
    step, passed = compiled(method.learn.train_step), []
    for number in range(3):
        state, metrics = step(state, batch, jax.random.key(number))
        passed.append((state, metrics))
    return passed


def test_generator_and_discriminator_agree_with_pytorch(golden, params):
    model = make_model(make_settings(config_of("transposed")), 3)
    drawn = compiled(model.draw)(params["to_normal"], jnp.asarray(golden["abnormal"]))
    # Float32 against float64, values up to 1.
    np.testing.assert_allclose(drawn, golden["drawn"], atol=2e-5)
    logits = compiled(model.discriminate)(params["disc_normal"], jnp.asarray(golden["normal"]))
    np.testing.assert_allclose(logits, golden["logits"], atol=2e-5)


def test_resized_generator_agrees_with_pytorch(golden):
    model = make_model(make_settings(config_of("resize")), 3)
    placed = pieces(golden["resized_weights"], golden["resized_names"], shapes_of(model))
    params = flax.traverse_util.unflatten_dict(placed, sep="/")["to_normal"]
    drawn = compiled(model.draw)(params, jnp.asarray(golden["abnormal"]))
    np.testing.assert_allclose(drawn, golden["drawn_resized"], atol=2e-5)


def test_every_gradient_of_one_step_agrees_with_pytorch(golden, params, steps):
    state, _ = steps[0]
    # Adam's average of gradients starts at zero, so that after one step it is (1 - b1) g.
    halves = {player: optax.tree.get(state.opt_state[player], "mu") for player in state.opt_state}
    halves |= halves.pop("generators")
    found = flax.traverse_util.flatten_dict(halves, sep="/")
    expected = pieces(golden["gradients"], golden["names"], params)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        root = [x for other, x in expected.items() if other.split("/")[0] == name.split("/")[0]]
        largest = max(np.abs(x).max() for x in root)
        # A bias before an instance norm has no gradient but rounding, which is another one on
        # processors with other vector units: 2.7e-5 without AVX-512.
        np.testing.assert_allclose(
            2.0 * np.asarray(found[name]), gradient, atol=5e-5 * largest, err_msg=name
        )


def test_every_loss_term_of_three_steps_agrees_with_pytorch(golden, steps):
    names = str(golden["metric_names"]).split()
    assert {"adversarial_normal", "cycle_abnormal", "identity_normal", "disc_normal"} < set(names)
    found = np.array([[float(metrics[name]) for name in names] for _, metrics in steps])
    for column, name in enumerate(names):
        np.testing.assert_allclose(
            found[:, column], golden["metrics"][:, column], rtol=2e-4, atol=1e-6, err_msg=name
        )
    assert np.ptp(golden["metrics"], axis=0).min() > 0.0


@pytest.mark.parametrize("epochs, epoch_steps", [(50, 7.3), (200, 1.9), (200, 60.75)])
def test_learning_rate_of_every_epoch_is_the_recipes(golden, epochs, epoch_steps):
    section = cyclegan.defaults("accelerator").optimiser
    steps = int(np.ceil(epochs * epoch_steps))
    rate = learning_rate(OptimiserSettings(**section.to_dict()), steps=steps, epochs=epochs)
    # An epoch's first update is the first that starts after its share of the steps.
    first = [-(-steps * epoch // epochs) for epoch in range(epochs + 1)]
    found = jax.vmap(rate)(jnp.arange(steps))
    for epoch, expected in enumerate(golden[f"rates_{epochs}"]):
        own = found[first[epoch] : first[epoch + 1]]
        assert len(own)
        np.testing.assert_allclose(own, expected, rtol=2e-5, atol=1e-12)
