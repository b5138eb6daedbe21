from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from ad_core.errors import UserError
from ad_core.statistics import (
    Available,
    Context,
    compute,
    expand,
    expand_each,
    learn_context,
    names,
    order,
)
from ad_core.types import View


def _moment(function, r):
    return 0.0 if np.ptp(r) <= 1e-6 else function(r)


def _top(fraction, r):
    size = np.sort(np.abs(r))[::-1]
    return size[: int(np.ceil(round(fraction * len(size), 9)))].mean()


def _skimage_ssim(x, y):
    return structural_similarity(x, y, data_range=2, channel_axis=-1)


QUANTILES = {"01": 0.01, "05": 0.05, "25": 0.25, "75": 0.75, "95": 0.95, "99": 0.99}
OF_RESIDUAL = {
    "residual_mean": np.mean,
    "residual_std": np.std,
    "residual_min": np.min,
    "residual_max": np.max,
    "residual_median": np.median,
    "residual_skewness": partial(_moment, scipy.stats.skew),
    "residual_kurtosis": partial(_moment, scipy.stats.kurtosis),
    "residual_abs_mean": lambda r: np.mean(np.abs(r)),
    "residual_abs_std": lambda r: np.std(np.abs(r)),
    "residual_abs_max": lambda r: np.max(np.abs(r)),
    **{f"residual_q{n}": lambda r, q=q: np.quantile(r, q) for n, q in QUANTILES.items()},
    **{
        f"residual_abs_q{n}": lambda r, q=q: np.quantile(np.abs(r), q)
        for n, q in {"50": 0.5, "90": 0.9, "95": 0.95, "99": 0.99}.items()
    },
    **{
        f"residual_abs_top_{n}": partial(_top, f)
        for n, f in {"001": 0.001, "01": 0.01, "05": 0.05, "10": 0.1}.items()
    },
}
OF_PAIR = {
    "mse": mean_squared_error,
    "rmse": lambda x, y: np.sqrt(mean_squared_error(x, y)),
    "psnr": lambda x, y: (
        150.0 if np.array_equal(x, y) else peak_signal_noise_ratio(x, y, data_range=2)
    ),
    "ssim": _skimage_ssim,
}
OTHERS = {
    **{
        name: lambda x, y, f=f: f((x.astype(np.float64) - y).ravel())
        for name, f in OF_RESIDUAL.items()
    },
    **{
        name: lambda x, y, f=f: f(x.astype(np.float64), y.astype(np.float64))
        for name, f in OF_PAIR.items()
    },
}


def test_every_pixel_statistic_of_the_first_set_is_compared_with_another_library():
    assert set(OTHERS) <= set(names("pixel"))


def test_first_set_equals_numpy_scipy_and_skimage(measure, pair):
    x, y = pair
    got = measure(tuple(OTHERS), x, y)
    for name in OTHERS:
        # float32 residuals of images in [-1, 1] carry 6e-8; moments of the tiniest amplify it.
        rtol = 2e-3 if name.endswith(("skewness", "kurtosis")) else 2e-5
        expected = OTHERS[name](x, y)
        np.testing.assert_allclose(got[name], expected, rtol=rtol, atol=3e-7, err_msg=name)


@pytest.mark.parametrize("offset", [0.0, 0.9])
def test_ssim_keeps_its_digits_where_the_images_are_nearly_the_same(measure, offset):
    rng = np.random.default_rng(0)
    x = (offset + 0.01 * rng.normal(size=(32, 32, 1))).astype(np.float32)
    y = (x + 1e-3 * rng.normal(size=x.shape)).astype(np.float32)
    expected = _skimage_ssim(x.astype(np.float64), y.astype(np.float64))
    assert abs(measure(("ssim",), x, y)["ssim"] - expected) < 5e-7


def test_sums_over_a_large_image_keep_their_digits(measure):
    x = np.full((256, 256, 3), 0.7, np.float32)
    y = (x - 0.3).astype(np.float32)
    r = float(x[0, 0, 0]) - float(y[0, 0, 0])
    for name in ("residual_mean", "residual_abs_mean", "rmse", "residual_abs_top_10"):
        assert abs(measure((name,), x, y)[name] - r) < 2e-6 * r, name
    assert measure(("residual_std",), x, y)["residual_std"] < 1e-7


