"""The perceptual term: its value, its gradient, and where its weights are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.backbones import load_backbone
from ad_core.backbones.depthwise import native
from ad_core.errors import UserError
from ad_core.training.perceptual_loss import PerceptualSettings, make_perceptual_loss
from tests.baselines_ad import toy_backbone
from tests.quick import compiled

TOY = "tests.baselines_ad.toy_backbone:toy"


def make(backbone=TOY, dtype="float32", **settings):
    return make_perceptual_loss(PerceptualSettings(backbone, **settings), dtype=dtype)


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(0.8 * x + 0.2)


def by_numpy(backbone, levels, x, y):
    f, g = (backbone.stages(backbone.params, z, levels=levels) for z in (x, y))
    total = np.zeros(len(x))
    for level in f:
        a, b = (np.asarray(z[level], np.float64) for z in (f, g))
        a, b = (z / np.sqrt((z**2).sum(-1, keepdims=True) + 1e-10) for z in (a, b))
        total += ((a - b) ** 2).sum(-1).mean((1, 2))
    return total


@pytest.mark.parametrize("backbone, levels", [
    (TOY, ()),
    (TOY, ("stage5",)),
    ("efficientnet_lite0", ("stem", "stage2", "stage4")),
])  # fmt: skip
def test_the_value_is_the_distance_by_numpy(pair, backbone, levels):
    expected = by_numpy(load_backbone(backbone), levels, *pair)
    found = compiled(make(backbone, levels=levels).__call__)(*pair)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert found.dtype == jnp.float32


def test_the_gradient_is_the_slope_of_the_distance(pair):
    # Where all channels of the toy's stem are dead, its unit vectors jump.
    perceptual, (x, y) = make(levels=("stage3", "stage5")), pair
    gradient = jax.grad(lambda y: jnp.sum(perceptual(x, y)))(y)
    way = np.random.default_rng(1).normal(size=y.shape)
    ahead, behind = (y + sign * 1e-3 * way.astype(np.float32) for sign in (1, -1))
    slope = (perceptual(x, ahead) - perceptual(x, behind)).sum() / 2e-3
    np.testing.assert_allclose(np.sum(gradient * way), slope, rtol=1e-2)


def test_the_gradient_through_shifts_is_that_through_xlas_convolution(pair, monkeypatch):
    x, y = pair
    pull = lambda y: jnp.sum(make("efficientnet_lite0", levels=("stage3",))(x, y))  # noqa: E731
    found = compiled(jax.grad(pull))(y)
    monkeypatch.setattr("ad_core.backbones.depthwise.by_shifts", native)
    expected = compiled(jax.grad(lambda y: pull(y)))(y)
    assert float(jnp.abs(expected).max()) > 0
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(found, expected, atol=1e-3 * scale)


def test_images_that_are_alike_pull_nowhere(pair):
    x, _ = pair
    value, gradient = jax.value_and_grad(lambda y: jnp.sum(make()(x, y)))(x)
    assert float(value) == 0 and not np.asarray(gradient).any()


def test_bfloat16_stays_near_float32_and_sums_in_it(pair):
    found, exact = (compiled(make(dtype=d).__call__)(*pair) for d in ("bfloat16", "float32"))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, rtol=0.1)


def test_weights_are_read_once_even_within_a_trace_and_no_more_than_the_levels_need(pair):
    perceptual, before = make(levels=("stage3",)), len(toy_backbone.LOADED)
    for function in (lambda x: perceptual(x, x), lambda x: perceptual(x, -x)):
        jax.jit(function)(pair[0])
    assert len(toy_backbone.LOADED) == before + 1
    assert set(perceptual.backbone.params) == {"stem", "stage3"}
    assert not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(perceptual.backbone))


def test_what_cannot_be_is_refused_in_one_message():
    assert make("") is None
    with pytest.raises(UserError, match=r"`reconstructor.perceptual.weight` \(=-1.0\) must not"):
        make(weight=-1.0)
    with pytest.raises(UserError, match="Unknown backbone 'vgg.npz'"):
        make("vgg.npz").check()
    with pytest.raises(UserError, match="Unknown level 'stage9' of toy; known: stem, stage3"):
        make(levels=("stage9",)).check()
    with pytest.raises(UserError, match="no such file; write one"):
        make("vgg16:none.npz").check()
