"""What each memory promises as a method, on a toy backbone that needs no file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.errors import UserError
from ad_core.metrics import auroc
from ad_core.runtime.registry import resolve
from ad_core.scoring.localisation import Localiser
from ad_core.types import Batch, View
from baselines_ad import gaussian, padim, patchcore
from baselines_ad.frozen import make_frozen, make_look
from tests.baselines_ad import toy_backbone
from tests.small_config import small_config

TOY = "tests.baselines_ad.toy_backbone:toy"
METHODS = ("padim", "patchcore", "gaussian")
MAPS = {"padim": "distance", "patchcore": "distance", "gaussian": "share"}
RNG = np.random.default_rng(0)


def config_of(name, *, channels=1, **settings):
    settings = {"backbone": TOY, **settings}
    return small_config(
        method=f"baselines_ad.{name}",
        reconstructor=settings,
        data={"channels": channels, "image_size": 32},
    )


def textures(count, *, channels=1, seed=0):
    """Waves of one direction and any phase, each channel weaker, with noise, in [-1, 1]."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1, 1))
    across = np.arange(32).reshape(1, 1, 32, 1)
    wave = np.sin(across * 0.8 + phase) * 0.4 / (1 + np.arange(channels))
    wave = wave + rng.normal(0, 0.05, (count, 32, 32, channels))
    return wave.clip(-1, 1).astype(np.float32)


def batches_of(images, size=8):
    """The last one padded with what must not be learnt."""
    for first in range(0, len(images), size):
        part = images[first : first + size]
        image = np.full((size, *images.shape[1:]), 0.9, np.float32)
        image[: len(part)] = part
        count = np.arange(size)
        index = np.where(count < len(part), first + count, -1).astype(np.int32)
        yield Batch(image, np.zeros(size, np.int32), count < len(part), index)


def learnt(name, images, size=8, **settings):
    settings = {"channels": images.shape[-1], **settings}
    method = resolve(f"baselines_ad.{name}").make(config_of(name, **settings))
    return method, method.learn.fit(batches_of(images, size), jax.random.key(3))


def seen_by(method, state, images):
    keys = jax.random.split(jax.random.key(0), len(images))
    return jax.jit(method.view)(state, jnp.asarray(images), keys)


