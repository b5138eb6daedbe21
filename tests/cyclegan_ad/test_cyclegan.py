import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ad_core.backbones import load_backbone
from ad_core.backbones.perceptual import distance
from ad_core.errors import UserError
from ad_core.runtime.config import complete
from ad_core.training.partition import partition
from ad_core.types import Batch, inference_state
from cyclegan_ad import cyclegan
from cyclegan_ad.model import make_model
from cyclegan_ad.settings import make_settings
from tests.quick import compiled, optimised, start

SHAPE = (16, 16, 1)
TOY = "tests.baselines_ad.toy_backbone:toy"
PAIRS = 8


def tiny(dtype="float32", **method):
    """A CycleGAN that compiles in seconds, trained by plain gradient descent."""
    sgd = {"name": "sgd", "lr": 0.01, "schedule": "constant"}
    settings = {
        "width": 2,
        "blocks": 0,
        "disc_width": 2,
        "disc_layers": 1,
        "pool": 5,
        "optimiser": sgd,
        "disc_optimiser": sgd,
        **method,
    }
    recipe = {
        "method": "cyclegan_ad.cyclegan",
        "data": {"image_size": 16},
        "train": {"dtype": dtype},
        "reconstructor": settings,
    }
    return complete(ConfigDict(recipe))


DRAW = compiled(make_model(make_settings(tiny()), 1).draw)


def batch_of(image, valid=None):
    index = np.arange(len(image), dtype=np.int32)
    valid = np.ones(len(image), bool) if valid is None else valid
    return Batch(image, index % 2, valid, index)


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (2 * PAIRS, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def plain():
    """(method, state, compiled step)"""
    method = cyclegan.make(tiny())
    return method, start(method, SHAPE), compiled(method.learn.train_step)


def delta(before, after):
    return jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), before, after)


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_init_draws_kernels_of_the_recipes_spread_and_no_two_networks_alike(plain):
    _, state, _ = plain
    kernels = [x.ravel() for x in jax.tree.leaves(state.params) if x.ndim == 4]
    row = np.concatenate(kernels)
    # Standard error of a standard deviation: 0.02 / sqrt(2 n).
    assert abs(row.std() - 0.02) < 5 * 0.02 / np.sqrt(2 * row.size)
    assert all(not x.any() for x in jax.tree.leaves(state.params) if x.ndim == 1)
    first, second = (jax.tree.leaves(state.params[f"to_{x}"])[1] for x in ("normal", "abnormal"))
    assert not np.array_equal(first, second)


def test_padding_changes_no_gradient(plain, image, key):
    _, state, step = plain
    valid = np.arange(2 * PAIRS) < PAIRS
    padded, other = image.copy(), image.copy()
    padded[PAIRS:], other[PAIRS:] = 0.7, -0.3
    first, metrics = step(state, batch_of(padded, valid), key)
    second, other_metrics = step(state, batch_of(other, valid), key)
    assert_close(first.params, second.params, atol=1e-7)
    assert_close(metrics, other_metrics, rtol=1e-4, atol=1e-6)
    identity = np.abs(jax.device_get(metrics["identity_normal"]))
    drawn = DRAW(state.params["to_normal"], image[:PAIRS:2])
    np.testing.assert_allclose(identity, np.abs(drawn - image[:PAIRS:2]).mean(), rtol=1e-4)


@pytest.mark.parametrize("mode", ["jit", pytest.param("pmap", marks=pytest.mark.slow)])
def test_eight_devices_take_the_step_of_one_and_compile_once(plain, image, key, mode):
    method, state, step = plain
    devices = partition(method.learn.train_step, mode)
    single, placed = state, devices.place_state(state)
    for number in range(2):
        batch, own = batch_of(np.roll(image, number, axis=3)), jax.random.fold_in(key, number)
        before = single
        single, expected = step(single, batch, own)
        placed, metrics = devices.step(placed, devices.place_batch(batch), own)
        for name, value in expected.items():
            np.testing.assert_allclose(metrics[name], value, rtol=5e-3, atol=1e-5, err_msg=name)
        fetched = devices.fetch_state(placed)
        if number == 0:  # later, instance norms have lifted the rounding
            assert_close(
                delta(before.params, single.params),
                delta(before.params, fetched.params),
                rtol=2e-3,
                atol=1e-6,
            )
    # More fakes came than the pools hold: the devices drew the same places.
    assert {int(x.count) for x in fetched.extra["pool"].values()} == {5}
    assert_close(fetched.extra["pool"], single.extra["pool"], atol=1e-3)
    if mode == "jit":
        assert devices.step._cache_size() == 1


