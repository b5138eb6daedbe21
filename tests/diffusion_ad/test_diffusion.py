"""Step and view against closed forms, on networks that a test can see through."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from ad_core.backbones import load_backbone
from ad_core.backbones.perceptual import distance_maps
from ad_core.errors import UserError
from ad_core.metrics import auroc
from ad_core.runtime.config import complete
from ad_core.runtime.keys import image_keys
from ad_core.runtime.registry import resolve
from ad_core.training.partition import partition
from ad_core.types import Batch, TrainState, inference_state
from diffusion_ad import latent, pixel
from diffusion_ad.denoiser import Denoiser, make_denoiser
from diffusion_ad.noise import make_noise
from diffusion_ad.perceptual import make_perceptual
from diffusion_ad.schedule import loss_weights, make_schedule
from diffusion_ad.settings import make_settings
from diffusion_ad.space import latents, pixels
from diffusion_ad.step import draw_times, make_train_step
from diffusion_ad.view import make_view, names_of
from tests.quick import optimised, start

TOY = "tests.diffusion_ad.toy_autoencoder:toy"
BACKBONE = "tests.baselines_ad.toy_backbone:toy"
SHAPE = (8, 8, 1)
SMALL = {"width": 4, "multipliers": (1,), "attention": ()}


def config_of(method="diffusion_ad.pixel", *, train=None, **reconstructor):
    own = {"unet": SMALL, "draws": 1, "noise_levels": (30, 300), "steps": 2, **reconstructor}
    if method.endswith("latent"):
        own = {"autoencoder": {"backbone": TOY}, **own}
    recipe = {"method": method, "size": "cpu", "data": {"image_size": 8}, "reconstructor": own}
    return complete(ConfigDict(recipe | {"train": {"batch_size": 8, **(train or {})}}))


def images(count=8, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *SHAPE)).astype(np.float32)


def batch_of(image, valid=None):
    n = len(image)
    valid = np.ones(n, bool) if valid is None else valid
    return Batch(image, np.zeros(n, np.int32), valid, np.arange(n, dtype=np.int32))


# The view ---------------------------------------------------------------------------------------

MEAN = 0.25


def grey(params, x, signal, spread, time):
    """A network that knows one image: everything is grey."""
    return jnp.full_like(x, MEAN)


def view_of(config, clean=grey, *, space=None, perceptual=None, params=None):
    settings = make_settings(config)
    made = make_view(
        pixels() if space is None else space,
        Denoiser(None, None, clean),
        make_schedule(settings.schedule, settings.times),
        make_noise(settings.noise, settings.simplex),
        settings,
        perceptual,
    )
    state = TrainState(jnp.int32(0), {"network": {}, **(params or {})}, (), {})
    return lambda image: jax.jit(made)(state, image, image_keys(image))


@pytest.mark.parametrize("options", [{}, {"eta": 1.0, "draws": 3}], ids=["DDIM", "DDPM"])
def test_a_network_that_knows_one_image_draws_it_and_residuals_are_the_distance(options):
    image = jnp.asarray(images(3))
    view = view_of(config_of(**options))(image)
    np.testing.assert_allclose(view.image, MEAN, atol=1e-6)
    for time in (30, 300):
        expected = np.abs(np.asarray(image)[..., 0] - MEAN)
        np.testing.assert_allclose(view.maps[f"residual_{time}"], expected, atol=1e-6)


def test_the_denoising_error_is_the_distance_by_the_signal_to_noise_ratio():
    """The noise found is (x_t - a m) / s = e + a (x - m) / s, so that its error is known."""
    image = jnp.asarray(images(3))
    view = view_of(config_of(draws=2))(image)
    schedule = make_schedule("cosine", 1000)
    for time in (30, 300):
        snr = (schedule.signal[time] / schedule.spread[time]) ** 2
        expected = snr * np.mean(np.square(np.asarray(image) - MEAN), axis=(1, 2, 3))
        np.testing.assert_allclose(view.losses[f"denoising_{time}"], expected, rtol=1e-4)


def test_draws_of_noise_are_averaged():
    """A network that tells x_t itself: the mean of n draws of noise has 1 / n of its variance."""

    def noisy(params, x, signal, spread, time):
        return x

    image = jnp.zeros((20, *SHAPE))
    image = image + jnp.linspace(-0.1, 0.1, 20)[:, None, None, None]
    spread = {}
    for draws in (1, 16):
        view = view_of(config_of(draws=draws, noise_levels=(30,), start=30, steps=1), noisy)(image)
        a = make_schedule("cosine", 1000).signal[30]
        spread[draws] = np.mean(np.square(np.asarray(view.image - a * image)))
    assert spread[1] / spread[16] == pytest.approx(16, rel=0.2)


def test_a_perfect_network_returns_the_image():
    image = jnp.asarray(images(4))

    def knowing(params, x, signal, spread, time):
        return jnp.tile(image, (len(x) // len(image), 1, 1, 1))

    view = view_of(config_of(noise_levels=(30,)), knowing)(image)
    np.testing.assert_allclose(view.image, image, atol=1e-5)
    np.testing.assert_allclose(view.maps["residual_30"], 0.0, atol=1e-5)
    np.testing.assert_allclose(view.losses["denoising_30"], 0.0, atol=1e-8)


# The step ---------------------------------------------------------------------------------------


def constant(params, x, time):
    """A network of one number, which is its output everywhere."""
    return jnp.full_like(x, 1.0) * params["number"]


# An optimiser that keeps the gradient as its state.
KEEPING = optax.GradientTransformation(lambda params: params, lambda g, state, params: (g, g))


def step_of(config, *, space=None, optimiser=KEEPING):
    """The step of that network and the state before it."""
    settings = make_settings(config)
    schedule = make_schedule(settings.schedule, settings.times)
    draw = make_noise(settings.noise, settings.simplex)
    space, denoiser = space or pixels(), Denoiser(None, constant, None)
    step = make_train_step(space, denoiser, schedule, draw, settings, optimiser)
    network = {"number": jnp.float32(0.5)}
    extra = {"updates": jnp.int32(0)} | ({"ema": {"network": network}} if settings.ema else {})
    params = {**space.start(SHAPE)[0], "network": network}
    return step, TrainState(jnp.int32(0), params, optimiser.init(network), extra)


@pytest.mark.parametrize("prediction", ["noise", "clean", "velocity"])
def test_the_loss_and_its_gradient_are_those_of_the_formula(prediction):
    config = config_of(prediction=prediction, ema=0.0)
    settings, schedule = make_settings(config), make_schedule("cosine", 1000)
    step, state = step_of(config)
    image, valid, key = images(4), np.array([True, True, True, False]), jax.random.key(5)
    found, metrics = jax.jit(step)(state, batch_of(image, valid), key)

    time_key, noise_key = jax.random.split(key)
    time = np.asarray(draw_times(time_key, 4, settings.latest))
    noise = np.stack([jax.random.normal(k, SHAPE) for k in jax.random.split(noise_key, 4)])
    a, s = (f[time][:, None, None, None] for f in schedule)
    target = {"noise": noise, "clean": image, "velocity": a * noise - s * image}[prediction]
    weight = loss_weights(schedule, prediction, gamma=5.0)[time]
    each = weight[:, None, None, None] * (0.5 - target) ** 2
    assert float(metrics["loss"]) == pytest.approx(each[:3].mean(), rel=1e-5)
    slope = (weight[:, None, None, None] * 2 * (0.5 - target))[:3].mean()
    assert float(found.opt_state["number"]) == pytest.approx(slope, rel=1e-4)
    assert int(found.step) == 1 and int(found.extra["updates"]) == 1


def test_times_are_spread_evenly_in_any_order():
    for seed in range(5):
        found = np.asarray(draw_times(jax.random.key(seed), 10, 400))
        assert ((np.sort(found) - 1) // 40 == np.arange(10)).all()
    many = np.concatenate(
        [np.asarray(draw_times(jax.random.key(seed), 4, 3)) for seed in range(100)]
    )
    assert set(many) == {1, 2, 3}
    first = [int(draw_times(jax.random.key(seed), 10, 400)[0]) for seed in range(40)]
    assert min(first) < 80 and max(first) > 320


def test_no_time_is_learnt_that_scoring_does_not_ask_for():
    settings = make_settings(config_of(start=250, noise_levels=(30, 120)))
    assert settings.latest == 250
    assert make_settings(config_of(start=50, noise_levels=(30, 120))).latest == 120


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_eight_devices_learn_as_one(mode):
    """Under pmap each device draws its own noise, so that all agree but not with one alone."""
    step, state = step_of(config_of(), optimiser=optax.sgd(0.1))
    found = {}
    for devices in (1, 8):
        parts = partition(step, mode, devices=jax.devices()[:devices])
        batch = parts.place_batch(batch_of(images()))
        after, metrics = parts.step(parts.place_state(state), batch, jax.random.key(2))
        shards = after.params["network"]["number"].addressable_shards
        numbers = {float(np.asarray(shard.data).ravel()[0]) for shard in shards}
        assert len(shards) == devices and len(numbers) == 1
        found[devices] = float(metrics["loss"])
    if mode == "jit":
        assert found[1] == pytest.approx(found[8], rel=1e-5)
    else:
        assert found[1] != pytest.approx(found[8], rel=1e-3)


def test_averaged_weights_follow_the_warmed_up_decay_and_are_those_that_score():
    step, state = step_of(config_of(ema=0.9), optimiser=optax.sgd(0.1))
    new, _ = jax.jit(step)(state, batch_of(images()), jax.random.key(0))
    now, average = (x["network"]["number"] for x in (new.params, new.extra["ema"]))
    assert float(now) != 0.5
    assert float(average) == pytest.approx(0.1 * 0.5 + 0.9 * float(now), rel=1e-5)
    assert inference_state(new).params["network"]["number"] == average


# Latents ----------------------------------------------------------------------------------------


def test_latents_of_the_first_batch_have_mean_zero_and_deviation_one():
    space = latents(TOY, dtype="float32")
    step, state = step_of(config_of("diffusion_ad.latent"), space=space)
    step = jax.jit(step)
    state, _ = step(state, batch_of(images(), np.arange(8) < 6), jax.random.key(0))
    found = space.encode(state.params, jnp.asarray(images()[:6]))
    np.testing.assert_allclose(np.mean(found, axis=(0, 1, 2)), 0.0, atol=1e-5)
    np.testing.assert_allclose(np.std(found, axis=(0, 1, 2)), 1.0, rtol=2e-3)
    np.testing.assert_allclose(space.decode(state.params, found), images()[:6], atol=1e-5)
    later, _ = step(state, batch_of(images(seed=7)), jax.random.key(1))
    for name in ("latents", "autoencoder"):
        jax.tree.map(np.testing.assert_array_equal, later.params[name], state.params[name])
    weights = load_backbone(TOY).params
    jax.tree.map(np.testing.assert_array_equal, later.params["autoencoder"], weights)


def test_a_latent_view_is_told_in_latents_and_decoded():
    """The network knows one latent, so that its image and all distances are known."""
    config, space = config_of("diffusion_ad.latent"), latents(TOY, dtype="float32")
    params, inner = space.start(SHAPE)
    assert inner == (2, 2, 16)
    image = jnp.asarray(images(2))
    view = view_of(config, space=space, params=params)(image)
    method = latent.make(config)
    assert set(view.losses) == set(method.losses) == {"denoising_30", "denoising_300", "latent"}
    assert set(view.maps) == set(method.maps) == {"residual_30", "residual_300", "latent"}
    known = np.clip(space.decode(params, jnp.full((1, 2, 2, 16), MEAN)), -1, 1)
    np.testing.assert_allclose(view.image, known.repeat(2, axis=0), atol=1e-5)
    apart = np.abs(view.image - image)[..., 0]
    np.testing.assert_allclose(view.maps["residual_300"], apart, atol=1e-5)
    distance = np.square(space.encode(params, image) - MEAN)
    np.testing.assert_allclose(view.losses["latent"], distance.mean(axis=(1, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "autoencoder.backbone` is missing: train a VQGAN"),
        (BACKBONE, "draws no image; name a VQGAN's detector"),
    ],
)
def test_what_is_no_autoencoder_is_refused_before_a_step(spec, message):
    method = latent.make(config_of("diffusion_ad.latent", autoencoder={"backbone": spec}))
    with pytest.raises(UserError, match=message):
        jax.eval_shape(lambda key: method.learn.init(key, SHAPE), jax.random.key(0))


def test_an_autoencoder_of_other_images_is_refused():
    method = latent.make(config_of("diffusion_ad.latent"))
    with pytest.raises(UserError, match=r"draws images of \[8, 8, 1\] and these are \[8, 8, 3\]"):
        jax.eval_shape(lambda key: method.learn.init(key, (8, 8, 3)), jax.random.key(0))


# What travels, what is refused ------------------------------------------------------------------


def test_the_perceptual_map_is_the_distance_in_the_backbone_whose_weights_travel():
    config = config_of(perceptual={"backbone": BACKBONE, "levels": ("stem", "stage3")})
    perceptual, image = make_perceptual(config), jnp.asarray(images(2))
    params = perceptual.weights()
    assert set(params["perceptual"]) == {"stem", "stage3"}
    view = view_of(config, perceptual=perceptual, params=params)(image)
    assert set(view.maps) == set(pixel.make(config).maps)
    backbone = load_backbone(BACKBONE)
    look = functools.partial(backbone.stages, backbone.params, levels=("stem", "stage3"))
    maps = distance_maps(look(image), look(view.image))
    coarse = jax.image.resize(maps["stage3"], (2, 4, 4), "linear")
    np.testing.assert_allclose(view.maps["perceptual"], maps["stem"] + coarse, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "mlp"}, "network` .='mlp'. must be one of unet, dit"),
        ({"schedule": "sigmoid"}, "schedule` .='sigmoid'. must be one of linear, cosine"),
        ({"prediction": "score"}, "must be one of noise, clean, velocity"),
        ({"noise": "perlin"}, "must be one of gaussian, simplex"),
        ({"start": 1001}, r"start` \(=1001\) must lie in \[1, 1000\]"),
        ({"steps": 251}, r"steps` \(=251\) must lie in \[1, 250\]"),
        ({"noise_levels": ()}, "must name one time or more"),
        ({"noise_levels": (30, 30)}, "each once"),
        ({"noise_levels": (0, 30)}, r"noise_levels` \(=0\) must lie in"),
        ({"ema": 1.0}, "ema` .=1.0. must lie in"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        pixel.make(config_of(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unet": {**SMALL, "multipliers": (1, 2, 2, 2, 2)}}, "multipliers` divides by 16"),
        ({"network": "dit", "dit": {"patch": 3}}, "dit.patch` divides by 3"),
        ({"network": "dit", "dit": {"width": 10}}, "must be divisible by 4"),
    ],
)
def test_a_network_that_does_not_fit_the_image_is_refused(change, message):
    denoiser = make_denoiser(make_settings(config_of(**change)))
    with pytest.raises(UserError, match=message):
        denoiser.init(jax.random.key(0), SHAPE)


@pytest.mark.parametrize("method", ["diffusion_ad.pixel", "diffusion_ad.latent"])
@pytest.mark.parametrize("size", ["cpu", "accelerator"])
def test_defaults_of_both_sizes_make_networks_that_fit(method, size):
    config = complete(ConfigDict({"method": method, "size": size}))
    side = config.data.image_size
    inner = (side, side, 1) if method.endswith("pixel") else (16, 16, 32)
    for network in ("unet", "dit"):
        config.reconstructor.network = network
        settings = make_settings(config)
        init = make_denoiser(settings).init
        params = jax.eval_shape(lambda key, init=init: init(key, inner), jax.random.key(0))
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        assert 2e5 < count < (2e6 if size == "cpu" else 1.2e8), (network, count)
        assert resolve(method).make(config).maps[0] == names_of(settings, pixels(), None)[1][0]


# Learning ---------------------------------------------------------------------------------------


def stripes(count, seed, *, defect=False):
    """Images of one family, smooth stripes; a defect is a bright square."""
    rng = np.random.default_rng(seed)
    rows = np.arange(16)[None, :, None, None] / 3 + rng.uniform(0, 0.6, (count, 1, 1, 1))
    found = np.broadcast_to(0.5 * np.sin(rows), (count, 16, 16, 1)).copy()
    found += rng.normal(0, 0.03, found.shape)
    for image in found if defect else ():
        y, x = rng.integers(2, 10, 2)
        image[y : y + 4, x : x + 4] += 0.5
    return found.clip(-1, 1).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("diffusion_ad.pixel", {}),
        ("diffusion_ad.pixel", {"noise": "simplex", "prediction": "noise", "schedule": "linear"}),
        ("diffusion_ad.pixel", {"network": "dit", "dit": {"patch": 2, "width": 48, "depth": 2}}),
        ("diffusion_ad.latent", {}),
    ],
    ids=["unet", "AnoDDPM", "dit", "latent"],
)
def test_a_planted_defect_is_found(method, options):
    wide = {"unet": {"width": 16, "multipliers": (1, 2), "attention": ()}}
    if method.endswith("latent"):
        wide["unet"]["multipliers"] = (2,)
    shared = {"start": 300, "steps": 3, "draws": 2, "noise_levels": (100, 300)}
    config = config_of(method, **{**wide, **shared, **options})
    made = resolve(method).make(config)
    state = start(made, (16, 16, 1))
    step = optimised(made.learn.train_step)
    for number in range(400):
        state, metrics = step(state, batch_of(stripes(16, number)), jax.random.key(number))
    image = np.concatenate([stripes(20, 1001), stripes(20, 1002, defect=True)])
    view = jax.jit(made.view)(inference_state(state), image, image_keys(jnp.asarray(image)))
    residual = np.abs(np.asarray(view.image) - image).max(axis=(1, 2, 3))
    labels = np.repeat([0, 1], 20)
    assert auroc(labels, residual) > 0.95, float(metrics["loss"])
    assert auroc(labels, np.asarray(view.losses["denoising_100"])) > 0.95
