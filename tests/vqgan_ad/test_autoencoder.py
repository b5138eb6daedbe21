"""A trained VQGAN as encoder and decoder of latents."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ad_core.backbones import load_backbone, network_of, portable, taught
from ad_core.errors import UserError
from ad_core.runtime.config import complete
from ad_core.runtime.keys import image_keys
from ad_core.scoring.files import load_method
from ad_core.types import inference_state
from diffusion_ad import latent
from tests.quick import compiled, drawn
from tests.saved_detector import save_detector_of
from vqgan_ad import vqgan

IMAGE = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 1)).astype(np.float32)
SMALL = {"width": 4, "multipliers": (1, 2), "latent": 5, "codes": 8, "disc_width": 4}


def config_of(**reconstructor):
    recipe = {"method": "vqgan_ad.vqgan", "size": "cpu"}
    own = {**SMALL, "disc_layers": 1, **reconstructor}
    return complete(ConfigDict(recipe | {"reconstructor": own, "data": {"image_size": 16}}))


VIT = {"network": "vit", "vit": {"patch": 2, "width": 8, "depth": 1, "heads": 2, "features": 4}}


@pytest.fixture(scope="module", params=[{}, {"unit_codes": True, **VIT}], ids=["cnn", "vit"])
def trained(request, tmp_path_factory):
    """The specification of the autoencoder of a detector, its configuration and its state."""
    config = config_of(**request.param)
    state = drawn(vqgan.make(config), (16, 16, 1))
    folder = tmp_path_factory.mktemp("vqgan") / "detector"
    save_detector_of(folder, config, state)
    return f"vqgan_ad.autoencoder:{folder}", config, inference_state(state)


def test_encoding_and_decoding_is_what_the_vqgan_draws(trained):
    spec, config, state = trained
    found = load_backbone(spec)
    image = jnp.asarray(IMAGE)
    expected = compiled(vqgan.make(config).view)(state, image, image_keys(image))

    def there_and_back(params, image):
        inner = found.network.stages(params, image)["latent"]
        return inner, found.network.decode(params, inner, "float32")

    inner, drawn_again = compiled(there_and_back)(found.params, image)
    assert inner.shape == (2, 8, 8, 5) and found.strides == {"latent": 2}
    drawn_again = np.clip(drawn_again, -1, 1)
    np.testing.assert_allclose(drawn_again, expected.image, rtol=1e-4, atol=1e-4)
    assert taught(spec) == config


def test_its_name_alone_makes_the_network_again(trained):
    spec, _, _ = trained
    network = network_of(spec)
    assert network_of(portable(spec)) is network and "detector" not in portable(spec)
    assert '"multipliers":[1,2]' in network.name and '"width":4' in network.name


def test_a_detector_of_latent_diffusion_needs_the_vqgan_no_more(trained, tmp_path):
    spec, _, _ = trained
    folder = tmp_path / "moved"
    shutil.copytree(spec.partition(":")[2], folder)
    section = {
        "autoencoder": {"backbone": f"vqgan_ad.autoencoder:{folder}"},
        "unet": {"width": 4, "multipliers": (1,), "attention": ()},
        "draws": 1,
        "steps": 1,
    }
    recipe = {"method": "diffusion_ad.latent", "size": "cpu", "data": {"image_size": 16}}
    config = complete(ConfigDict(recipe | {"reconstructor": section}))
    method, image = latent.make(config), jnp.asarray(IMAGE)
    state = inference_state(drawn(method, (16, 16, 1)))
    state.params["autoencoder"] = load_backbone(spec).params
    before = compiled(method.view)(state, image, image_keys(image))
    save_detector_of(tmp_path / "own", config, state, name="latent")
    shutil.rmtree(folder)
    again, kept = load_method(tmp_path / "own")
    after = compiled(again.view)(kept, image, image_keys(image))
    jax.tree.map(np.testing.assert_array_equal, after, before)


def test_what_is_no_trained_vqgan_is_refused(tmp_path):
    with pytest.raises(UserError, match="no detector there"):
        load_backbone(f"vqgan_ad.autoencoder:{tmp_path}")
    with pytest.raises(UserError, match="no detector there"):
        network_of("vqgan_ad.autoencoder:w4_m1x2")
