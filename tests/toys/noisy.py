"""Draws its normal version with noise of the image's own key."""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ad_core.types import Method, Steps, TrainState, View


def defaults(size):
    return ConfigDict({"noise": 0.2, "lr": 0.1})


def make(config):
    settings = config.reconstructor

    def init(key, shape):
        return TrainState(jnp.int32(0), {"mean": jnp.zeros(shape)}, (), {})

    def train_step(state, batch, key):
        error = jnp.mean(batch.image, axis=0) - state.params["mean"]
        params = {"mean": state.params["mean"] + settings.lr * error}
        return TrainState(state.step + 1, params, (), {}), {"loss": jnp.mean(jnp.square(error))}

    def view(state, image, keys):
        noise = jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(keys)
        drawn = 0.5 * image + 0.5 * state.params["mean"][None] + settings.noise * noise
        return View(image=jnp.clip(drawn, -1.0, 1.0), losses={"draw": jnp.mean(noise, (1, 2, 3))})

    return Method(Steps(init, train_step), view, curves=("loss",))
