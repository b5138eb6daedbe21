"""The networks of a VQGAN by name: cnn, vit, hybrid, and the discriminator vit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.runtime.config import complete, differences, from_json, to_json
from ad_core.training.partition import partition
from ad_core.types import Batch, inference_state
from tests.quick import compiled, named_shapes, optimised, start
from tests.small_config import small_config
from vqgan_ad import vqgan
from vqgan_ad.backbone import shape_of
from vqgan_ad.model import make_model
from vqgan_ad.settings import make_settings

SHAPE = (16, 16, 1)
VIT = {"patch": 4, "width": 16, "depth": 1, "heads": 2, "features": 4}
DISC = {"discriminator": "vit", "disc_vit": {"patch": 4, "width": 8, "depth": 1, "heads": 2}}


def tiny(**method):
    settings = {
        "width": 4, "multipliers": (1, 2), "blocks": 0, "latent": 4, "codes": 8,
        "disc_width": 4, "disc_layers": 1, "vit": VIT, "codebook_start": "uniform",
        **method,
    }  # fmt: skip
    recipe = {
        "method": "vqgan_ad.vqgan",
        "data": {"image_size": 16},
        "train": {"epoch_steps": 4, "batch_size": 8},
        "reconstructor": settings,
    }
    return complete(ConfigDict(recipe))


def shapes_of(config):
    """Names and shapes of a model's parameters, without a draw."""
    model = make_model(make_settings(config), 1)
    return named_shapes(lambda key: model.init(key, SHAPE))


def test_the_default_networks_keep_names_and_shapes_of_their_parameters():
    """Detectors and checkpoints that lie on disk hold these."""
    conv = {"bias": (4,), "kernel": (3, 3, 4, 4)}
    norm = {"bias": (4,), "scale": (4,)}
    found = shapes_of(tiny(multipliers=(1,), latent=4))
    encoder = "generator/encoder/params"
    middle = f"{encoder}/Middle_0/ResidualBlock_0"
    expected = {f"{encoder}/Conv_0/kernel": (3, 3, 1, 4), f"{encoder}/Conv_0/bias": (4,)}
    expected |= {f"{encoder}/Conv_1/{part}": shape for part, shape in conv.items()}
    expected |= {f"{encoder}/GroupNorm_0/{part}": shape for part, shape in norm.items()}
    expected |= {f"{middle}/Conv_1/{part}": shape for part, shape in conv.items()}
    expected |= {f"{middle}/GroupNorm_1/{part}": shape for part, shape in norm.items()}
    expected |= {"generator/head/params/Conv_0/kernel": (3, 3, 4, 1), "generator/codebook": (8, 4)}
    expected |= {"discriminator/params/Conv_0/kernel": (4, 4, 1, 4)}
    assert expected.items() <= found.items()
    assert {name.split("/")[3] for name in found if name.startswith(encoder)} == {
        "Conv_0", "Conv_1", "GroupNorm_0", "Middle_0"
    }  # fmt: skip
    parts = {name.split("/")[1] for name in found if name.startswith("generator")}
    assert parts == {"encoder", "decoder", "head", "codebook"} and len(found) == 60


def test_a_configuration_from_before_there_was_a_choice_is_that_of_cnn():
    config = small_config()
    older = ConfigDict(config.to_dict())
    for name in ("network", "vit", "discriminator", "disc_vit"):
        del older.reconstructor[name]
    again = from_json(to_json(older))
    assert (again.reconstructor.network, again.reconstructor.discriminator) == ("cnn", "patchgan")
    assert differences(again, config) == {}


@pytest.mark.parametrize("network, encoder, decoder", [
    ("vit", "transformer", "transformer"), ("hybrid", "Middle_0", "transformer")
])  # fmt: skip
def test_each_half_is_what_the_name_says(network, encoder, decoder):
    found = shapes_of(tiny(network=network, **DISC))
    for half, module in (("encoder", encoder), ("decoder", decoder)):
        assert any(name.startswith(f"generator/{half}/params/{module}/") for name in found)
    assert found["generator/head/params/Conv_0/kernel"] == (3, 3, 4, 1)
    assert any(name.startswith("discriminator/params/transformer/block0/") for name in found)


@pytest.mark.parametrize("network, side", [("cnn", 8), ("vit", 4), ("hybrid", 8)])
def test_the_latent_has_a_position_a_patch(network, side):
    settings = make_settings(tiny(network=network))
    model = make_model(settings, 1)
    params = jax.eval_shape(lambda key: model.init(key, SHAPE), jax.random.key(0))
    image = jax.ShapeDtypeStruct((2, *SHAPE), np.float32)
    passed = jax.eval_shape(model.forward, params["generator"], image)
    assert passed.latent.shape == (2, side, side, 4) and side == 16 // settings.stride
    assert passed.image.shape == image.shape and passed.image.dtype == np.float32


