import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from ad_core.backbones import load_backbone, normalising, perceptual, vgg16
from ad_core.errors import UserError

VGG = vgg16.network()


@pytest.fixture(scope="module")
def weights():
    """Arrays of VGG-16's form with few channels: the code takes the widths from them."""
    rng = np.random.default_rng(0)
    arrays, inside = {}, 3
    for block, numbers in enumerate(vgg16.BLOCKS):
        for n in numbers:
            width = 2 + block
            arrays[f"features.{n}.weight"] = rng.normal(0, 0.4, (width, inside, 3, 3))
            arrays[f"features.{n}.bias"] = rng.normal(0, 0.1, width)
            inside = width
    return {name: x.astype(np.float32) for name, x in arrays.items()}


def by_scipy(weights, image):
    """The features of one image [h, w, 1] by SciPy's correlation, channel by channel."""
    x = 0.5 * (np.repeat(image, 3, axis=-1) + 1)
    x = ((x - normalising.MEAN) / normalising.STD).transpose(2, 0, 1)
    out = []
    for block, numbers in enumerate(vgg16.BLOCKS):
        if block:
            c, h, w = x.shape
            x = x.reshape(c, h // 2, 2, w // 2, 2).max(axis=(2, 4))
        for n in numbers:
            kernel, bias = weights[f"features.{n}.weight"], weights[f"features.{n}.bias"]
            x = np.stack(
                [
                    sum(correlate2d(x[i], k[i], mode="same") for i in range(len(x))) + b
                    for k, b in zip(kernel, bias, strict=True)
                ]
            ).clip(0)
        out.append(x)
    return out


def test_distance_equals_scipys(weights):
    rng = np.random.default_rng(1)
    a, b = jnp.asarray(rng.uniform(-1, 1, (2, 1, 32, 32, 1)), jnp.float32)
    arrays = {name: jnp.asarray(x) for name, x in weights.items()}
    expected = 0.0
    theirs = [by_scipy(weights, np.asarray(image[0])) for image in (a, b)]
    for f, g in zip(*theirs, strict=True):
        f, g = (v / np.sqrt((v**2).sum(0) + 1e-10) for v in (f, g))
        expected += ((f - g) ** 2).sum(0).mean()
    np.testing.assert_allclose(perceptual.distance(VGG, arrays, a, b)[0], expected, rtol=1e-4)
    assert float(perceptual.distance(VGG, arrays, a, a)[0]) == 0.0


def test_weights_come_from_a_file_and_nowhere_else(weights, tmp_path):
    np.savez(tmp_path / "vgg.npz", **weights)
    image = jnp.zeros((1, 32, 32, 3))
    read = load_backbone(f"vgg16:{tmp_path}/vgg.npz")
    for name, x in weights.items():
        np.testing.assert_array_equal(read.params[name], x)
    assert perceptual.distance(VGG, read.params, image, image + 0.5).shape == (1,)
    np.savez(tmp_path / "part.npz", **{k: v for k, v in weights.items() if "28" not in k})
    with pytest.raises(UserError, match=r"lacks features.28.weight"):
        load_backbone(f"vgg16:{tmp_path / 'part.npz'}")
    with pytest.raises(UserError, match="no such file"):
        load_backbone(f"vgg16:{tmp_path / 'none.npz'}")
