from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance
from skimage.metrics import structural_similarity
from skimage.transform import resize_local_mean

from ad_core.errors import UserError
from ad_core.statistics import Context, WindowSettings, compute, expand
from ad_core.statistics.windows import Windows, block_side, cut, worst_windows
from ad_core.types import View

compiled = jax.jit(compute, static_argnums=0, static_argnames="windows")
SETTINGS = WindowSettings(blocks=8, peaks=6, scales=(1, 2, 4, 20), worst=9, smallest=7, side=8)


def _brute_force(size, settings, scales):
    """Every candidate window by its definition: (sum, size in blocks, top, left), worst first."""
    h, w = size.shape
    p = max(1, min(h, w) // settings.blocks)
    gh, gw = -(-h // p), -(-w // p)
    padded = np.zeros((gh * p, gw * p))
    padded[:h, :w] = size
    highest = {
        (i, j): padded[i * p : i * p + p, j * p : j * p + p].max()
        for i in range(gh)
        for j in range(gw)
    }
    peaks = sorted(highest, key=lambda at: -highest[at])[: settings.peaks]
    found = set()
    for i, j in peaks:
        for s in scales:
            for down in (-1, 0, 1):
                for across in (-1, 0, 1):
                    top = i - s // 2 + down * max(1, s // 2)
                    left = j - s // 2 + across * max(1, s // 2)
                    found.add((s, min(max(top, 0), gh - s), min(max(left, 0), gw - s)))
    ranked = [
        (padded[t * p : (t + s) * p, v * p : (v + s) * p].sum() / (s * p) ** (2 * power), s, t, v)
        for s, t, v in found
        for power in (settings.rank_power,)
    ]
    return sorted(ranked, reverse=True)[: settings.worst]


@pytest.mark.parametrize("shape", [(40, 56), (43, 61)])
@pytest.mark.parametrize("rank_power", [0.0, 0.5, 1.0])
def test_worst_windows_equal_a_brute_force_search(shape, rank_power):
    rng = np.random.default_rng(0)
    size = rng.gamma(0.3, size=(5, *shape)).astype(np.float32)
    settings = WindowSettings(**{**vars(SETTINGS), "rank_power": rank_power})
    got = jax.jit(worst_windows, static_argnums=1)(jnp.asarray(size), settings)
    for i in range(len(size)):
        expected = _brute_force(size[i].astype(np.float64), settings, (2, 4))
        found = np.stack([got.size[i], got.top[i], got.left[i]], axis=1)
        np.testing.assert_array_equal(found, [item[1:] for item in expected])
        assert bool(got.kept[i].all())


def test_fewer_windows_than_wanted_are_marked():
    settings = WindowSettings(blocks=1, scales=(1,), worst=3)
    got = jax.jit(worst_windows, static_argnums=1)(jnp.ones((1, 8, 16)), settings)
    assert got.kept.tolist() == [[True, True]]
    settings = WindowSettings(blocks=4, peaks=1, scales=(3,), worst=9, smallest=1)
    got = jax.jit(worst_windows, static_argnums=1)(
        jnp.zeros((1, 4, 4)).at[0, 1, 1].set(1.0), settings
    )
    assert got.kept.sum() == 4  # all places of a 3x3 window in a 4x4 grid
    assert got.kept[0, :4].all()
    assert (got.top[0, 4:] == got.top[0, 0]).all()
    assert (got.left[0, 4:] == got.left[0, 0]).all()


def test_settings_without_a_usable_window_are_refused():
    with pytest.raises(UserError, match="scales"):
        worst_windows(jnp.zeros((1, 6, 6)), WindowSettings())


def _area_means(image, top, left, size, side):
    """By making every pixel side x side times larger; beyond the image its edge continues."""
    padded = np.pad(image, ((0, size), (0, size), (0, 0)), mode="edge")
    piece = padded[top : top + size, left : left + size].astype(np.float64)
    large = piece.repeat(side, axis=0).repeat(side, axis=1)
    return large.reshape(side, size, side, size, -1).mean(axis=(1, 3))


@pytest.mark.parametrize("side", [1, 4, 7])
def test_cut_gives_area_means(side):
    image = np.random.default_rng(0).uniform(-1, 1, (1, 30, 25, 3)).astype(np.float32)
    places = [(0, 0, 1), (2, 3, 2), (4, 1, 2), (7, 6, 3)]  # in blocks of 4: the last leaves it
    top, left, size = (jnp.asarray([column]) for column in zip(*places, strict=True))
    windows = Windows(top, left, size, jnp.ones((1, 4), bool))
    got = cut(jnp.asarray(image), windows, block=(4, 4), largest=3, side=side)
    for i, (t, v, s) in enumerate(places):
        expected = _area_means(image[0], 4 * t, 4 * v, 4 * s, side)
        np.testing.assert_allclose(got[0, i], expected, atol=2e-6)


def test_cut_equals_skimage_inside_the_image():
    image = np.random.default_rng(0).uniform(-1, 1, (1, 30, 25, 3)).astype(np.float32)
    windows = Windows(*jnp.asarray([[[3]], [[2]], [[11]]]), jnp.ones((1, 1), bool))
    got = cut(jnp.asarray(image), windows, block=(1, 1), largest=16, side=4)
    expected = resize_local_mean(image[0, 3:14, 2:13], (4, 4), channel_axis=-1)
    np.testing.assert_allclose(got[0, 0], expected, atol=2e-6)


def _real_like(seed, shape=(40, 48, 3)):
    rng = np.random.default_rng(seed)
    image = np.cumsum(np.cumsum(rng.normal(size=shape), axis=0), axis=1)
    image = (image / np.abs(image).max()).astype(np.float32)
    noise = 0.05 * rng.normal(size=shape) * rng.uniform(size=(*shape[:2], 1)) ** 4
    return image, (image + noise).astype(np.float32)


OTHERS = {
    "mse": lambda x, y: np.mean((x - y) ** 2),
    "cosine": lambda x, y: distance.cosine(x.ravel(), y.ravel()),
    "chebyshev": lambda x, y: distance.chebyshev(x.ravel(), y.ravel()),
    "ssim": lambda x, y: structural_similarity(x, y, data_range=2, channel_axis=-1),
    "directed_hausdorff": lambda x, y: distance.directed_hausdorff(
        x.reshape(len(x), -1), y.reshape(len(y), -1)
    )[0],
}


@pytest.mark.parametrize("weighted", [False, True])
def test_window_statistics_equal_scipy_on_windows_found_by_brute_force(weighted):
    x, y = _real_like(0)
    mask = np.random.default_rng(1).uniform(0, 0.2, x.shape[:2]).astype(np.float32)
    prefix = "window_weighted" if weighted else "window"
    names = tuple(
        f"{prefix}_{name}_{how}"
        for name in OTHERS
        for how in ("min" if name == "ssim" else "max", "mean", "worst")
    )
    context = Context(normal_mask=jnp.asarray(mask))
    got = compiled(names, x[None], View(jnp.asarray(y[None]), {}, {}), context, windows=SETTINGS)
    weight = (1 - mask.astype(np.float64))[..., None] ** 10 if weighted else 1.0
    x, y = x.astype(np.float64), y.astype(np.float64)
    y = x - weight * (x - y)
    found = _brute_force(np.abs(x - y).mean(axis=-1), SETTINGS, (2, 4))
    pieces = [
        [_area_means(z, 5 * top, 5 * left, 5 * size, 8) for z in (x, y)]
        for _, size, top, left in found
    ]
    for name, function in OTHERS.items():
        values = [function(a, b) for a, b in pieces]
        extreme = ("min", min(values)) if name == "ssim" else ("max", max(values))
        for how, expected in (extreme, ("mean", np.mean(values)), ("worst", values[0])):
            actual = float(got[f"{prefix}_{name}_{how}"][0])
            np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=2e-6, err_msg=name)


def test_a_planted_defect_is_the_worst_window_unless_normals_vary_there():
    x, y = np.zeros((2, 64, 64, 1), np.float32)
    x[40:48, 8:16] = 0.9
    x[2:4, 60:62] = 0.5
    mask = np.zeros((64, 64), np.float32)
    mask[36:52, 4:20] = 1.0
    names = ("window_mse_worst", "window_weighted_mse_worst", "window_weighted_chebyshev_max")
    reconstruction = View(jnp.asarray(y[None]), {}, {})
    settings = WindowSettings(scales=(8,), side=8)
    got = compiled(
        names, x[None], reconstruction, Context(normal_mask=jnp.asarray(mask)), windows=settings
    )
    assert float(got["window_mse_worst"][0]) == pytest.approx(0.81, rel=1e-5)
    assert float(got["window_weighted_mse_worst"][0]) == pytest.approx(0.25 * 4 / 64, rel=1e-5)
    assert float(got["window_weighted_chebyshev_max"][0]) == pytest.approx(0.5, rel=1e-5)


def test_network_maps_are_averaged_over_the_worst_window():
    x = np.zeros((1, 32, 32, 1), np.float32)
    x[0, 8:16, 16:24] = 1.0
    values = np.random.default_rng(0).uniform(size=(1, 8, 16)).astype(np.float32)
    reconstruction = View(jnp.zeros_like(x), {"quantisation": jnp.asarray(values)}, {})
    settings = WindowSettings(blocks=4, scales=(1,), worst=1)
    got = compiled("window_loss_quantisation_worst", x, reconstruction, windows=settings)
    expected = values[0, 2:4, 8:12].mean()
    np.testing.assert_allclose(got["window_loss_quantisation_worst"][0], expected, rtol=1e-5)


def test_surprise_is_the_negative_log_probability_of_codes_among_normals():
    log_prob = np.log([0.5, 0.3, 0.15, 0.05]).astype(np.float32)
    codes = jnp.asarray([[[0.0, 3.0], [1.0, 9.0]], [[0.0, 0.0], [0.0, 0.0]]])
    x = jnp.zeros((2, 8, 8, 1))
    context = Context(code_log_prob=jnp.asarray(log_prob))
    got = compiled("loss", x, View(x, {"codes": codes}, {}), context)
    expected = -np.array([log_prob[0] + log_prob[3] + log_prob[1] + log_prob[3], 4 * log_prob[0]])
    np.testing.assert_allclose(got["loss_code_surprise_map_mean"], expected / 4, rtol=1e-6)
    np.testing.assert_allclose(got["loss_code_surprise_map_max"], -log_prob[[3, 0]], rtol=1e-6)


def test_windows_need_the_mask_only_where_they_are_weighted():
    chosen = expand("window")
    assert "window_mse_max" in chosen
    assert not any(name.startswith("window_weighted") for name in chosen)
    with pytest.raises(UserError, match="normal_mask"):
        expand(("window_weighted_mse_max",))


def test_settings_are_static_under_jit():
    x, y = _real_like(2)
    reconstruction = View(jnp.asarray(y[None]), {}, {})
    names = ("window_mse_mean",)
    together = compiled(names, x[None], reconstruction, windows=SETTINGS)
    alone = compute(names, x[None], reconstruction, windows=SETTINGS)
    np.testing.assert_allclose(together[names[0]], alone[names[0]], rtol=1e-5)
    assert block_side(SETTINGS, 40, 48) == 5


@pytest.mark.slow
def test_every_statistic_there_is_stays_finite_on_adversarial_images(batch):
    x, reconstruction = batch
    rng = np.random.default_rng(0)
    maps = {**reconstruction.maps, "codes": jnp.asarray(rng.integers(0, 9, (len(x), 4, 4)) * 1.0)}
    context = Context(
        normal_mask=jnp.asarray(rng.uniform(size=x.shape[1:3]).astype(np.float32)),
        code_log_prob=jnp.full(5, -2.0),
        residual_levels=jnp.asarray([0.1, 0.2, 0.3]),
    )
    settings = WindowSettings(scales=(8, 16), worst=3, side=14)
    values = compiled("all", x, replace(reconstruction, maps=maps), context, windows=settings)
    assert len(values) > 200
    for name, value in values.items():
        assert value.shape == (len(x),) and value.dtype == jnp.float32, name
        assert bool(jnp.isfinite(value).all()), name