def test_discriminators_see_the_pool_and_the_generators_the_new_fakes(plain, image, key):
    method, state, step = plain
    pools = {
        name: x._replace(images=jnp.full_like(x.images, 0.9), count=jnp.int32(5))
        for name, x in state.extra["pool"].items()
    }
    full = state._replace(extra={**state.extra, "pool": pools})
    fresh, fresh_metrics = step(state, batch_of(image), key)
    past, past_metrics = step(full, batch_of(image), key)
    for name in ("to_normal", "to_abnormal"):
        assert_close(fresh.params[name], past.params[name], atol=1e-7)
    for name in ("disc_normal", "disc_abnormal"):
        assert abs(float(fresh_metrics[name]) - float(past_metrics[name])) > 1e-6
    kept = np.asarray(past.extra["pool"]["normal"].images)
    assert 0 < (kept == np.float32(0.9)).all(axis=(1, 2, 3)).sum() < 5


def test_the_guard_sees_an_image_that_is_not_finite_by_every_optimiser(plain, image, key):
    _, state, step = plain
    image = image.copy()
    image[2:4, 5, 5] = np.nan
    _, metrics = step(state, batch_of(image), key)
    for name in ("gradient_norm", "disc_normal_gradient_norm", "disc_abnormal_gradient_norm"):
        assert not np.isfinite(metrics[name])


def test_views_maps_are_measured_on_the_images_that_it_draws(plain, image, key):
    method, state, _ = plain
    view, keys = compiled(method.view), jax.random.split(key, len(image))
    drawn = view(inference_state(state), jnp.asarray(image), keys)
    assert drawn.image.shape == image.shape and float(jnp.abs(drawn.image).max()) <= 1.0
    assert set(drawn.maps) == set(drawn.losses) == {
        "residual", "cycle", "identity",
        "disc_real", "disc_fake", "disc_abnormal_real", "disc_abnormal_fake",
    }  # fmt: skip
    residual = np.abs(image - drawn.image).mean(axis=-1)
    np.testing.assert_allclose(drawn.maps["residual"], residual, atol=1e-6)
    np.testing.assert_allclose(drawn.losses["residual"], residual.mean((1, 2)), rtol=1e-4)
    cycled = DRAW(state.params["to_abnormal"], drawn.image)
    np.testing.assert_allclose(drawn.maps["cycle"], np.abs(image - cycled).mean(axis=-1), atol=1e-5)
    alone = view(inference_state(state), jnp.asarray(image[2:3]), keys[2:3])
    np.testing.assert_allclose(alone.image, drawn.image[2:3], atol=1e-5)


def test_the_perceptual_term_lies_between_images_and_their_cycles(plain, image, key):
    without, state, step = plain
    settings = {"backbone": TOY, "weight": 2.0, "levels": ("stage3",)}
    method = cyclegan.make(tiny(perceptual=settings))
    assert jax.tree.map(jnp.shape, start(method, SHAPE)) == jax.tree.map(jnp.shape, state)
    _, plain_metrics = step(state, batch_of(image), key)
    after, metrics = compiled(method.learn.train_step)(state, batch_of(image), key)
    backbone, added = load_backbone(TOY), 0.0
    ways = {"normal": ("to_abnormal", "to_normal"), "abnormal": ("to_normal", "to_abnormal")}
    for first, (domain, (there, back)) in enumerate(ways.items()):
        x = jnp.asarray(image[first::2])
        cycled = DRAW(state.params[back], DRAW(state.params[there], x))
        far = distance(backbone.network, backbone.params, x, cycled, levels=("stage3",)).mean()
        np.testing.assert_allclose(metrics[f"perceptual_{domain}"], far, rtol=1e-3)
        added += 2.0 * far
    np.testing.assert_allclose(metrics["loss"] - plain_metrics["loss"], added, rtol=1e-3)
    assert float(metrics["gradient_norm"]) != float(plain_metrics["gradient_norm"])
    assert method.curves[: len(without.curves)] == without.curves


