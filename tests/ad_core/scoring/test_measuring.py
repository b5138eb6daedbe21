import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.scoring.localisation import Localiser
from ad_core.scoring.measuring import Measuring, make_measurer
from ad_core.statistics import WindowSettings
from ad_core.types import Method, TrainState, View

SIDE = 16
STATE = TrainState(jnp.zeros((), jnp.int32), {"w": jnp.zeros(())}, (), {})
NAMES = ("residual_abs_mean", "residual_abs_max", "mse", "ssim")


def measurer(view):
    method = Method(learn=None, view=view)
    return make_measurer([measuring(method)], batch_size=8)


def measuring(method, state=STATE):
    windows = WindowSettings(blocks=16, smallest=1)
    return Measuring(method, (state, None), NAMES, windows, Localiser(None, 1.0))


def letterboxed(content, seed):
    """Eight images whose content is mirrored around it."""
    left, top, right, bottom = content
    rng = np.random.default_rng(seed)
    inner = rng.uniform(-1, 1, (8, bottom - top, right - left, 1)).astype(np.float32)
    beyond = ((0, 0), (top, SIDE - bottom), (left, SIDE - right), (0, 0))
    return np.pad(inner, beyond, mode="symmetric")


@pytest.mark.parametrize("content", [(0, 4, 16, 12), (5, 0, 11, 16), (0, 0, 16, 16)])
def test_what_is_drawn_beyond_the_content_raises_nothing(content):
    left, top, right, bottom = content
    inside = np.zeros((SIDE, SIDE, 1), bool)
    inside[top:bottom, left:right] = True

    def sound(state, image, keys):
        return View(0.5 * image, {}, {})

    def wild(state, image, keys):
        return View(jnp.where(inside, 0.5 * image, 7.0), {}, {})

    image = letterboxed(content, 0)
    boxes = np.tile(np.array(content, np.int32), (8, 1))
    expected = measurer(sound).measure(image, None)
    found = measurer(wild).measure(image, boxes)
    for name in found._fields:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-6)
    drawn = measurer(wild).view(image, boxes)
    np.testing.assert_allclose(drawn.image, 0.5 * image, atol=1e-6)
    inner = expected.statistics[:, 1]
    np.testing.assert_allclose(inner, 0.5 * np.abs(image[:, top:bottom, left:right]).max((1, 2, 3)))


def scaled(factor):
    """A state that draws the image `factor` times as bright."""
    return TrainState(jnp.zeros((), jnp.int32), {"w": jnp.float32(factor)}, (), {})


def test_other_knowledge_measures_as_a_measurer_made_of_it_and_compiles_nothing():
    def view(state, image, keys):
        return View(state.params["w"] * image, {}, {})

    image = letterboxed((0, 0, 16, 16), 1)
    made = measurer(view)
    method = Method(learn=None, view=view)
    pair = make_measurer([measuring(method), measuring(method)], batch_size=8)
    pair.measure(image, None)
    before = pair.compilations()
    for own in ([(scaled(0.5), None), None], [None, (scaled(0.25), None)]):
        found = pair.relearnt(own).measure(image, None)
        alone = [
            made.relearnt([one]).measure(image, None).statistics
            if one
            else made.measure(image, None).statistics
            for one in own
        ]
        np.testing.assert_allclose(found.statistics, np.concatenate(alone, axis=1), rtol=1e-6)
    mean = np.abs(image).mean(axis=(1, 2, 3))
    half = made.relearnt([(scaled(0.5), None)]).measure(image, None).statistics[:, 0]
    np.testing.assert_allclose(half, 0.5 * mean, rtol=1e-5)
    assert before == 1 and pair.compilations() == 1
