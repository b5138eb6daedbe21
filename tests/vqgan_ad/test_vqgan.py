import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ad_core.backbones import perceptual, vgg16
from ad_core.errors import UserError
from ad_core.losses import ADVERSARIAL
from ad_core.runtime.config import complete
from ad_core.training.partition import partition
from ad_core.types import Batch, inference_state
from vqgan_ad import vqgan
from vqgan_ad.model import make_model
from vqgan_ad.settings import make_settings

SHAPE = (16, 16, 1)


def tiny(**method):
    """A VQGAN that compiles in seconds, trained by plain gradient descent with rate 1."""
    sgd = {"name": "sgd", "lr": 1.0}
    settings = {
        "width": 4,
        "multipliers": (1, 2),
        "blocks": 1,
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
    """(config, method, state, compiled step) with the poster's loss."""
    config = tiny()
    method = vqgan.make(config)
    state = jax.jit(lambda key: method.learn.init(key, SHAPE))(jax.random.key(1))
    return config, method, state, jax.jit(method.learn.train_step)


def delta(before, after):
    return jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), before, after)


def poster_objective(config, params, image, adaptive):
    """The generator's and the discriminator's losses, written out from the poster."""
    model = make_model(make_settings(config), 1)

    def generator_loss(generator):
        passed = model.forward(generator, image)
        reconstruction = jnp.mean(jnp.square(image - passed.image))
        codes = generator["codebook"][passed.quantised.codes]
        sg = jax.lax.stop_gradient
        vq = jnp.mean(jnp.square(sg(passed.latent) - codes)) + jnp.mean(
            jnp.square(passed.latent - sg(codes))
        )
        fake = jax.nn.sigmoid(model.judge(params["discriminator"], passed.image))
        return reconstruction + vq + 0.8 * adaptive * jnp.mean(jnp.log(1.0 - fake))

    def discriminator_loss(judge):
        drawn = model.forward(params["generator"], image).image
        real, fake = (jax.nn.sigmoid(model.judge(judge, x)) for x in (image, drawn))
        return -0.5 * (jnp.mean(jnp.log(real)) + jnp.mean(jnp.log(1.0 - fake)))

    return generator_loss, discriminator_loss


def test_one_step_descends_the_posters_objective(poster, image, key):
    config, _, state, step = poster
    after, metrics = step(state, batch_of(image), key)
    adaptive = metrics["adaptive_weight"] / 0.8
    generator_loss, discriminator_loss = poster_objective(config, state.params, image, adaptive)
    expected = {
        "generator": jax.jit(jax.grad(generator_loss))(state.params["generator"]),
        "discriminator": jax.jit(jax.grad(discriminator_loss))(state.params["discriminator"]),
    }
    jax.tree.map(
        # float32 sums in another order
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-6),
        delta(state.params, after.params),
        expected,
    )


def test_adaptive_weight_is_the_ratio_of_gradients_at_the_last_convolution(poster, image, key):
    config, _, state, step = poster
    model = make_model(make_settings(config), 1)
    generator, judge = state.params["generator"], state.params["discriminator"]

    def drawn(kernel):
        head = {"params": {"Conv_0": {**generator["head"]["params"]["Conv_0"], "kernel": kernel}}}
        return model.forward({**generator, "head": head}, image).image

    kernel = generator["head"]["params"]["Conv_0"]["kernel"]
    rec = jax.grad(lambda k: jnp.mean(jnp.square(image - drawn(k))))(kernel)
    game = ADVERSARIAL["log"]
    adv = jax.grad(lambda k: jnp.mean(game.generator(model.judge(judge, drawn(k)))))(kernel)
    expected = 0.8 * jnp.linalg.norm(rec) / (jnp.linalg.norm(adv) + 1e-4)
    _, metrics = step(state, batch_of(image), key)
    np.testing.assert_allclose(metrics["adaptive_weight"], expected, rtol=1e-3)


def test_padding_changes_no_gradient(poster, image, key):
    _, _, state, step = poster
    whole, _ = step(state, batch_of(image), key)
    rubbish = jnp.full_like(image, 0.7)
    valid = np.arange(16) < 8
    padded, _ = step(state, batch_of(jnp.concatenate([image, rubbish]), valid), key)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-6),
        delta(state.params, whole.params),
        delta(state.params, padded.params),
    )


@pytest.mark.parametrize("mode, devices", [("jit", 8), ("pmap", 8), ("pmap", 1)])
def test_devices_and_partition_modes_take_the_same_step(poster, image, key, mode, devices):
    _, method, state, step = poster
    expected, expected_metrics = step(state, batch_of(image), key)
    parts = partition(method.learn.train_step, mode, devices=jax.devices()[:devices])
    placed = parts.place_state(state)
    after, metrics = parts.step(placed, parts.place_batch(batch_of(image)), key)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=3e-6),
        delta(state.params, expected.params),
        delta(state.params, parts.fetch_state(after).params),
    )
    np.testing.assert_array_equal(
        expected.extra["code_count"], parts.fetch_state(after).extra["code_count"]
    )
    for name, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=2e-3, atol=1e-6, err_msg=name)


