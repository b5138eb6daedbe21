"""Memories of several parts of the images: what each learns alone, computed once, compiled once."""

import jax
import numpy as np
import pytest

from ad_core.runtime.registry import resolve
from ad_core.training import cross_fit
from baselines_ad import frozen
from baselines_ad.nearest import FAR
from tests.baselines_ad.test_methods import (
    assert_same,
    batches_of,
    config_of,
    seen_by,
    textures,
)

METHODS = ("padim", "patchcore", "gaussian", "features")
IMAGES = textures(21)
PARTS = np.stack([np.arange(21) % 3 != 0, np.arange(21) < 9, np.arange(21) != 5, np.ones(21, bool)])
COMPILED: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: COMPILED.append(event) if "backend_compile" in event else None
)


def learning(name, **settings):
    settings |= {"coreset": 0.1} if name == "patchcore" else {}
    method = resolve(f"baselines_ad.{name}").make(config_of(name, **settings))
    return method, method.learn


def without_room(memory):
    """A memory as it is alone: PatchCore's bank without the rows that only make room."""
    if "bank" in memory:
        memory = memory | {"bank": memory["bank"][memory["bank"][:, 0] < FAR]}
    return memory


@pytest.mark.parametrize("name", METHODS)
def test_the_state_of_a_part_is_that_of_its_images_alone(name):
    method, learn = learning(name)
    key, others = jax.random.key(3), textures(4, seed=1)
    states = list(learn.fit_parts(lambda: batches_of(IMAGES, 8), PARTS, key))
    assert len(states) == len(PARTS)
    for part, state in zip(PARTS, states, strict=True):
        alone = learn.fit(batches_of(IMAGES[part], 8), key)
        assert_same(without_room(state.params["memory"]), alone.params["memory"])
        assert_same(state.params["backbone"], alone.params["backbone"], rtol=0, atol=0)
        assert_same(seen_by(method, state, others), seen_by(method, alone, others))
    memories = [without_room(state.params["memory"]) for state in states]
    with pytest.raises(AssertionError):
        assert_same(memories[0], memories[1])  # parts that differ teach what differs


@pytest.mark.parametrize("name", METHODS)
def test_the_states_of_all_parts_have_the_shapes_of_the_whole(name):
    _, learn = learning(name)
    key = jax.random.key(3)
    whole = learn.fit(batches_of(IMAGES), key)
    for state in learn.fit_parts(lambda: batches_of(IMAGES), PARTS, key):
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(whole), strict=True):
            assert (np.shape(a), a.dtype) == (np.shape(b), b.dtype)


@pytest.mark.parametrize("name", METHODS)
def test_no_part_but_the_first_compiles(name):
    _, learn = learning(name)
    states = iter(learn.fit_parts(lambda: batches_of(IMAGES), PARTS, jax.random.key(3)))
    COMPILED.clear()
    next(states)
    assert COMPILED
    COMPILED.clear()
    assert len(list(states)) == len(PARTS) - 1 and not COMPILED


@pytest.mark.parametrize("name", METHODS)
def test_features_are_computed_once_or_told_to_be_computed_anew(name, monkeypatch, caplog):
    _, learn = learning(name)
    passes = []

    def begin():
        passes.append(len(passes))
        return batches_of(IMAGES)

    def learnt():
        passes.clear()
        with caplog.at_level("INFO"):
            return list(learn.fit_parts(begin, PARTS, jax.random.key(3)))

    kept = learnt()
    assert len(passes) == 1 and "computed anew" not in caplog.text
    monkeypatch.setattr(frozen, "KEPT_BYTES", 1000)
    anew = learnt()
    assert len(passes) == len(PARTS)
    assert caplog.text.count("The features of 21 images take") == 1
    for a, b in zip(kept, anew, strict=True):
        assert_same(a.params["memory"], b.params["memory"])


def test_a_part_of_few_patches_is_weighted_as_alone():
    """Fewer items than neighbours: rows that only make room are none of them."""
    method, learn = learning("patchcore", neighbours=9)
    part = np.arange(21)[None] < 1  # 64 patches, 6 items
    (state,) = learn.fit_parts(lambda: batches_of(IMAGES), part, jax.random.key(3))
    bank = state.params["memory"]["bank"]
    assert bank.shape == (134, 20) and (bank[:, 0] < FAR).sum() == 6
    alone = learn.fit(batches_of(IMAGES[:1]), jax.random.key(3))
    others = textures(4, seed=1)
    assert_same(seen_by(method, state, others), seen_by(method, alone, others))


def test_the_default_way_gives_the_same_states():
    _, learn = learning("gaussian")
    own = cross_fit.fit_parts(learn, lambda: batches_of(IMAGES), PARTS, seed=3)
    plain = learn._replace(fit_parts=None)
    default = cross_fit.fit_parts(plain, lambda: batches_of(IMAGES), PARTS, seed=3)
    for a, b in zip(own, default, strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("count", [0, 1, 8, 11, 16])
def test_a_part_is_gathered_in_full_batches(count):
    chosen = np.zeros(21, bool)
    chosen[np.random.default_rng(0).permutation(21)[:count]] = True
    seen = (frozen.Seen({"image": batch.image}, batch.valid) for batch in batches_of(IMAGES, 8))
    found = list(frozen.gather(seen, chosen))
    assert [len(one.valid) for one in found] == [8] * -(-count // 8)
    assert all(one.valid.all() for one in found[:-1])
    images = [frozen.rows(one)["image"] for one in found]
    np.testing.assert_array_equal(np.concatenate([IMAGES[:0], *images]), IMAGES[chosen])
