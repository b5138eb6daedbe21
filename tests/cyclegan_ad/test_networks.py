"""CycleGAN's generators and discriminators by name: cnn or vit, patchgan or vit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.metrics import auroc
from ad_core.runtime.config import complete, differences, from_json, to_json
from ad_core.types import Batch, inference_state
from cyclegan_ad import cyclegan
from cyclegan_ad.model import make_model
from cyclegan_ad.settings import make_settings
from tests.quick import compiled, named_shapes, optimised, start

SHAPE = (16, 16, 1)
VIT = {"patch": 4, "width": 16, "depth": 1, "heads": 2, "features": 4}
DISC = {"discriminator": "vit", "disc_vit": {"patch": 4, "width": 8, "depth": 1, "heads": 2}}


def tiny(dtype="float32", **method):
    settings = {
        "width": 2, "blocks": 1, "disc_width": 2, "disc_layers": 1, "pool": 5, "vit": VIT, **method,
    }  # fmt: skip
    recipe = {
        "method": "cyclegan_ad.cyclegan",
        "data": {"image_size": 16},
        "train": {"dtype": dtype, "steps": 300},
        "reconstructor": settings,
    }
    return complete(ConfigDict(recipe))


def shapes_of(config):
    """Names and shapes of the parameters, without a draw."""
    model = make_model(make_settings(config), 1)
    return named_shapes(lambda key: model.init(key, SHAPE))


def test_the_default_networks_keep_names_and_shapes_of_their_parameters():
    """Detectors and checkpoints that lie on disk hold these."""
    found, generator = shapes_of(tiny()), "to_normal/params"
    expected = {
        f"{generator}/Convolution_0/Conv_0/kernel": (7, 7, 1, 2),
        f"{generator}/Conv_0/kernel": (3, 3, 2, 4),
        f"{generator}/ResidualBlock_0/Convolution_1/Conv_0/kernel": (3, 3, 8, 8),
        f"{generator}/Conv_3/kernel": (3, 3, 4, 2),
        f"{generator}/Convolution_1/Conv_0/bias": (1,),
        "disc_abnormal/params/Conv_1/kernel": (4, 4, 2, 4),
    }
    assert expected.items() <= found.items() and len(found) == 44


def test_a_configuration_from_before_there_was_a_choice_is_that_of_cnn():
    config = complete(ConfigDict({"method": "cyclegan_ad.cyclegan"}))
    older = ConfigDict(config.to_dict())
    for name in ("network", "vit", "discriminator", "disc_vit"):
        del older.reconstructor[name]
    again = from_json(to_json(older))
    assert (again.reconstructor.network, again.reconstructor.discriminator) == ("cnn", "patchgan")
    assert differences(again, config) == {}


def test_no_two_transformers_start_alike_and_patchgans_start_as_the_recipe_has_them():
    model = make_model(make_settings(tiny(network="vit")), 1)
    params = compiled(lambda key: model.init(key, SHAPE))(jax.random.key(0))
    first, second = (
        params[name]["params"]["transformer"]["block0"]["attn"]["qkv"]["kernel"]
        for name in ("to_normal", "to_abnormal")
    )
    assert float(jnp.abs(first - second).max()) > 0.1
    # Linen's start: a variance of one over the inputs.
    np.testing.assert_allclose(first.std(), 16**-0.5, rtol=0.15)
    kernel = params["disc_normal"]["params"]["Conv_1"]["kernel"]
    assert 0.01 < float(kernel.std()) < 0.03


def test_a_step_of_the_transformers_in_bfloat16_keeps_what_it_learns_and_tells_in_float32():
    config = tiny("bfloat16", network="vit", spectral_norm=True, ema=0.9, **DISC)
    config.data.image_size = (16, 24)
    method, key = cyclegan.make(config), jax.random.key(0)
    state = jax.eval_shape(lambda key: method.learn.init(key, (16, 24, 1)), key)
    batch = batch_of(np.zeros((4, 16, 24, 1), np.float32))
    after, metrics = jax.eval_shape(method.learn.train_step, state, batch, key)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert {x.dtype for x in jax.tree.leaves(metrics)} == {np.dtype("float32")}
    view = jax.eval_shape(method.view, state, batch.image, jax.random.split(key, 4))
    assert view.image.shape == batch.image.shape and view.maps["disc_real"].shape == (4, 4, 6)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"network": "hybrid"}, r"`reconstructor.network` \(='hybrid'\) must be one of cnn, vit"),
        ({"discriminator": "cnn"}, "`reconstructor.discriminator`.*must be one of patchgan, vit"),
        ({"network": "vit", "vit": {"patch": 32}}, "divisible by 32, `reconstructor.vit.patch`"),
        ({"vit": {"heads": 3}}, r"vit.width` \(=16\) must be divisible by 4 and by `reconstructor"),
        ({**DISC, "disc_vit": {"patch": 5}}, "divisible by 5, `reconstructor.disc_vit.patch`"),
    ],
)
def test_networks_that_cannot_be_are_refused(change, message):
    change = {**change, "vit": VIT | change.get("vit", {})}
    with pytest.raises(UserError, match=message):
        cyclegan.make(tiny(**change))


def batch_of(image):
    index = np.arange(len(image), dtype=np.int32)
    return Batch(image, index % 2, np.ones(len(image), bool), index)


def pairs(seed, count=8):
    """Waves of any phase, normal and abnormal in turn: the latter have a bright square."""
    rng = np.random.default_rng(seed)
    rows = np.arange(16)[None, :, None, None] / 2.5 + rng.uniform(0, 6, (count, 1, 1, 1))
    image = (0.5 * np.sin(rows) + np.zeros((1, 1, 16, 1))).astype(np.float32)
    for number in range(1, count, 2):
        y, x = rng.integers(0, 12, 2)
        image[number, y : y + 4, x : x + 4] = 1.0
    return image


@pytest.mark.slow
def test_the_transformers_learn_to_take_a_planted_defect_away():
    adam = {"name": "adam", "lr": 1e-3, "schedule": "constant"}
    config = tiny(
        network="vit", vit=VIT | {"width": 32, "features": 8}, identity_weight=2.0,
        disc_width=8, disc_layers=2, optimiser=adam, disc_optimiser=adam,
    )  # fmt: skip
    method = cyclegan.make(config)
    step = optimised(method.learn.train_step, donate_argnums=0)
    state, losses = start(method, SHAPE), []
    for n in range(500):
        state, metrics = step(state, batch_of(pairs(n)), jax.random.key(n))
        losses.append(float(metrics["loss"]))
        assert np.isfinite(losses[-1])
    assert np.mean(losses[-50:]) < 0.5 * np.mean(losses[:5])
    images = jnp.asarray(pairs(1_000, 40))
    view = compiled(method.view)(
        inference_state(state), images, jax.random.split(jax.random.key(0), 40)
    )
    assert auroc(np.arange(40) % 2, np.asarray(view.losses["residual"])) > 0.9
