import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.networks.discriminators import (
    NAMES,
    VitDiscriminator,
    discriminator_defaults,
    make_discriminator,
    read_discriminator,
)
from ad_core.networks.patchgan import PatchGAN
from ad_core.networks.vit_settings import VitSettings
from tests.quick import compiled, drawn_params

DATA = ConfigDict({"image_size": (16, 24), "channels": 1})
SHAPE = {"patch": 4, "width": 8, "depth": 1, "heads": 2}
VIT = VitSettings(**SHAPE)


def read(**changed):
    defaults = ConfigDict(discriminator_defaults(small=True, norm="group")).to_dict()
    return read_discriminator(defaults | changed, DATA)


def test_the_names_of_its_settings_are_those_of_its_defaults():
    assert set(NAMES) == set(discriminator_defaults(small=False, norm="none"))


def test_it_is_what_its_settings_name():
    patchgan = make_discriminator(read(disc_layers=2), jnp.bfloat16)
    assert patchgan == PatchGAN(16, 2, "group", jnp.bfloat16)
    transformer = make_discriminator(read(discriminator="vit", disc_vit=SHAPE), jnp.float32)
    assert transformer == VitDiscriminator(VIT, jnp.float32)


@pytest.mark.parametrize(
    "changed, message",
    [
        (
            {"discriminator": "resnet"},
            r"`reconstructor.discriminator` \(='resnet'\) must be one of",
        ),
        ({"disc_norm": "batch"}, "must be one of instance, group, none"),
        ({"disc_vit": SHAPE | {"heads": 0}}, "heads` .=0. must be at"),
        ({"discriminator": "vit", "disc_vit": SHAPE | {"patch": 16}}, "divisible by 16"),
    ],
)
def test_settings_that_cannot_work_are_refused(changed, message):
    with pytest.raises(UserError, match=message):
        read(**changed)


def test_each_patch_has_a_logit_that_saw_the_whole_image_and_no_other_image(key):
    module, image = VitDiscriminator(VIT), jax.random.normal(key, (3, 16, 24, 1))
    params = drawn_params(module, image)
    logits = compiled(module.apply)(params, image)
    assert logits.shape == (3, 4, 6) and logits.dtype == np.float32
    seen = compiled(jax.grad(lambda x: module.apply(params, x)[1, 3, 5]))(image)
    assert (np.asarray(seen[1]) != 0).all()
    assert not np.asarray(seen[jnp.array([0, 2])]).any()