def test_averaged_weights_follow_the_warmed_up_decay(poster, image, key):
    _, _, state, step = poster
    after, _ = step(state, batch_of(image), key)
    expected = jax.tree.map(
        lambda old, new: 0.1 * old + 0.9 * new, state.params["generator"], after.params["generator"]
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        after.extra["ema"]["generator"],
        expected,
    )


def test_codebook_use_is_measured_over_the_epoch(poster, image, key):
    _, _, state, step = poster
    first, metrics = step(state, batch_of(image), key)
    assert float(metrics["codebook_use"]) == 0.0  # the epoch of two steps is not over
    assert float(first.extra["code_count"].sum()) == 8 * 8 * 8
    used = np.asarray(first.extra["code_count"]) > 0
    second, metrics = step(first, batch_of(image[::-1]), key)
    assert float(metrics["codebook_use"]) >= used.mean()
    assert float(second.extra["code_count"].sum()) == 0.0


def test_reconstruction_keeps_its_contract(poster, image, key):
    _, method, state, _ = poster
    drawn = jax.jit(method.view)(inference_state(state), image, key)
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
    alone = jax.jit(method.view)(inference_state(state), image[2:3], key)
    np.testing.assert_allclose(alone.image, drawn.image[2:3], atol=1e-5)


@pytest.mark.slow
def test_every_option_learns_a_batch_by_heart(image, key):
    adam = {"name": "adam", "lr": 3e-3}
    config = tiny(
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
    step = jax.jit(method.learn.train_step, donate_argnums=0)
    state = jax.jit(lambda key: method.learn.init(key, SHAPE))(key)
    smooth = np.repeat(np.repeat(image[:, ::8, ::8], 8, 1), 8, 2)
    losses = []
    for n in range(150):
        state, metrics = step(state, batch_of(smooth), jax.random.fold_in(key, n))
        losses.append(float(metrics["reconstruction"]))
    assert losses[-1] < 0.3 * losses[0]
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    drawn = method.view(inference_state(state), jnp.asarray(smooth), key)
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


def test_perceptual_weights_stay_as_they_are_and_go_with_the_state(image, key, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        vqgan.make(tiny(perceptual_weights="no.npz")).learn.init(key, SHAPE)
    rng, inside, arrays = np.random.default_rng(0), 3, {}
    for n in (n for block in vgg16.BLOCKS for n in block):
        arrays[f"features.{n}.weight"] = rng.normal(0, 0.5, (2, inside, 3, 3)).astype(np.float32)
        arrays[f"features.{n}.bias"] = np.zeros(2, np.float32)
        inside = 2
    path = tmp_path / "vgg.npz"
    np.savez(path, **arrays)
    method = vqgan.make(tiny(perceptual_weights=str(path)))
    state = jax.jit(lambda key: method.learn.init(key, SHAPE))(key)
    after, metrics = jax.jit(method.learn.train_step)(state, batch_of(image), key)
    for name, weight in arrays.items():
        np.testing.assert_array_equal(after.params["perceptual"][name], weight)
    drawn = vqgan.make(tiny()).view(inference_state(state), image, key)
    network, weights = vgg16.network(), state.params["perceptual"]
    expected = perceptual.distance(network, weights, image, drawn.image)
    np.testing.assert_allclose(drawn.losses["perceptual"], expected, rtol=1e-5)
    # The step compares with what the network gives, scoring with what an image can hold.
    unclipped = make_model(make_settings(tiny()), 1).forward(state.params["generator"], image).image
    trained = perceptual.distance(network, weights, image, unclipped).mean()
    np.testing.assert_allclose(metrics["perceptual"], trained, rtol=1e-4)
    np.testing.assert_allclose(drawn.maps["perceptual"].mean(axis=(1, 2)), expected, rtol=1e-5)


def test_an_image_need_not_be_a_square():
    config = tiny()
    config.data.image_size = (16, 24)
    reconstructor, key = vqgan.make(config), jax.random.key(0)
    batch = batch_of(np.zeros((4, 16, 24, 1), np.float32))
    state = jax.eval_shape(lambda key: reconstructor.init(key, (16, 24, 1)), key)
    after, _ = jax.eval_shape(reconstructor.train_step, state, batch, key)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    drawn = jax.eval_shape(reconstructor.reconstruct, state, batch.image, key)
    assert drawn.image.shape == batch.image.shape
    config.data.image_size = (16, 23)
    with pytest.raises(UserError, match=r"`data\.image_size` \(=16,23\) must be divisible by"):
        vqgan.make(config)
