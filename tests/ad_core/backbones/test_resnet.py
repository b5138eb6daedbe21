"""ResNet-18 and Wide-ResNet-50-2 against the same networks in PyTorch, and VGG-16 beside them.

tests/golden/resnet_torch.npz: PyTorch 2.13.0 (CPU, float64, batch norms not folded) by
`python benchmarks/torch_resnet.py --golden=FILE --saved=FILE`: names and shapes of the weights,
which are drawn again here with seed 0, and of every level the shape, mean, deviation and 48 values
for images drawn with height + width as seed.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from ad_core.backbones import load_backbone, network_of, resnet, with_weights
from tests.quick import compiled

GOLDEN = Path(__file__).parents[2] / "golden" / "resnet_torch.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def draw_weights(golden, name):
    """As torch_resnet.py drew them."""
    rng, drawn = np.random.default_rng(0), {}
    for key, padded in zip(golden[f"{name}/names"], golden[f"{name}/shapes"], strict=True):
        shape = tuple(padded[padded > 0])
        x = rng.standard_normal(shape, np.float32)
        if len(shape) == 4:
            x *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        elif key.endswith((".weight", "running_var")):
            x = 1 + np.float32(0.3) * np.tanh(x)
        else:
            x *= np.float32(0.1)
        drawn[str(key)] = x
    return drawn


@pytest.fixture(scope="module")
def weights(golden):
    return draw_weights(golden, "resnet18")


@pytest.fixture(scope="module")
def backbone(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet18.npz"
    np.savez(path, **weights)
    return load_backbone(f"resnet18:{path}")


def draw_image(height, width, channels):
    rng = np.random.default_rng(height + width)
    return rng.uniform(-1, 1, (1, height, width, channels)).astype(np.float32)


@functools.partial(compiled, static_argnames=("levels", "dtype"))
def run(backbone, image, levels=(), dtype=jnp.float32):
    return backbone.stages(backbone.params, image, levels=levels, dtype=dtype)


def assert_golden(golden, backbone, size):
    found = run(backbone, draw_image(*size))
    assert set(found) == set(backbone.strides)
    for level, x in found.items():
        key = f"{backbone.name}/{'x'.join(map(str, size))}/{level}"
        assert x.shape == tuple(golden[f"{key}/shape"])
        mean, std = golden[f"{key}/moments"]
        expected = golden[f"{key}/sample"]
        np.testing.assert_allclose([x.mean(), x.std()], [mean, std], atol=1e-4 * std)
        places = np.linspace(0, x.size - 1, len(expected)).astype(int)
        # float32 through up to 53 convolutions against float64.
        np.testing.assert_allclose(x.reshape(-1)[places], expected, atol=1e-4 * std)


@pytest.mark.parametrize("size", [(64, 96, 3), (75, 97, 3), (64, 64, 1)])
def test_every_level_of_resnet18_equals_pytorchs(golden, backbone, size):
    assert_golden(golden, backbone, size)


def test_every_level_of_the_wide_network_equals_pytorchs(golden):
    name = "wide_resnet50_2"
    params = resnet.convert(name, draw_weights(golden, name))
    assert_golden(golden, with_weights(network_of(name), params), (64, 64, 3))


def test_every_level_of_vgg16_equals_pytorchs(golden, tmp_path):
    np.savez(tmp_path / "vgg16.npz", **draw_weights(golden, "vgg16"))
    assert_golden(golden, load_backbone(f"vgg16:{tmp_path / 'vgg16.npz'}"), (48, 32, 1))


def test_bfloat16_stays_near_float32(backbone):
    image = draw_image(64, 96, 3)
    exact, near = run(backbone, image), run(backbone, image, dtype=jnp.bfloat16)
    for level, x in near.items():
        assert x.dtype == jnp.bfloat16
        error = jnp.linalg.norm((x.astype(jnp.float32) - exact[level]).ravel())
        # Half a unit of eight bits (0.2 to 0.4 %) at each of some 20 roundings.
        assert 0 < error < 0.05 * jnp.linalg.norm(exact[level].ravel()), level


def test_grey_is_three_equal_channels(backbone):
    grey = draw_image(32, 32, 1)
    once, thrice = run(backbone, grey), run(backbone, np.repeat(grey, 3, axis=-1))
    for level in once:
        np.testing.assert_array_equal(once[level], thrice[level])


@pytest.mark.parametrize("name, count", [("resnet18", 20), ("wide_resnet50_2", 53)])
def test_strides_are_those_of_the_activations_also_of_odd_images(name, count):
    """Torchvision has so many convolutions, and rounds halves up."""
    places = list(resnet.places(name))
    assert len(places) == count
    shapes = {f"{p.ours}/kernel": p.shape for p in places}
    params = {k: jax.ShapeDtypeStruct((*s[2:], s[1], s[0]), np.float32) for k, s in shapes.items()}
    params |= {f"{p.ours}/bias": jax.ShapeDtypeStruct(p.shape[:1], np.float32) for p in places}
    network, params = network_of(name), unflatten_dict(params, sep="/")
    image = jax.ShapeDtypeStruct((1, 97, 64, 1), np.float32)
    found = jax.eval_shape(network.stages, params, image)
    assert list(network.strides) == ["stem", "layer1", "layer2", "layer3", "layer4"]
    for level, stride in network.strides.items():
        assert found[level].shape[1:3] == (-(-97 // stride), 64 // stride)
    widths = [found[f"layer{n}"].shape[3] for n in range(1, 5)]
    assert widths == [64 * (4 if count == 53 else 1) * 2**n for n in range(4)]
