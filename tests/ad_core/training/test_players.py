import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ad_core.runtime.config import complete
from ad_core.training.players import descend, make_player_optimisers


def test_each_player_descends_by_the_optimiser_of_its_own_section():
    sections = {
        "optimiser": {"name": "sgd", "lr": 0.5},
        "disc_optimiser": {"name": "sgd", "lr": 0.1, "schedule": "linear"},
    }
    config = complete(
        ConfigDict(
            {
                "method": "vqgan_ad.vqgan",
                "train": {"steps": 2, "epochs": 0},
                "reconstructor": sections,
            }
        )
    )
    params, gradient = {"kernel": jnp.array([[1.0]])}, {"kernel": jnp.array([[2.0]])}
    ends = []
    for optimiser in make_player_optimisers(config):
        moved, state = params, optimiser.init(params)
        for _ in range(2):
            moved, state = descend(optimiser, gradient, state, moved)
        ends.append(float(moved["kernel"][0, 0]))
    # 1 - 2 (0.5 + 0.5); the other rate falls from 0.1 to half of it at the second of two steps.
    np.testing.assert_allclose(ends, [-1.0, 1.0 - 2.0 * (0.1 + 0.05)], rtol=1e-6)
