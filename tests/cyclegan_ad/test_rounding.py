"""What enlarges rounding in CycleGAN's training: the kinks of ReLU, not the number of devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.training.partition import partition
from ad_core.types import Batch
from cyclegan_ad import cyclegan, step
from tests.small_config import small_config

STEPS, SIDE = 20, 32
pytestmark = pytest.mark.slow


def waves():
    """Four batches of four pairs: waves in any direction, with a little noise."""
    rng = np.random.default_rng(0)
    grid = np.linspace(0, 1, SIDE)
    slopes = rng.uniform(-9, 9, (2, 4, 8, 1, 1, 1))
    found = np.sin(slopes[0] * grid[:, None, None] + slopes[1] * grid[None, :, None])
    image = np.clip(0.8 * found + 0.1 * rng.normal(size=found.shape), -1, 1).astype(np.float32)
    index = np.arange(8, dtype=np.int32)
    return [Batch(x, index % 2, np.ones(8, bool), index) for x in image]


def trained(devices):
    """Losses, and the weights after STEPS of plain descent."""
    descent = {"name": "sgd", "lr": 3e-4, "schedule": "constant"}
    config = small_config(
        method="cyclegan_ad.cyclegan",
        data={"image_size": SIDE, "channels": 1},
        reconstructor={
            "width": 4,
            "blocks": 1,
            "disc_width": 4,
            "optimiser": descent,
            "disc_optimiser": descent,
        },
    )
    learn = cyclegan.make(config).learn
    parts = partition(learn.train_step, "jit", devices=devices)
    init = jax.jit(lambda key: learn.init(key, (SIDE, SIDE, 1)))
    state, batches, losses = parts.place_state(init(jax.random.key(0))), waves(), []
    for number in range(STEPS):
        batch, key = parts.place_batch(batches[number % 4]), jax.random.key(number)
        state, metrics = parts.step(state, batch, parts.place_state(key))
        losses.append(float(metrics["loss"]))
    return losses, jax.device_get(state.params)


def apart():
    """Largest difference between the weights of one device and of eight; the loss learns."""
    losses, one = trained(jax.devices()[:1])
    _, eight = trained(jax.devices())
    assert losses[-1] < 0.7 * losses[0]
    found = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), one, eight)
    return max(jax.tree.leaves(found))


def test_without_kinks_eight_devices_keep_to_the_weights_of_one_for_twenty_steps(monkeypatch):
    with_kinks = apart()
    monkeypatch.setattr(nn, "relu", nn.swish)
    monkeypatch.setattr(nn, "leaky_relu", lambda x, slope: slope * x + (1 - slope) * nn.swish(x))
    monkeypatch.setattr(
        step, "absolute_error", lambda x, y: jnp.sqrt(jnp.square(x - y) + jnp.square(0.1))
    )
    smooth = apart()
    assert smooth < 1e-5 and with_kinks > 100 * smooth, (smooth, with_kinks)