def assert_same(a, b, rtol=2e-3, atol=2e-3):
    """To what float32 keeps through the inverse of a covariance."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_planted_blob_is_found_and_is_the_hottest_place(name, channels):
    method, state = learnt(name, textures(48, channels=channels))
    images = textures(40, channels=channels, seed=1)
    places = np.random.default_rng(2).integers(4, 22, (20, 2))
    for image, (row, column) in zip(images[20:], places, strict=True):
        image[row : row + 6, column : column + 6] = 0.9
    view = seen_by(method, state, images)
    labels = np.repeat([0, 1], 20)
    assert auroc(labels, np.asarray(view.losses["score"])) > 0.95
    assert view.image is None and view.anomaly == MAPS[name]
    found = np.asarray(view.maps[view.anomaly])[20:]
    step = 32 / found.shape[1]
    hottest = np.stack([np.unravel_index(x.argmax(), x.shape) for x in found])
    apart = np.abs((hottest + 0.5) * step - (places + 3)).max(axis=1)
    # Within the blob, or one position of the coarsest level beside it.
    assert (apart <= 3 + 8).mean() >= 0.9


def test_levels_may_be_named_in_another_order_than_the_network_has_them():
    """A compiled program gives a dictionary in the order of its names: stage5 before stem."""
    images = textures(20)
    method, state = learnt("padim", images, levels=("stem", "stage5"))
    frozen = make_frozen(config_of("padim", levels=("stem", "stage5")))
    memory = state.params["memory"]
    seen = padim.grid(
        frozen.maps(state.params["backbone"], jnp.asarray(images)), memory["channels"]
    )
    np.testing.assert_allclose(memory["mean"], jnp.mean(seen, axis=0), atol=1e-5)
    whole = {"coreset": 1.0, "levels": ("stem", "stage5")}
    images = images[:6]
    method, state = learnt("patchcore", images, **whole)
    assert float(jnp.max(seen_by(method, state, images).maps["distance"])) < 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_losses_and_maps_are_those_that_the_method_names(name):
    method, state = learnt(name, textures(6))
    view = seen_by(method, state, textures(3, seed=1))
    assert set(method.losses) == set(view.losses) and set(method.maps) == set(view.maps)
    for value in (*view.losses.values(), *view.maps.values()):
        assert value.dtype == jnp.float32 and np.isfinite(value).all()


@pytest.mark.parametrize("name", METHODS)
def test_batches_and_padding_change_nothing_that_is_learnt(name):
    images = textures(21)
    _, whole = learnt(name, images, 24)
    _, parts = learnt(name, images, 5)
    assert_same(whole.params["memory"], parts.params["memory"])


def test_what_a_memory_sees_of_an_image_has_the_same_bits_alone_and_on_any_number_of_devices():
    frozen, images = make_frozen(config_of("padim")), textures(16)
    weights = frozen.weights()
    look = make_look(frozen.maps, weights)
    seen = [x.values for x in look(batches_of(images))]
    alone = [x.values for x in look(batches_of(images, 1))]
    assert jax.device_count() == 8
    for level in frozen.levels:
        together = np.concatenate([x[level] for x in seen])
        np.testing.assert_array_equal(together, np.concatenate([x[level] for x in alone]))
        expected = frozen.maps(weights, jnp.asarray(images))[level]
        np.testing.assert_allclose(together, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_view_does_not_depend_on_jit_row_or_batch(name):
    method, state = learnt(name, textures(20))
    state = jax.tree.map(jnp.asarray, state)
    images = textures(4, seed=1)
    whole = seen_by(method, state, images)
    keys = jax.random.split(jax.random.key(0), 4)
    assert_same(whole, method.view(state, jnp.asarray(images), keys))
    alone = seen_by(method, state, images[2:3])
    assert_same(jax.tree.map(lambda x: x[2:3], whole), alone)


@pytest.mark.parametrize("name", METHODS)
def test_a_state_carries_the_weights_it_needs_and_no_others(name, monkeypatch):
    levels = () if name == "gaussian" else ("stage3", "stage5")
    _, state = learnt(name, textures(6), levels=levels)
    kept = {"stem", "stage3", "stage5"} | ({"head"} if name == "gaussian" else set())
    assert set(state.params["backbone"]) == kept
    before = seen_by(resolve(f"baselines_ad.{name}").make(config_of(name)), state, textures(2))

    def missing(spec):
        raise AssertionError("weights are read")

    monkeypatch.setattr(toy_backbone, "load", missing)
    again = resolve(f"baselines_ad.{name}").make(config_of(name))
    assert_same(before, seen_by(again, state, textures(2)), rtol=0, atol=0)


@pytest.mark.parametrize("name", METHODS)
def test_bfloat16_is_for_the_backbone_alone(name):
    config = config_of(name)
    config.train.dtype = "bfloat16"
    method = resolve(f"baselines_ad.{name}").make(config)
    state = method.learn.fit(batches_of(textures(20)), jax.random.key(3))
    wanted = jax.tree.map(
        lambda x: np.asarray(x).dtype.kind in "fi" and x.dtype.itemsize == 4, state
    )
    assert all(jax.tree.leaves(wanted))
    images = textures(8, seed=1)
    images[4:, 8:14, 8:14] = 0.9
    view = seen_by(method, state, images)
    assert view.losses["score"].dtype == jnp.float32
    assert min(view.losses["score"][4:]) > max(view.losses["score"][:4])


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_blob_is_found_with_the_default_settings_too(name):
    config = small_config(
        method=f"baselines_ad.{name}", data={"channels": 3, "image_size": 64, "workers": 1}
    )
    method = resolve(f"baselines_ad.{name}").make(config)
    images = np.tile(textures(48, channels=3), (1, 2, 2, 1))
    state = method.learn.fit(batches_of(images[:24]), jax.random.key(3))
    others = images[24:].copy()
    others[12:, 20:32, 24:36] = 0.9
    view = seen_by(method, state, others)
    assert auroc(np.repeat([0, 1], 12), np.asarray(view.losses["score"])) > 0.95
    backbone = sum(x.nbytes for x in jax.tree.leaves(state.params["backbone"]))
    assert backbone < (14e6 if name == "gaussian" else 5e6)  # all of Lite0, or up to stage5


@pytest.mark.parametrize("name", METHODS)
def test_what_cannot_be_learnt_is_refused_in_one_message(name):
    module = resolve(f"baselines_ad.{name}")
    with pytest.raises(UserError, match="names 'stage9', which tests.*toy has not; known: stem"):
        module.make(config_of(name, levels=("stage9",)))
    # ResNet's layer2 and layer3 have the strides 8 and 16.
    with pytest.raises(UserError, match=r"Add e\.g\. --config\S+\.levels=layer2,layer3 \("):
        module.make(config_of(name, backbone="resnet18:FILE", levels=("stage3",)))
    with pytest.raises(UserError, match="Unknown backbone 'nowhere'"):
        module.make(config_of(name, backbone="nowhere"))
    with pytest.raises(UserError, match=r"`reconstructor.floor` \(=0.0\) must lie in"):
        module.make(config_of(name, floor=0.0))
    with pytest.raises(UserError, match="No normal image to learn from"):
        module.make(config_of(name)).learn.fit(iter(()), jax.random.key(0))


def test_every_default_names_a_backbone_that_is_known():
    for name in METHODS:
        for size in ("cpu", "accelerator"):
            config = small_config(method=f"baselines_ad.{name}", size=size)
            assert make_frozen(config).levels


def test_padim_keeps_as_many_channels_as_asked_for():
    config = config_of("padim")
    config.reconstructor.channels = 7
    images, key = textures(12), jax.random.key(3)
    state = padim.make(config).learn.fit(batches_of(images), key)
    memory = state.params["memory"]
    assert memory["whiten"].shape == (8, 8, 7, 7)
    assert len(set(memory["channels"].tolist())) == 7 and memory["channels"].max() < 20
    whole = padim.make(config_of("padim")).learn.fit(batches_of(images), key).params["memory"]
    np.testing.assert_allclose(memory["mean"], whole["mean"][..., memory["channels"]], rtol=1e-5)


def test_padims_score_is_the_largest_value_of_the_map_that_is_shown():
    method, state = learnt("padim", textures(12))
    images = textures(3, seed=1)
    view = seen_by(method, state, images)
    shown = Localiser("distance", 0.0156 * 32)(jnp.asarray(images), View(maps=view.maps))
    np.testing.assert_allclose(view.losses["score"], np.asarray(shown).max(axis=(1, 2)), rtol=1e-5)
    flat = np.sort(np.asarray(view.maps["distance"]).reshape(3, -1), axis=1)
    np.testing.assert_allclose(view.losses["top"], flat[:, -1], rtol=1e-6)  # 1 % of 64 is 1


def test_patchcore_tells_its_memory_before_it_starts_and_keeps_within_it(caplog):
    config = config_of("patchcore")
    config.reconstructor.patches, config.reconstructor.coreset = 300, 0.1
    with caplog.at_level("INFO"):
        state = patchcore.make(config).learn.fit(batches_of(textures(12)), jax.random.key(3))
    assert state.params["memory"]["bank"].shape == (30, 20)
    lines = [record.message for record in caplog.records if "PatchCore" in record.message]
    assert lines == [
        "PatchCore keeps at most 300 patches of 20 channels (0 MB).",
        "PatchCore chooses 30 of 300 patches of 20 channels (0 MB), drawn from 768.",
    ]


def test_patchcore_knows_its_own_normals_where_it_keeps_every_patch():
    config = config_of("patchcore")
    config.reconstructor.coreset = 1.0
    images, method = textures(6), patchcore.make(config)
    state = method.learn.fit(batches_of(images), jax.random.key(3))
    assert float(jnp.max(seen_by(method, state, images).maps["distance"])) < 1e-3


def test_the_shares_of_positions_average_to_the_distance_of_their_level():
    method, state = learnt("gaussian", textures(30))
    image = jnp.asarray(textures(3, seed=1))
    frozen = make_frozen(config_of("gaussian"))
    found = frozen.maps(state.params["backbone"], image)
    levels = gaussian.coarse(found, frozen.network.strides)
    view = seen_by(method, state, image)
    total = 0.0
    for name, level in levels.items():
        distance, share = jax.jit(gaussian.judge_level)(state.params["memory"][name], level)
        np.testing.assert_allclose(jnp.mean(share, axis=(1, 2)), distance, rtol=2e-3)
        np.testing.assert_allclose(view.losses[f"distance_{name}"], distance, rtol=2e-3)
        total += np.asarray(distance)
    np.testing.assert_allclose(view.losses["score"], total, rtol=2e-3)