def test_quantiles_are_exact_for_few_and_repeated_values():
    for row in ([3.0], [-1.0, 5.0], [-3e38, 0.0, -0.0, 1e-30, 3e38], [2.0] * 9 + [3.0]):
        rows = jnp.asarray([[row]], jnp.float32)
        ranks = tuple(range(len(row)))
        (values,) = jax.jit(order.order_statistics, static_argnums=1)((rows,), (ranks,))
        np.testing.assert_array_equal(values[0], np.sort(np.float32(row)))


def test_compiled_batch_equals_single_images(batch):
    x, reconstruction = batch
    wanted = expand("default", reconstruction)
    compiled = jax.jit(compute, static_argnums=0)
    together = compiled(wanted, x, reconstruction)
    assert set(together) == set(wanted)
    for i in range(len(x)):
        alone = compiled(
            wanted, x[i : i + 1], jax.tree.map(lambda a, i=i: a[i : i + 1], reconstruction)
        )
        for name in wanted:
            np.testing.assert_allclose(
                together[name][i], alone[name][0], rtol=1e-4, atol=1e-6, err_msg=name
            )


def test_every_fast_statistic_is_finite_on_adversarial_images(batch):
    x, reconstruction = batch
    for name, values in jax.jit(compute, static_argnums=0)("fast", x, reconstruction).items():
        assert values.shape == (len(x),)
        assert bool(jnp.isfinite(values).all()), name


def test_constant_and_identical_images_have_the_documented_values():
    flat = np.full((1, 9, 9, 2), 0.3, np.float32)
    compiled = jax.jit(compute, static_argnums=0)
    got = compiled(tuple(OTHERS), flat, View(jnp.asarray(flat), {}, {}))
    assert float(got["psnr"][0]) == 150.0
    assert float(got["ssim"][0]) == 1.0
    for name in (n for n in OF_RESIDUAL):
        assert float(got[name][0]) == 0.0, name


def test_bfloat16_images_give_float32_statistics():
    x = jnp.zeros((2, 8, 8, 1), jnp.bfloat16)
    assert compute("mse", x, View(x + 1, {}, {}))["mse"].dtype == jnp.float32


def test_losses_and_maps_become_statistics_by_their_own_names():
    maps = {"cycle": jnp.asarray([[[1.0, 4.0], [3.0, 2.0]]])}
    x = jnp.zeros((1, 8, 8, 1))
    got = compute("loss", x, View(x, maps, {"cycle": jnp.asarray([0.25])}))
    assert {name: float(v[0]) for name, v in got.items()} == {
        "loss_cycle": 0.25,
        "loss_cycle_map_max": 4.0,
        "loss_cycle_map_top_05": 4.0,
    }


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(UserError, match="'ssmi'.*known: .*ssim"):
        expand(("default", "ssmi"))
    with pytest.raises(UserError, match="window"):
        names("windows")


def test_a_statistic_that_needs_what_is_absent_is_refused_by_name_and_left_out_of_groups():
    undrawn = View(losses={"distance": jnp.zeros(1)}, maps={"distance": jnp.zeros((1, 2, 2))})
    with pytest.raises(UserError, match="'ssim' needs view.image.*there is losses.distance"):
        expand(("ssim",), undrawn)
    with pytest.raises(UserError, match="needs context.residual_levels"):
        expand(("residual_largest_area",))
    of_map = ("loss_distance", "loss_distance_map_max", "loss_distance_map_top_05")
    assert expand(("all",), undrawn) == of_map
    with pytest.raises(UserError, match="no statistic"):
        expand(("loss",))


def test_a_method_without_an_image_gives_its_losses_and_maps():
    maps = {"distance": jnp.asarray([[[1.0, 4.0], [3.0, 2.0]]])}
    got = compute("all", jnp.zeros((1, 8, 8, 1)), View(maps=maps, losses={}))
    assert {name: float(x[0]) for name, x in got.items()} == {
        "loss_distance_map_max": 4.0,
        "loss_distance_map_top_05": 4.0,
        "loss_distance_map_mean": 2.5,
    }


