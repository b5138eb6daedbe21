"""Learns from pairs: the mean difference of abnormal and normal images is what it takes away."""

import jax.numpy as jnp
from ml_collections import ConfigDict

from ad_core.types import Method, Steps, TrainState, View


def defaults(size):
    return ConfigDict({"lr": 0.5})


def make(config):
    rate = config.reconstructor.lr

    def init(key, shape):
        return TrainState(jnp.int32(0), {"change": jnp.zeros(shape)}, (), {})

    def train_step(state, batch, key):
        normal, abnormal = batch.image[0::2], batch.image[1::2]
        error = jnp.mean(abnormal - normal, axis=0) - state.params["change"]
        params = {"change": state.params["change"] + rate * error}
        metrics = {"loss": jnp.mean(jnp.abs(error)), "abnormal": jnp.mean(batch.label[1::2] == 1)}
        return TrainState(state.step + 1, params, (), {}), metrics

    def view(state, image, keys):
        change = state.params["change"][None]
        share = jnp.sum(image * change, (1, 2, 3)) / (jnp.sum(change**2) + 1e-6)
        drawn = jnp.clip(image - share[:, None, None, None] * change, -1.0, 1.0)
        return View(
            image=drawn, maps={"change": jnp.mean(image - drawn, -1)}, losses={"share": share}
        )

    return Method(Steps(init, train_step), view, trains_on_abnormal=True, curves=("loss",))
