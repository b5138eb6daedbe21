"""Statistics in a backbone's features, against NumPy on what the backbone sees."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.backbones import Level, Network, network_of, with_weights
from ad_core.errors import UserError
from ad_core.statistics import (
    Context,
    WindowSettings,
    check_names,
    compute,
    expand,
    is_feature,
    level_numbers,
    names,
    without_idle,
)
from ad_core.statistics.table import Available
from ad_core.statistics.windows import worst_windows
from ad_core.types import View
from tests.baselines_ad import toy_backbone

LEVELS = {"stem": 2, "stage3": 4, "stage5": 8, "head": 8}
TOY = toy_backbone.load("toy")
CONTEXT = Context(backbone=TOY)
WINDOWS = WindowSettings(blocks=8, peaks=5, scales=(2, 3), smallest=4, worst=4)
measured = jax.jit(compute, static_argnums=0, static_argnames="windows")


@pytest.fixture(scope="module")
def pair():
    """Five images and what might be their normal versions."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (5, 32, 32, 1)).astype(np.float32)
    return x, (0.7 * x + 0.1 * rng.normal(size=x.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def found(pair):
    return jax.device_get(measured("deep", pair[0], View(pair[1]), CONTEXT, windows=WINDOWS))


def seen(images):
    """Level -> features in float64."""
    levels = TOY.stages(TOY.params, jnp.asarray(images))
    return {name: np.asarray(x, np.float64) for name, x in levels.items()}


def distances(pair):
    """Level -> |f - g|^2 at each position, f and g of unit length, by NumPy."""
    f, g = map(seen, pair)
    return {name: ((unit(f[name]) - unit(g[name])) ** 2).sum(-1) for name in f}


def unit(x):
    return x / np.sqrt((x**2).sum(axis=-1, keepdims=True) + 1e-10)


def test_distances_of_levels_equal_numpys(pair, found):
    expected = distances(pair)
    for level, x in expected.items():
        close = {"rtol": 1e-4, "atol": 1e-6}
        np.testing.assert_allclose(found[f"deep_distance_{level}_mean"], x.mean((1, 2)), **close)
        np.testing.assert_allclose(found[f"deep_distance_{level}_max"], x.max((1, 2)), **close)
    total = sum(x.mean((1, 2)) for x in expected.values())
    np.testing.assert_allclose(found["deep_distance"], total, rtol=1e-4)


def test_distances_at_the_worst_windows_are_means_over_their_pixels(pair, found):
    windows = worst_windows(jnp.mean(jnp.abs(pair[0] - pair[1]), axis=3), WINDOWS)
    top, left, size = (np.asarray(x) * 4 for x in windows[:3])  # in pixels
    kept = np.asarray(windows.kept)
    for level, x in distances(pair).items():
        pixels = x.repeat(LEVELS[level], axis=1).repeat(LEVELS[level], axis=2)
        for i in range(len(pixels)):
            inside = [
                pixels[i, t : t + s, k : k + s].mean()
                for t, k, s in zip(top[i], left[i], size[i], strict=True)
            ]
            kept_ones = np.array(inside)[kept[i]]
            expected = {"max": kept_ones.max(), "mean": kept_ones.mean(), "worst": inside[0]}
            for how, value in expected.items():
                got = found[f"window_deep_distance_{level}_{how}"][i]
                np.testing.assert_allclose(got, value, rtol=1e-3, atol=1e-6)


def test_fid_is_the_closed_form_of_one_image_and_bears_the_backbones_name(pair, found):
    f, g = (seen(x)["head"].mean((1, 2)) for x in pair)
    expected = ((f - g) ** 2).sum(1) + (f.std(1, ddof=1) - g.std(1, ddof=1)) ** 2
    np.testing.assert_allclose(found["deep_toy_fid"], expected, rtol=1e-3)
    assert "fid" not in found
    as_inception = dataclasses.replace(TOY.network, name="inception")
    inception = Context(backbone=dataclasses.replace(TOY, network=as_inception))
    got = measured(("deep", "fid"), pair[0], View(pair[1]), inception, windows=WINDOWS)
    np.testing.assert_array_equal(got["fid"], found["deep_toy_fid"])
    assert not any(name.endswith("_fid") for name in got)


def test_an_image_that_is_its_own_normal_version_differs_by_nothing(pair):
    same = measured("deep", pair[0], View(pair[0]), CONTEXT, windows=WINDOWS)
    for name, values in same.items():
        np.testing.assert_allclose(values, 0, atol=1e-9, err_msg=name)


def test_compiling_batch_size_padding_and_place_change_nothing(pair, found):
    close = {"rtol": 1e-3, "atol": 1e-5}  # float32 sums in another order
    chosen = ("deep_distance", "deep_distance_head_max", "deep_toy_fid")
    plain = compute(chosen, pair[0], View(pair[1]), CONTEXT)
    padded = [np.concatenate([x[::-1], 0 * x[:2] + 0.9]) for x in pair]
    turned = measured("deep", padded[0], View(padded[1]), CONTEXT, windows=WINDOWS)
    alone = measured("deep", pair[0][2:3], View(pair[1][2:3]), CONTEXT, windows=WINDOWS)
    for name, values in found.items():
        np.testing.assert_allclose(turned[name][:5][::-1], values, **close, err_msg=name)
        np.testing.assert_allclose(alone[name], values[2:3], **close, err_msg=name)
        if name in chosen:
            np.testing.assert_allclose(plain[name], values, **close, err_msg=name)


def counting(seen_shapes):
    """A network of one level, which notes every batch that passes."""

    def prepare(image):
        seen_shapes.append(image.shape)
        return image

    level = Level("a_0001", 1, lambda params, x: x * params["w"].reshape(1, 1, 1, -1))
    return Network("net_2024", __name__, prepare, (level,), "free", "made up")


@pytest.mark.slow
def test_the_backbone_sees_image_and_normal_version_once_for_all_statistics(pair):
    shapes = []
    weights = {"w": np.array([1.0, 2.0], np.float32)}
    context = Context(backbone=with_weights(counting(shapes), weights))
    got = compute(("deep", "window"), pair[0], View(pair[1]), context, windows=WINDOWS)
    assert {"deep_net_2024_fid", "window_deep_distance_a_0001_max"} < set(got)
    assert shapes == [(10, 32, 32, 1)]


def test_names_tell_statistics_from_columns_of_features_whatever_levels_are_called():
    features = {"a_0001": jnp.zeros((1, 2)), "net_2024": jnp.zeros((1, 1))}
    view = View(image=jnp.zeros((1, 32, 32, 1)), features=features)
    available = Available.of(view)._replace(backbone={"net_2024": counting([])})
    deep = names("deep", available=available)
    columns = ("deep_a_0001_0000", "deep_a_0001_0001", "deep_net_2024_0000")
    assert deep[-3:] == columns and all(map(is_feature, columns))
    assert not any(map(is_feature, (*deep[:-3], *(f"vqgan.{name}" for name in deep[:-3]))))
    assert len(set(deep)) == len(deep) == 4 + 3 + 3


def test_levels_are_numbered_as_they_come_and_apart_by_method():
    columns = ("deep_a_0001_0000", "deep_a_0001_0001", "deep_b_0000", "other.deep_b_0000")
    assert level_numbers(columns) == [0, 0, 1, 2] and level_numbers(()) == []
    with pytest.raises(UserError, match="'mse' is no column of pooled features"):
        level_numbers(("deep_b_0000", "mse"))


def test_a_view_without_an_image_has_no_such_columns():
    with pytest.raises(UserError, match="leaves no statistic"):
        expand("deep", View(losses={"x": jnp.zeros(1)}), context=CONTEXT)
    with pytest.raises(UserError, match="'deep_distance' needs view.image"):
        expand("deep_distance", View(losses={"x": jnp.zeros(1)}), context=CONTEXT)


def test_what_needs_a_backbone_is_refused_without_one_and_left_out_of_groups():
    view = View(jnp.zeros((1, 8, 8, 1)))
    assert not any("deep" in name or "fid" in name for name in expand("all", view))
    with pytest.raises(
        UserError, match=r"'fid' needs backbone.inception.*statistics.backbone=FILE"
    ):
        expand("fid", view, context=CONTEXT)
    with pytest.raises(UserError, match=r"'deep_distance' needs a backbone.*statistics.backbone="):
        expand("deep_distance", view)
    checked = check_names(("deep",), {"a": view}, backbone=TOY.network)
    assert checked["a"] == expand("deep", view, context=CONTEXT)


def test_a_backbone_whose_levels_do_not_lie_over_the_image_gives_no_windows():
    available = Available(backbone={"inception": network_of("inception")})
    deep = names("deep", available=available)
    assert {"fid", "deep_distance_Mixed_7c_max"} < set(deep)
    assert not any(name.startswith("window_deep") for name in deep)


def test_a_context_keeps_its_backbone_only_for_statistics_that_look_through_it():
    levels = jnp.zeros(3)
    context = Context(backbone=TOY, residual_levels=levels)
    for name in ("deep_toy_fid", "deep_distance_stem_max", "window_deep_distance_head_mean"):
        assert without_idle(context, ("mse", name)) is context
    kept = without_idle(context, ("mse", "loss_x", "deep_stem_0000", "window_mse_max"))
    assert kept.backbone is None and kept.residual_levels is levels