def test_default_leaves_out_the_maps_that_another_methods_outdo():
    pooled = Available(maps=("deviation",), features={"stem": 1}, view=(), outdone=True)
    given = {"padim": Available(maps=("distance",), view=()), "features": pooled}
    maps = tuple(f"loss_deviation_map_{how}" for how in ("max", "top_05", "mean"))
    assert expand_each(("default",), given)["features"] == ("deep_stem_0000",)
    assert expand_each(("loss",), given)["features"] == maps
    assert len(expand_each(("default",), given)["padim"]) == 3
    # Of a method that gives nothing else they stay.
    given["features"] = pooled._replace(features={})
    assert expand_each(("default",), given)["features"] == maps


def test_names_are_taken_of_every_method_that_can_give_them():
    drawing = Available(losses=("reconstruction",))
    measuring = Available(losses=("distance",), view=())
    given = {"vqgan": drawing, "padim": measuring}
    assert expand_each(("loss", "ssim"), given) == {
        "vqgan": ("loss_reconstruction", "ssim"),
        "padim": ("loss_distance",),
    }
    assert expand_each(("mse", "padim.loss_distance"), given)["padim"] == ("loss_distance",)
    with pytest.raises(UserError, match="leaves no statistic of padim"):
        expand_each(("ssim",), given)
    with pytest.raises(UserError, match="Unknown statistic 'ssmi'"):
        expand_each(("ssmi",), given)
    with pytest.raises(UserError, match="needs view.image"):
        expand_each(("padim.mse", "ssim"), given)


def test_ssim_refuses_images_below_its_window():
    x = jnp.zeros((1, 6, 8, 1))
    with pytest.raises(UserError, match="7x7"):
        compute("ssim", x, View(x, {}, {}))


def test_shapes_that_differ_are_refused():
    with pytest.raises(UserError, match="shape"):
        compute("mse", jnp.zeros((1, 8, 8, 1)), View(jnp.zeros((1, 8, 8, 3)), {}, {}))


def test_context_is_learnt_from_valid_normals_alone():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (10, 8, 9, 2)).astype(np.float32)
    y = rng.uniform(-1, 1, x.shape).astype(np.float32)
    codes = rng.integers(0, 5, (10, 4, 4)).astype(np.float32)
    codes[7:] = 6
    valid = np.arange(10) < 7
    batches = [
        (x[s], View(jnp.asarray(y[s]), {"codes": jnp.asarray(codes[s])}, {}), valid[s])
        for s in (slice(0, 4), slice(4, 8), slice(8, 10))
    ]
    context = learn_context(batches, code_count=8)
    size = np.abs(x[:7].astype(np.float64) - y[:7])
    mean = size.mean(axis=(0, -1))
    expected = (mean - mean.min()) / (mean.max() - mean.min())
    np.testing.assert_allclose(context.normal_mask, expected, atol=1e-6)
    counts = np.bincount(codes[:7].astype(int).ravel(), minlength=8) + 1
    np.testing.assert_allclose(context.code_log_prob, np.log(counts / counts.sum()), rtol=1e-6)
    levels = np.quantile(size, (0.9, 0.99, 0.999), method="inverted_cdf")
    np.testing.assert_allclose(context.residual_levels, levels, atol=2.5e-4)
    assert context.known() == Context._fields[:3]


def test_context_needs_a_normal():
    with pytest.raises(UserError, match="normal"):
        learn_context([])


def test_statistics_of_a_batch_over_eight_devices_equal_those_of_one(batch):
    x, reconstruction = jax.tree.map(lambda a: jnp.asarray(a)[:8], batch)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    wanted = (*expand("default"), "residual_entropy", "wasserstein", "window_mse_mean")
    compiled = jax.jit(compute, static_argnums=0)
    one = compiled(wanted, x, reconstruction)
    eight = compiled(wanted, *jax.device_put((x, reconstruction), spread))
    for name in wanted:
        np.testing.assert_allclose(eight[name], one[name], rtol=1e-4, atol=1e-6, err_msg=name)