def test_a_step_of_the_transformers_in_bfloat16_keeps_what_it_learns_and_tells_in_float32():
    config = tiny(network="vit", **DISC)
    config.train.dtype = "bfloat16"
    method, key = vqgan.make(config), jax.random.key(0)
    state = jax.eval_shape(lambda key: method.learn.init(key, SHAPE), key)
    batch = batch_of(np.zeros((8, *SHAPE), np.float32))
    after, metrics = jax.eval_shape(method.learn.train_step, state, batch, key)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert {x.dtype for x in jax.tree.leaves(metrics)} == {np.dtype("float32")}


def test_an_image_of_a_transformer_need_not_be_a_square():
    config = tiny(network="vit", **DISC)
    config.data.image_size = (16, 24)
    method, key = vqgan.make(config), jax.random.key(0)
    state = jax.eval_shape(lambda key: method.learn.init(key, (16, 24, 1)), key)
    image = jax.ShapeDtypeStruct((2, 16, 24, 1), np.float32)
    view = jax.eval_shape(method.view, state, image, jax.random.split(key, 2))
    assert view.image.shape == image.shape and view.maps["disc_real"].shape == (2, 4, 6)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"network": "unet"}, r"`reconstructor.network` \(='unet'\) must be one of cnn, vit, hyb"),
        ({"discriminator": "cnn"}, "`reconstructor.discriminator`.*must be one of patchgan, vit"),
        ({"network": "vit", "vit": {"patch": 32}}, r"divisible by 32, `reconstructor.vit.patch`"),
        ({"vit": {"patch": 3}}, r"`reconstructor.vit.patch` \(=3\) must be a power of two"),
        ({"vit": {"heads": 3}}, r"vit.width` \(=16\) must be divisible by 4 and by `reconstructor"),
        ({"vit": {"width": 6}}, r"vit.width` \(=6\) must be divisible by 4"),
        ({"vit": {"depth": 0}}, r"`reconstructor.vit.depth` \(=0\) must be at least 1"),
        ({**DISC, "disc_vit": {"patch": 5}}, "divisible by 5, `reconstructor.disc_vit.patch`"),
    ],
)
def test_networks_that_cannot_be_are_refused(change, message):
    change = {**change, "vit": VIT | change.get("vit", {})}
    with pytest.raises(UserError, match=message):
        vqgan.make(tiny(**change))


def test_the_encoder_of_a_transformer_is_no_backbone_and_that_of_hybrid_is_one():
    assert shape_of(tiny(network="hybrid")) == shape_of(tiny())
    with pytest.raises(UserError, match=r"convolutional encoder.*network` \(=vit\)"):
        shape_of(tiny(network="vit"))


def batch_of(image):
    n = len(image)
    return Batch(image, np.zeros(n, np.int32), np.ones(n, bool), np.arange(n, dtype=np.int32))


def smooth(seed, count=8):
    """Waves of any phase: all normal images are of this kind."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 6, (count, 1, 1, 1))
    rows = np.arange(16)[None, :, None, None] / 2.5
    return (0.7 * np.sin(rows + phase) + np.zeros((1, 1, 16, 1))).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_eight_devices_take_the_step_of_one(mode):
    sgd = {"name": "sgd", "lr": 1.0}
    game = {"disc_start": 0, "disc_ramp": 1, "restart_dead": False}
    method = vqgan.make(tiny(network="vit", **DISC, **game, optimiser=sgd, disc_optimiser=sgd))
    state, batch, key = start(method, SHAPE), batch_of(smooth(0)), jax.random.key(0)
    expected, metrics = compiled(method.learn.train_step)(state, batch, key)
    parts = partition(method.learn.train_step, mode)
    after, found = parts.step(parts.place_state(state), parts.place_batch(batch), key)
    jax.tree.map(
        # float32 sums in another order
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5),
        parts.fetch_state(after).params,
        expected.params,
    )
    assert float(metrics["adaptive_weight"]) > 0.0
    np.testing.assert_allclose(found["adaptive_weight"], metrics["adaptive_weight"], rtol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["vit", "hybrid"])
def test_a_trained_network_redraws_normals_and_not_a_planted_defect(network):
    adam = {"name": "adam", "lr": 3e-3}
    config = tiny(
        network=network, **DISC, codebook_start="kmeans", kmeans_at=20, codes=32, disc_start=60,
        vit=VIT | {"width": 32, "features": 8}, optimiser=adam, disc_optimiser=adam,
    )  # fmt: skip
    method = vqgan.make(config)
    step = optimised(method.learn.train_step, donate_argnums=0)
    state, losses = start(method, SHAPE), []
    for n in range(300):
        state, metrics = step(state, batch_of(smooth(n)), jax.random.key(n))
        losses.append(float(metrics["reconstruction"]))
        assert np.isfinite(losses[-1]) and np.isfinite(float(metrics["adaptive_weight"]))
    assert np.mean(losses[-20:]) < 0.3 * losses[0]
    images = np.concatenate([smooth(1_000), smooth(1_001)])
    images[8:, 6:10, 6:10] = 1.0  # a square, of which no normal image knows
    view = compiled(method.view)
    drawn = view(
        inference_state(state), jnp.asarray(images), jax.random.split(jax.random.key(0), 16)
    )
    error = np.asarray(drawn.losses["reconstruction"])
    assert error[8:].min() > error[:8].max()
