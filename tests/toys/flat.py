"""Learns in one pass and draws no image: distances from the normals' mean, pixel by pixel."""

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ad_core.types import Method, OnePass, TrainState, View


def defaults(size):
    return ConfigDict({"floor": 0.01, "folds": 5})


def make(config):
    floor = config.reconstructor.floor

    def fit(batches, key):
        count, total, square = 0, 0.0, 0.0
        for batch in batches:
            image = np.asarray(batch.image, np.float64)[np.asarray(batch.valid)]
            count += len(image)
            total, square = total + image.sum(0), square + (image**2).sum(0)
        mean = total / count
        spread = np.sqrt(np.maximum(square / count - mean**2, 0)) + floor
        memory = {
            "mean": jnp.asarray(mean, jnp.float32),
            "spread": jnp.asarray(spread, jnp.float32),
        }
        return TrainState(jnp.int32(1), {"memory": memory}, (), {})

    def view(state, image, keys):
        memory = state.params["memory"]
        distance = jnp.abs(image - memory["mean"][None]) / memory["spread"][None]
        distance = jnp.mean(distance, axis=-1)
        losses = {"distance": jnp.max(distance, axis=(1, 2))}
        return View(maps={"distance": distance}, losses=losses, anomaly="distance")

    return Method(OnePass(fit), view, folds=config.reconstructor.folds)
