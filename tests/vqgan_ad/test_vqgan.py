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
from tests.quick import compiled, optimised, start
from vqgan_ad import vqgan
from vqgan_ad.model import make_model
from vqgan_ad.settings import make_settings
from vqgan_ad.step import _keep_codebook as keep_codebook

SHAPE = (16, 16, 1)
TOY = "tests.baselines_ad.toy_backbone:toy"


def tiny(**method):
    """A VQGAN that compiles in seconds, trained by plain gradient descent with rate 1.

    Without blocks of its own it has those of the middle and one a level of the decoder.
    """
    sgd = {"name": "sgd", "lr": 1.0}
    settings = {
        "width": 4,
        "multipliers": (1, 2),
        "blocks": 0,
        "latent": 4,
        "codes": 8,
        "disc_width": 4,
        "disc_layers": 1,
        "codebook_start": "uniform",
        "restart_dead": False,
        "disc_start": 0,
        "disc_ramp": 1,
        "disc_weight": 0.8,
        "optimiser": sgd,
        "disc_optimiser": sgd,
        **method,
    }
    recipe = {
        "method": "vqgan_ad.vqgan",
        "data": {"image_size": 16},
        "train": {"epoch_steps": 2, "batch_size": 8},
        "reconstructor": settings,
    }
    return complete(ConfigDict(recipe))


def batch_of(image, valid=None):
    n = len(image)
    valid = np.ones(n, bool) if valid is None else valid
    return Batch(image, np.zeros(n, np.int32), valid, np.arange(n, dtype=np.int32))


@pytest.fixture(scope="module")
def image():
    return jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (8, *SHAPE)), jnp.float32)


@pytest.fixture(scope="module")
def poster():
    """(method, state, compiled step) with the poster's loss."""
    method = vqgan.make(tiny())
    return method, start(method, SHAPE), compiled(method.learn.train_step)


@pytest.fixture(scope="module")
def first(poster, image):
    """(state, metrics) after the poster's first step."""
    _, state, step = poster
    return step(state, batch_of(image), jax.random.key(0))


@pytest.fixture(scope="module")
def by_hand(poster, image):
    """(gradients, adaptive weight) of the poster's objective, written out from it."""
    _, state, _ = poster
    return compiled(poster_gradients)(state.params, image)


def delta(before, after):
    return jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), before, after)


def poster_gradients(params, image):
    model = make_model(make_settings(tiny()), 1)
    sg = jax.lax.stop_gradient

    def terms(generator):
        passed = model.forward(generator, image)
        codes = generator["codebook"][passed.quantised.codes]
        vq = jnp.mean(jnp.square(sg(passed.latent) - codes))
        vq += jnp.mean(jnp.square(passed.latent - sg(codes)))
        fake = jax.nn.sigmoid(model.discriminate(params["discriminator"], passed.image))
        return jnp.mean(jnp.square(image - passed.image)), vq, jnp.mean(jnp.log(1.0 - fake))

    def of_last_kernel(term):
        def value(kernel):
            generator = params["generator"]
            conv = {**generator["head"]["params"]["Conv_0"], "kernel": kernel}
            return terms({**generator, "head": {"params": {"Conv_0": conv}}})[term]

        return jax.grad(value)(params["generator"]["head"]["params"]["Conv_0"]["kernel"])

    norms = [jnp.linalg.norm(of_last_kernel(term)) for term in (0, 2)]
    adaptive = norms[0] / (norms[1] + 1e-4)

    def generator_loss(generator):
        reconstruction, vq, adversarial = terms(generator)
        return reconstruction + vq + 0.8 * adaptive * adversarial

    def discriminator_loss(discriminator):
        drawn = model.forward(params["generator"], image).image
        real, fake = (jax.nn.sigmoid(model.discriminate(discriminator, x)) for x in (image, drawn))
        return -0.5 * (jnp.mean(jnp.log(real)) + jnp.mean(jnp.log(1.0 - fake)))

    gradients = {
        "generator": jax.grad(generator_loss)(params["generator"]),
        "discriminator": jax.grad(discriminator_loss)(params["discriminator"]),
    }
    return gradients, adaptive


def test_one_step_descends_the_posters_objective(poster, first, by_hand):
    _, state, _ = poster
    jax.tree.map(
        # float32 sums in another order
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-6),
        delta(state.params, first[0].params),
        by_hand[0],
    )


def test_adaptive_weight_is_the_ratio_of_gradients_at_the_last_convolution(first, by_hand):
    np.testing.assert_allclose(first[1]["adaptive_weight"], 0.8 * by_hand[1], rtol=1e-3)