@pytest.mark.slow
def test_every_option_learns_to_repair_a_planted_mark(key):
    adam = {"name": "adam", "lr": 2e-3, "b1": 0.5}
    config = tiny(
        dtype="bfloat16",
        width=4,
        blocks=1,
        disc_width=4,
        optimiser=adam,
        disc_optimiser=adam,
        disc_augment=("colour", "shift", "hole"),
        ema=0.99,
        spectral_norm=True,
        monitor=True,
    )
    method = cyclegan.make(config)
    step = optimised(method.learn.train_step, donate_argnums=0)
    state = start(method, SHAPE, seed=0)
    rng = np.random.default_rng(0)
    for number in range(400):
        state, metrics = step(state, batch_of(marked(rng)), jax.random.fold_in(key, number))
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    assert step._cache_size() == 1
    assert float(metrics["change_abnormal"]) > 1.1 * float(metrics["change_normal"])
    assert method.learn.watch({name: float(x) for name, x in metrics.items()}) == ""
    image = marked(rng)
    keys = jax.random.split(key, len(image))
    drawn = compiled(method.view)(inference_state(state), jnp.asarray(image), keys)
    residual = np.asarray(drawn.maps["residual"])[1::2]
    mark = np.abs(image[1::2] - image[0::2]).max(axis=-1) > 0.5
    assert residual[mark].mean() > 3 * residual[~mark].mean()
    averaged, last = state.extra["ema"]["to_normal"], state.params["to_normal"]
    assert not np.array_equal(jax.tree.leaves(averaged)[1], jax.tree.leaves(last)[1])


def marked(rng):
    """Pairs of one smooth image without and with a bright square."""
    x = np.linspace(0, 2, 16)
    waves = -0.6 + 0.2 * np.sin(x[None, :, None] + rng.uniform(0, 6, (PAIRS, 1, 1)))
    normal = np.broadcast_to(waves, (PAIRS, 16, 16)).astype(np.float32)
    abnormal = normal.copy()
    for picture, (y, x) in zip(abnormal, rng.integers(2, 11, (PAIRS, 2)), strict=True):
        picture[y : y + 4, x : x + 4] = 0.9
    return np.stack([normal, abnormal], axis=1).reshape(2 * PAIRS, *SHAPE)


def test_the_monitor_changes_no_weight(plain, key):
    _, state, step = plain
    pairs = batch_of(marked(np.random.default_rng(0)))
    monitored = compiled(cyclegan.make(tiny(monitor=True)).learn.train_step)
    after, metrics = step(state, pairs, key)
    watched, more = monitored(state, pairs, key)
    assert_close(after, watched, rtol=1e-5, atol=1e-6)
    assert set(more) - set(metrics) == {"change_normal", "change_abnormal", "diversity"}


def test_watch_tells_likeness_and_collapse_apart():
    fine = {"change_normal": 0.01, "change_abnormal": 0.05, "diversity": 0.8}
    assert cyclegan.watch(fine) == ""
    assert "does not tell abnormal images from normal ones" in cyclegan.watch(
        fine | {"change_abnormal": 0.0101}
    )
    assert "collapses" in cyclegan.watch(fine | {"diversity": 0.02})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"upsample": "cubic"}, r"`reconstructor.upsample` \(='cubic'\) must be one of resize, tr"),
        ({"adversarial": "wgan"}, "must be one of log, non_saturating, hinge"),
        ({"disc_norm": "batch"}, "must be one of instance, group, none"),
        ({"disc_augment": ("colour", "noise")}, "'noise'.*must be one of colour, shift, hole"),
        ({"ema": 1.0}, "must be at least 0 and below 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        cyclegan.make(tiny(**change))


def test_an_image_that_does_not_divide_is_refused():
    config = tiny()
    config.data.image_size = 18
    with pytest.raises(UserError, match="must be divisible by 4"):
        cyclegan.make(config)


def test_an_image_need_not_be_a_square():
    config = tiny()
    config.data.image_size = (16, 24)
    method, key = cyclegan.make(config), jax.random.key(0)
    batch = batch_of(np.zeros((4, 16, 24, 1), np.float32))
    state = jax.eval_shape(lambda key: method.learn.init(key, (16, 24, 1)), key)
    after, _ = jax.eval_shape(method.learn.train_step, state, batch, key)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    drawn = jax.eval_shape(method.view, state, batch.image, jax.random.split(key, 4))
    assert drawn.image.shape == batch.image.shape
    config.data.image_size = (16, 23)
    with pytest.raises(UserError, match=r"`data\.image_size` \(=16,23\) must be divisible by"):
        cyclegan.make(config)
