"""Which of several methods shows its map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.errors import UserError
from ad_core.scoring.localisation import Localiser
from ad_core.scoring.part import Part, find_map, foremost, measure_parts, outdone
from ad_core.statistics import Context
from ad_core.types import View
from baselines_ad import features, gaussian, padim, patchcore
from tests.baselines_ad.test_methods import batches_of, config_of, seen_by, textures

MAP = jax.ShapeDtypeStruct((1, 4, 4), np.float32)
IMAGE = jax.ShapeDtypeStruct((1, 4, 4, 1), np.float32)
VIEWS = {
    "drawing": View(image=IMAGE, maps={"codes": MAP}),
    "mapless": View(),
    "memory": View(maps={"distance": MAP}, anomaly="distance"),
}


def test_the_method_that_localises_best_by_measurement_is_foremost():
    assert foremost({"vqgan": 0, "features": 2, "padim": 3, "other": 3}) == ("padim", "other")
    assert foremost({"vqgan": 0, "cyclegan": 0}) == ("vqgan",)


def test_a_map_that_was_measured_and_found_worse_is_outdone():
    assert outdone({"vqgan": 0, "features": 2, "padim": 3, "other": 3}) == ("features",)
    assert outdone({"features": 2}) == outdone({"vqgan": 0, "cyclegan": 0}) == ()


def test_the_memories_stand_in_the_order_that_was_measured():
    modules = {"gaussian": gaussian, "features": features, "patchcore": patchcore, "padim": padim}
    ranks = {name: module.make(config_of(name)).localises for name, module in modules.items()}
    assert sorted(ranks, key=lambda name: -ranks[name])[:2] == ["padim", "features"]
    assert min(ranks.values()) > 0  # before any generator


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", ("memory", None)),
        ("drawing", ("drawing", None)),
        ("codes", ("drawing", "codes")),
        ("memory.distance", ("memory", "distance")),
    ],
)
def test_a_map_is_found_by_method_by_name_by_both_or_by_default(wanted, found):
    assert find_map(VIEWS, wanted, default="memory") == found


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("", "`mapless` draws neither a map nor a normal version"),
        ("mapless", "names nothing that localises; known: drawing, mapless"),
        ("memory.codes", "names nothing that localises; known: drawing, mapless"),
    ],
)
def test_what_localises_nothing_is_refused(wanted, message):
    with pytest.raises(UserError, match=message):
        find_map(VIEWS, wanted, default="memory" if wanted else "mapless")


def test_padim_shows_its_map_whatever_its_place_among_the_methods():
    parts = []
    for name, module in (("features", features), ("padim", padim)):
        config = config_of(name)
        state = module.make(config).learn.fit(batches_of(textures(12)), jax.random.key(0))
        parts.append(Part(name, config, state, Context(), ()))
    image = textures(8, seed=1)
    view = seen_by(padim.make(parts[1].config), parts[1].state, image)
    sigma = parts[1].config.localisation.sigma
    expected = Localiser("distance", sigma * 32)(jnp.asarray(image), view)
    for order in (parts, parts[::-1]):
        measured = measure_parts(order, order[0].config.localisation, batch_size=8)
        found = np.asarray(measured.measure(image, None).anomaly_map)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