def test_padding_changes_no_gradient(poster, image, key):
    _, state, step = poster
    # A mean over four images is one over all of them twice.
    whole, _ = step(state, batch_of(jnp.tile(image[:4], (2, 1, 1, 1))), key)
    padded, _ = step(state, batch_of(image.at[4:].set(0.7), np.arange(8) < 4), key)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-6),
        delta(state.params, whole.params),
        delta(state.params, padded.params),
    )


@pytest.mark.parametrize(
    "mode, devices",
    # One device under pmap can do nothing wrong that eight do not.
    [("jit", 8), ("pmap", 8), pytest.param("pmap", 1, marks=pytest.mark.slow)],
)
def test_devices_and_partition_modes_take_the_same_step(poster, first, image, key, mode, devices):
    method, state, _ = poster
    expected, expected_metrics = first
    parts = partition(method.learn.train_step, mode, devices=jax.devices()[:devices])
    placed = parts.place_state(state)
    after, metrics = parts.step(placed, parts.place_batch(batch_of(image)), key)
    fetched = parts.fetch_state(after)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=3e-6),
        delta(state.params, expected.params),
        delta(state.params, fetched.params),
    )
    np.testing.assert_array_equal(expected.extra["code_count"], fetched.extra["code_count"])
    for name, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=2e-3, atol=1e-6, err_msg=name)


def test_averaged_weights_follow_the_warmed_up_decay(poster, first):
    _, state, _ = poster
    after, _ = first
    expected = jax.tree.map(
        lambda old, new: 0.1 * old + 0.9 * new, state.params["generator"], after.params["generator"]
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        after.extra["ema"]["generator"],
        expected,
    )


def test_codebook_use_is_measured_over_the_epoch(poster, first, image, key):
    _, _, step = poster
    after, metrics = first
    assert float(metrics["codebook_use"]) == 0.0  # the epoch of two steps is not over
    assert float(after.extra["code_count"].sum()) == 8 * 8 * 8
    used = np.asarray(after.extra["code_count"]) > 0
    second, metrics = step(after, batch_of(image[::-1]), key)
    assert float(metrics["codebook_use"]) >= used.mean()
    assert float(second.extra["code_count"].sum()) == 0.0


def test_codes_unused_for_an_epoch_start_again_on_latents_at_its_end_alone(poster, image, key):
    _, state, _ = poster
    settings = make_settings(tiny(restart_dead=True))
    generator = state.params["generator"]
    far = generator["codebook"].at[5:].set(1e3)  # where no latent lies
    generator = {**generator, "codebook": far}
    passed = compiled(make_model(settings, 1).forward)(generator, image)
    used = np.isin(np.arange(8), passed.quantised.codes)
    assert 0 < used.sum() < 8
    before = np.asarray(generator["codebook"])
    latents = np.asarray(passed.latent).reshape(-1, 4)
    for number, ends in ((0, False), (1, True)):
        at = state._replace(step=jnp.int32(number))
        moved, _, _ = keep_codebook(settings, at, generator, passed, key)
        codebook = np.asarray(moved["codebook"])
        np.testing.assert_array_equal(codebook[used], before[used])
        if not ends:
            np.testing.assert_array_equal(codebook, before)
            continue
        again = {tuple(row) for row in codebook[~used]}
        assert len(again) == (~used).sum() and again <= {tuple(row) for row in latents}


def test_views_losses_are_measured_on_the_image_that_it_draws(poster, image, key):
    method, state, _ = poster
    view, keys = compiled(method.view), jax.random.split(key, len(image))
    drawn = view(inference_state(state), image, keys)
    assert drawn.image.shape == image.shape and float(jnp.abs(drawn.image).max()) <= 1.0
    assert set(drawn.losses) == {
        "reconstruction", "quantisation", "commitment", "disc_real", "disc_fake"
    }  # fmt: skip
    np.testing.assert_allclose(
        drawn.losses["reconstruction"], np.square(image - drawn.image).mean((1, 2, 3)), rtol=1e-4
    )
    np.testing.assert_allclose(
        drawn.losses["quantisation"], drawn.maps["quantisation"].mean((1, 2)), rtol=1e-4
    )
    alone = view(inference_state(state), image[2:3], keys[2:3])
    np.testing.assert_allclose(alone.image, drawn.image[2:3], atol=1e-5)


