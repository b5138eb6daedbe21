"""The encoder of a trained VQGAN as a backbone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from ad_core.backbones import load_backbone, network_of, portable
from ad_core.errors import UserError
from ad_core.runtime.config import complete
from ad_core.runtime.registry import known_modules
from ad_core.types import inference_state
from tests.quick import compiled, drawn
from tests.saved_detector import save_detector_of
from vqgan_ad import vqgan
from vqgan_ad.model import make_model
from vqgan_ad.settings import make_settings

IMAGE = np.random.default_rng(0).uniform(-1, 1, (2, 32, 40, 1)).astype(np.float32)


def config_of(**reconstructor):
    small = {"width": 4, "multipliers": (1, 2, 2), "latent": 5, "codes": 8, "disc_width": 4}
    small |= {"disc_layers": 1, **reconstructor}
    recipe = {"method": "vqgan_ad.vqgan", "size": "cpu", "reconstructor": small}
    return complete(ConfigDict(recipe | {"data": {"image_size": 32}}))


@pytest.fixture(scope="module", params=[(), (1, 2)], ids=["plain", "attention"])
def trained(request, tmp_path_factory):
    """The folder of a detector, its configuration and the parameters of its generator."""
    config = config_of(attention=request.param, blocks=2)
    state = drawn(vqgan.make(config), (32, 32, 1))
    folder = tmp_path_factory.mktemp("vqgan") / "detector"
    save_detector_of(folder, config, state)
    return folder, config, inference_state(state).params["generator"]


def test_the_last_level_is_the_latent_and_no_weight_is_left_behind(trained):
    folder, config, generator = trained
    backbone = load_backbone(f"vqgan:{folder}")
    found = compiled(lambda b, x: b.stages(b.params, x))(backbone, IMAGE)
    expected = compiled(make_model(make_settings(config), 1).encode)(generator, IMAGE)
    np.testing.assert_allclose(found["latent"], expected, rtol=1e-5, atol=1e-5)
    assert backbone.strides == {"stage1": 1, "stage2": 2, "stage3": 4, "latent": 4}
    assert {n: x.shape[1:] for n, x in found.items()} == {
        "stage1": (32, 40, 4),
        "stage2": (16, 20, 8),
        "stage3": (8, 10, 8),
        "latent": (8, 10, 5),
    }
    ours = [x.shape for level in backbone.params.values() for x in flatten_dict(level).values()]
    theirs = [x.shape for x in flatten_dict(generator["encoder"]).values()]
    assert sorted(ours) == sorted(theirs)
    assert backbone.facts["origin"].startswith(f"the encoder of the VQGAN in {folder}")


def test_its_name_alone_makes_the_network_again(trained):
    folder, config, _ = trained
    network = network_of(f"vqgan:{folder}")
    attention = "x".join(map(str, config.reconstructor.attention))
    assert network.name == f"vqgan_w4_m1x2x2_b2_a{attention}_l5_c1"
    assert portable(f"vqgan:{folder}") == f"vqgan_ad.backbone:{network.name}"
    assert network_of(portable(f"vqgan:{folder}")) == network


def test_colour_is_averaged_for_an_encoder_of_grey_images(trained):
    backbone = load_backbone(f"vqgan:{trained[0]}")
    colour = np.random.default_rng(1).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    look = jax.jit(lambda x: backbone.stages(backbone.params, x, levels=("stage1",))["stage1"])
    grey = look(colour.mean(axis=-1, keepdims=True))
    np.testing.assert_allclose(look(colour), grey, rtol=1e-5, atol=1e-5)


def test_bfloat16_stays_near_float32(trained):
    backbone = load_backbone(f"vqgan:{trained[0]}")
    exact, near = (
        compiled(lambda b, x, dtype=dtype: b.stages(b.params, x, dtype=dtype))(backbone, IMAGE)
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    for level, x in near.items():
        assert x.dtype == jnp.bfloat16
        error = jnp.linalg.norm((x.astype(jnp.float32) - exact[level]).ravel())
        assert 0 < error < 0.05 * jnp.linalg.norm(exact[level].ravel()), level


def test_what_is_no_trained_vqgan_is_refused(trained, tmp_path):
    assert "vqgan_ad.backbone" in known_modules("load")
    with pytest.raises(UserError, match="name the folder of its detector, vqgan:DETECTOR"):
        load_backbone("vqgan")
    with pytest.raises(UserError, match="no detector there"):
        network_of(f"vqgan:{tmp_path}")
    with pytest.raises(UserError, match="Unknown encoder 'vqgan_w4'; name one by vqgan:DETECTOR"):
        network_of("vqgan_ad.backbone:vqgan_w4")
