"""Pooled features as a method: what they are, and where their map is hot."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.metrics import auroc
from ad_core.runtime.config import complete
from ad_core.runtime.methods import make_for_network
from ad_core.statistics import compute, expand, feature_block, is_feature
from ad_core.types import View
from baselines_ad import features
from tests.baselines_ad import toy_backbone
from tests.baselines_ad.test_methods import batches_of, config_of, seen_by, textures

WIDTHS = {"stem": 12, "stage3": 16, "stage5": 24, "head": 10}


def learnt(*, grid=1, **settings):
    settings["grid"] = grid
    config = config_of("features", **settings)
    method = features.make(config)
    return method, method.learn.fit(batches_of(textures(20)), jax.random.key(3))


def test_features_are_the_mean_and_the_maximum_of_every_channel():
    method, state = learnt(flips=False)
    images = textures(4, seed=1)
    view = seen_by(method, state, images)
    backbone = toy_backbone.load("toy")
    for name, x in backbone.stages(backbone.params, jnp.asarray(images)).items():
        x = np.asarray(x)
        expected = np.concatenate([x.mean((1, 2)), x.max((1, 2))], axis=1)
        np.testing.assert_allclose(view.features[name], expected, rtol=1e-5, atol=1e-5)
    assert {name: x.shape[1] for name, x in view.features.items()} == WIDTHS


def test_a_grid_has_the_mean_of_each_cell_and_no_more_cells_than_positions():
    method, state = learnt(grid=4, flips=False)
    images = textures(4, seed=1)
    view = seen_by(method, state, images)
    backbone = toy_backbone.load("toy")
    for name, x in backbone.stages(backbone.params, jnp.asarray(images)).items():
        x = np.asarray(x)
        parts = [np.array_split(half, min(4, x.shape[2]), axis=2) for half in rows_of(x)]
        means = [cell.mean((1, 2)) for row in parts for cell in row]
        expected = np.concatenate([*means, x.max((1, 2))], axis=1)
        np.testing.assert_allclose(view.features[name], expected, rtol=1e-5, atol=1e-5)


def rows_of(x):
    return np.array_split(x, min(4, x.shape[1]), axis=1)


@pytest.mark.parametrize(
    ("settings", "cells"),
    [
        ({}, 16),
        ({"data": {"augment": "hflip"}}, 1),
        ({"data": {"resize": "own_size"}}, 1),
        ({"tiling": {"tile": 16}}, 1),
    ],
)
def test_there_are_cells_of_their_own_where_the_pose_is_fixed(settings, cells):
    values = config_of("features").to_dict()
    for section, own in settings.items():
        values[section] |= own
    method = make_for_network(complete(ConfigDict(values)))
    side = 16 if "tiling" in settings else 32
    images = textures(4)[:, :side, :side]
    state = method.learn.fit(batches_of(images), jax.random.key(0))
    view = seen_by(method, state, images)
    assert view.features["stem"].shape[1] == WIDTHS["stem"] // 2 * (cells + 1)


def test_coarse_levels_have_one_cell(monkeypatch):
    monkeypatch.setattr(features, "STRIDE", 4)
    method, state = learnt(grid=2)
    found = {name: x.shape[1] for name, x in seen_by(method, state, textures(2)).features.items()}
    assert found == {"stem": 30, "stage3": 40, "stage5": 24, "head": 10}


def test_cells_share_the_positions_on_their_edges():
    """As torch.nn.AdaptiveAvgPool2d: from floor(i n / g) to ceil((i + 1) n / g)."""
    x = jnp.arange(5.0).reshape(1, 1, 5, 1)
    found = features.pool({"a": x, "b": x}, {"a": 2})
    np.testing.assert_allclose(found["b"], [[2, 4]])
    np.testing.assert_allclose(found["a"], [[1, 3, 4]])  # positions 0 to 2, 2 to 4; the maximum


def test_cells_of_a_mirrored_image_are_mirrored_where_flips_are_averaged():
    method, state = learnt(grid=2, flips=True)
    images = textures(4, seed=1)
    one, other = (seen_by(method, state, x) for x in (images, images[:, :, ::-1].copy()))
    width = WIDTHS["stem"] // 2
    cells, mirrored = (
        np.asarray(view.features["stem"])[:, :-width].reshape(4, 2, 2, width)
        for view in (one, other)
    )
    np.testing.assert_allclose(cells, mirrored[:, :, ::-1], rtol=1e-4, atol=1e-5)
    assert not np.allclose(cells, mirrored, rtol=1e-2)


def test_a_flip_changes_nothing_where_flips_are_averaged():
    images = textures(4, seed=1)
    for flips, same in ((True, True), (False, False)):
        method, state = learnt(flips=flips)
        one, other = (seen_by(method, state, x) for x in (images, images[:, :, ::-1].copy()))
        pairs = [(one.features[name], other.features[name]) for name in WIDTHS]
        assert all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs) == same


def test_the_map_is_the_standardised_distance_from_each_positions_mean_and_finds_a_blob():
    method, state = learnt(map_level="stage3", floor=1e-9)
    backbone = toy_backbone.load("toy")
    x = np.asarray(
        backbone.stages(backbone.params, jnp.asarray(textures(20)))["stage3"], np.float64
    )
    scale = np.sqrt((x.var(0) + x.var(0).mean((0, 1))) / 2)
    memory = state.params["memory"]
    np.testing.assert_allclose(memory["mean"], x.mean(0), atol=1e-4)
    np.testing.assert_allclose(memory["scale"], scale, rtol=1e-3)
    images = textures(40, seed=1)
    images[20:, 8:14, 16:22] = 0.9
    view = seen_by(method, state, images)
    found = np.asarray(view.maps["deviation"])
    later = np.asarray(backbone.stages(backbone.params, jnp.asarray(images))["stage3"], np.float64)
    z = (later - x.mean(0)) / scale
    np.testing.assert_allclose(found, np.sqrt((z**2).mean(-1)), rtol=1e-2)
    assert auroc(np.repeat([0, 1], 20), found.max((1, 2))) > 0.95
    hottest = np.stack([np.unravel_index(m.argmax(), m.shape) for m in found[20:]]) * 4 + 2
    assert (np.abs(hottest - [11, 19]).max(axis=1) <= 7).mean() >= 0.9


def test_the_border_of_flat_images_is_no_hotter_than_their_middle():
    """The network pads with zeros, so its border answers otherwise, in each image alike."""
    flat = np.random.default_rng(0).uniform(0.2, 0.8, (60, 1, 1, 1))
    flat = np.broadcast_to(flat, (60, 32, 32, 1)).astype(np.float32)
    method = features.make(config_of("features", map_level="stage3"))
    state = method.learn.fit(batches_of(flat[:30]), jax.random.key(0))
    found = np.asarray(seen_by(method, state, flat[30:]).maps["deviation"]).mean(0)
    edge = np.ones(found.shape, bool)
    edge[1:-1, 1:-1] = False
    assert found[edge].mean() < 1.5 * found[~edge].mean()


def test_the_map_is_made_of_the_last_level_of_a_stride_up_to_16():
    config = config_of("features")
    strides = features.make_frozen(config).network.strides
    wanted = [name for name, stride in strides.items() if stride <= 16][-1]
    state = features.make(config).learn.fit(batches_of(textures(4)), jax.random.key(0))
    assert state.params["memory"]["mean"].shape[-1] == WIDTHS[wanted] // 2


def test_batches_and_padding_change_nothing_that_is_learnt():
    method = features.make(config_of("features"))
    images = textures(21)
    one, other = (method.learn.fit(batches_of(images, n), jax.random.key(0)) for n in (24, 5))
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_learnt_is_refused_in_one_message():
    with pytest.raises(UserError, match=r"`reconstructor.map_level` \(=stage9\).*: stem, stage3"):
        features.make(config_of("features", map_level="stage9"))
    with pytest.raises(UserError, match=r"`reconstructor.floor` \(=0.0\) must lie in"):
        features.make(config_of("features", floor=0.0))
    with pytest.raises(UserError, match=r"`reconstructor.grid` \(=-1\) must lie in"):
        features.make(config_of("features", grid=-1))
    with pytest.raises(UserError, match="No normal image to learn from"):
        features.make(config_of("features")).learn.fit(iter(()), jax.random.key(0))


def test_columns_of_features_are_one_block_behind_the_statistics():
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.uniform(-1, 1, (3, 8, 8, 1)), jnp.float32)
    parts = {"b_2": rng.normal(size=(3, 2)), "a": rng.normal(size=(3, 3))}
    view = View(
        losses={"x": jnp.ones(3)}, features={name: jnp.asarray(x) for name, x in parts.items()}
    )
    names = expand(("deep", "loss"), view)
    deep = ("deep_b_2_0000", "deep_b_2_0001", "deep_a_0000", "deep_a_0001", "deep_a_0002")
    assert names == ("loss_x", *deep)
    np.testing.assert_allclose(
        feature_block(deep, view), np.column_stack([parts["b_2"], parts["a"]]), rtol=1e-6
    )
    assert set(compute("all", image, view)) == {"loss_x"}
    assert all(expand((group,), view)[-5:] == deep for group in ("all", "default", "fast", "deep"))
    assert expand(("loss",), view) == ("loss_x",)
    assert is_feature("features2.deep_a_0000") and not is_feature("deep_perceptual")
    with pytest.raises(UserError, match="Unknown statistic 'deep_a_0001'"):
        expand(("deep_a_0001",), view)
