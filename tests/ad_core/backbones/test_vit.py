"""DINOv2's vision transformers against the same networks in PyTorch.

tests/golden/vit_torch.npz: PyTorch 2.13.0 (CPU, float64) by
`python benchmarks/torch_vit.py --golden=FILE`: names and shapes of the weights, which are drawn
again here with seed 0, and of every level the shape, mean, deviation and 48 values for images
drawn with height + width as seed.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ad_core.backbones import load_backbone, network_of, vit, with_weights
from ad_core.errors import UserError
from baselines_ad.upper_stages import make_upper
from tests.quick import compiled

GOLDEN = Path(__file__).parents[2] / "golden" / "vit_torch.npz"
SMALL, BASE = "dinov2_vits14", "dinov2_vitb14"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def draw_weights(golden, name):
    """As torch_vit.py drew them."""
    rng, drawn = np.random.default_rng(0), {}
    for key, padded in zip(golden[f"{name}/names"], golden[f"{name}/shapes"], strict=True):
        shape = tuple(padded[padded > 0])
        x = rng.standard_normal(shape, np.float32)
        if key in ("cls_token", "pos_embed"):
            x *= np.float32(0.5)
        elif len(shape) > 1:
            x *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        elif key.endswith(("norm.weight", "norm1.weight", "norm2.weight", "gamma")):
            x = 1 + np.float32(0.3) * np.tanh(x)
        else:
            x *= np.float32(0.1)
        drawn[str(key)] = x
    return drawn


@pytest.fixture(scope="module")
def weights(golden):
    return draw_weights(golden, SMALL)


@pytest.fixture(scope="module")
def backbone(weights):
    return with_weights(network_of(SMALL), vit.convert(SMALL, weights))


def draw_image(height, width, channels):
    rng = np.random.default_rng(height + width)
    return rng.uniform(-1, 1, (1, height, width, channels)).astype(np.float32)


@compiled
def run(backbone, image):
    return backbone.stages(backbone.params, image)


@compiled
def run_bfloat16(backbone, image):
    return backbone.stages(backbone.params, image, dtype=jnp.bfloat16)


def assert_golden(golden, backbone, size):
    found = run(backbone, draw_image(*size))
    assert set(found) == set(backbone.strides) == {"block3", "block6", "block9", "block12"}
    for level, x in found.items():
        key = f"{backbone.name}/{'x'.join(map(str, size))}/{level}"
        assert x.shape == tuple(golden[f"{key}/shape"])
        mean, std = golden[f"{key}/moments"]
        expected = golden[f"{key}/sample"]
        np.testing.assert_allclose([x.mean(), x.std()], [mean, std], atol=1e-4 * std)
        places = np.linspace(0, x.size - 1, len(expected)).astype(int)
        # float32 through twelve blocks against float64.
        np.testing.assert_allclose(x.reshape(-1)[places], expected, atol=2e-4 * std)


@pytest.mark.parametrize("size", [(56, 84, 3), (61, 90, 1)])
def test_every_level_equals_pytorchs_also_of_an_image_of_broken_patches(golden, backbone, size):
    assert_golden(golden, backbone, size)


@pytest.mark.slow
def test_every_level_of_the_base_network_equals_pytorchs(golden):
    params = vit.convert(BASE, draw_weights(golden, BASE))
    assert_golden(golden, with_weights(network_of(BASE), params), (28, 42, 3))


@pytest.mark.parametrize("name", [SMALL, BASE])
def test_the_arrays_of_a_file_are_those_of_pytorch(golden, name):
    pairs = zip(golden[f"{name}/names"], golden[f"{name}/shapes"], strict=True)
    assert vit.shapes(name) == {str(key): tuple(shape[shape > 0]) for key, shape in pairs}


@pytest.mark.slow
def test_bfloat16_stays_near_float32(backbone):
    image = draw_image(56, 84, 3)
    exact, near = run(backbone, image), run_bfloat16(backbone, image)
    for level, x in near.items():
        assert x.dtype == jnp.bfloat16
        error = jnp.linalg.norm((x.astype(jnp.float32) - exact[level]).ravel())
        # Half a unit of eight bits (0.2 to 0.4 %) at each of some 100 roundings.
        assert 0 < error < 0.05 * jnp.linalg.norm(exact[level].ravel()), level


def test_a_level_shows_patches_and_carries_the_class_token(backbone):
    image = jax.ShapeDtypeStruct((2, 56, 84, 3), np.float32)
    shown, whole = (
        jax.eval_shape(lambda x, w=w: backbone.stages(backbone.params, x, whole=w), image)
        for w in (False, True)
    )
    assert {x.shape for x in shown.values()} == {(2, 4, 6, 384)}
    assert {x.shape for x in whole.values()} == {(2, 4, 6, 768)}
    tokens = jnp.arange(7.0 * 4).reshape(1, 7, 4)
    again, sides = vit._unpack(vit._pack(tokens, 2, 3), 4)
    np.testing.assert_array_equal(again, tokens)
    assert sides == (2, 3)


def test_upper_blocks_are_tuned_from_the_class_token_too(backbone):
    settings = {"backbone": SMALL, "tuned_from": "block12"}
    config = ConfigDict({"reconstructor": settings, "train": {"dtype": "float32"}})
    frozen, upper = make_upper(config)
    image = jax.ShapeDtypeStruct((2, 28, 28, 1), np.float32)
    below = jax.eval_shape(lambda x: frozen.maps(backbone.params, x), image)
    assert below["block9"].shape == (2, 2, 2, 768)
    fixed, tuned = upper.split(backbone.params)
    found = jax.eval_shape(lambda x: upper.features(fixed, tuned, x), below["block9"])
    assert found.shape == (2, 384)


def saved(path, arrays):
    np.savez(path, **arrays)
    return f"{SMALL}:{path}"


def test_a_file_with_the_head_of_pretraining_is_taken_and_one_of_another_network_refused(
    weights, backbone, tmp_path
):
    beside = weights | {"mask_token": np.zeros((1, 384), np.float32)}
    assert load_backbone(saved(tmp_path / "whole.npz", beside)).sha256 == backbone.sha256
    registers = weights | {"register_tokens": np.zeros((1, 4, 384), np.float32)}
    with pytest.raises(UserError, match="register_tokens too, so it is of another.*torch.hub.load"):
        load_backbone(saved(tmp_path / "registers.npz", registers))
    with pytest.raises(UserError, match=r"cls_token has the shape \(1, 1, 384\), not \(1, 1, 768"):
        load_backbone(saved(tmp_path / "small.npz", weights).replace(SMALL, BASE))