@pytest.mark.slow
def test_every_option_learns_a_batch_by_heart(image, key):
    adam = {"name": "adam", "lr": 3e-3}
    config = tiny(
        blocks=1,
        optimiser=adam,
        disc_optimiser=adam,
        codebook_update="ema",
        codebook_start="kmeans",
        kmeans_at=2,
        restart_dead=True,
        unit_codes=True,
        reconstruction="l1",
        adversarial="hinge",
        beta=0.25,
        disc_norm="instance",
        attention=(1,),
        unquantised=True,
        disc_start=1_000,
    )
    config.train.dtype = "bfloat16"
    method = vqgan.make(config)
    step = optimised(method.learn.train_step, donate_argnums=0)
    state = start(method, SHAPE, seed=0)
    smooth = np.repeat(np.repeat(image[:, ::8, ::8], 8, 1), 8, 2)
    losses = []
    for n in range(150):
        state, metrics = step(state, batch_of(smooth), jax.random.fold_in(key, n))
        losses.append(float(metrics["reconstruction"]))
    assert losses[-1] < 0.3 * losses[0]
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    keys = jax.random.split(key, len(smooth))
    drawn = compiled(method.view)(inference_state(state), jnp.asarray(smooth), keys)
    assert drawn.maps["unquantised"].shape == (8, 16, 16)
    assert step._cache_size() == 1


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"reconstruction": "l3"},
            r"`reconstructor.reconstruction` \(='l3'\) must be one of l2, l1",
        ),
        ({"adversarial": "wgan"}, "must be one of log, non_saturating, hinge"),
        ({"codes": 1}, "must be at least 2"),
        ({"multipliers": (1, 1, 1, 1, 1, 1)}, "must be divisible by 32"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        vqgan.make(tiny(**change))


@pytest.fixture(scope="module")
def perceptual():
    """(method, state, compiled step) of reconstruction and perceptual distance, without a game."""
    term = {"backbone": TOY, "weight": 0.3, "levels": ("stem", "stage5")}
    method = vqgan.make(tiny(perceptual=term, disc_weight=0.0))
    return method, start(method, SHAPE), compiled(method.learn.train_step)


def test_the_perceptual_distance_is_a_term_of_what_the_generator_descends(perceptual, image, key):
    _, state, step = perceptual
    backbone, model = load_backbone(TOY), make_model(make_settings(tiny()), 1)

    def objective(generator):
        passed = model.forward(generator, image)
        vq = jnp.mean(passed.quantised.quantisation) + jnp.mean(passed.quantised.commitment)
        far = distance(
            backbone.network, backbone.params, image, passed.image, levels=("stem", "stage5")
        )
        error = jnp.mean(jnp.square(image - passed.image))
        return error + vq + 0.3 * jnp.mean(far), jnp.mean(far)

    of_generator = compiled(jax.value_and_grad(objective, has_aux=True))
    (loss, far), gradient = of_generator(state.params["generator"])
    after, metrics = step(state, batch_of(image), key)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-6),
        delta(state.params["generator"], after.params["generator"]),
        gradient,
    )
    np.testing.assert_allclose(metrics["perceptual"], far, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-4)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_eight_devices_take_the_step_with_the_perceptual_term_too(perceptual, image, key, mode):
    method, state, step = perceptual
    expected, expected_metrics = step(state, batch_of(image), key)
    parts = partition(method.learn.train_step, mode)
    after, metrics = parts.step(parts.place_state(state), parts.place_batch(batch_of(image)), key)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=3e-6),
        delta(state.params, expected.params),
        delta(state.params, parts.fetch_state(after).params),
    )
    np.testing.assert_allclose(metrics["perceptual"], expected_metrics["perceptual"], rtol=1e-3)


def test_no_state_and_no_detector_holds_the_perceptual_terms_weights(perceptual, poster, image):
    method, state, _ = perceptual
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, poster[1])
    keys = jax.random.split(jax.random.key(0), len(image))
    views = [jax.eval_shape(m.view, state, image, keys) for m in (method, poster[0])]
    assert jax.tree.map(jnp.shape, views[0]) == jax.tree.map(jnp.shape, views[1])
    assert method.curves == (*poster[0].curves, "perceptual")


def test_a_perceptual_backbone_that_is_not_there_is_refused_before_a_step(key):
    method = vqgan.make(tiny(perceptual={"backbone": "vgg16:none.npz"}))
    with pytest.raises(UserError, match="no such file"):
        jax.eval_shape(lambda key: method.learn.init(key, SHAPE), key)


def test_an_image_need_not_be_a_square():
    config = tiny()
    config.data.image_size = (16, 24)
    method, key = vqgan.make(config), jax.random.key(0)
    batch = batch_of(np.zeros((4, 16, 24, 1), np.float32))
    state = jax.eval_shape(lambda key: method.learn.init(key, (16, 24, 1)), key)
    after, _ = jax.eval_shape(method.learn.train_step, state, batch, key)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    drawn = jax.eval_shape(method.view, state, batch.image, jax.random.split(key, 4))
    assert drawn.image.shape == batch.image.shape
    config.data.image_size = (16, 23)
    with pytest.raises(UserError, match=r"`data\.image_size` \(=16,23\) must be divisible by"):
        vqgan.make(config)
