"""What every method keeps to: those of the packages *_ad and the toys, a new one by itself too.

A method's numbers belong to the image alone: compiled or not, whatever lies beside it in the
batch, whether learning was cut short, and whether it was saved in between.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ad_core.data.shape import image_shape
from ad_core.runtime.config import complete
from ad_core.runtime.keys import image_keys
from ad_core.runtime.registry import known_modules, resolve
from ad_core.runtime.stop import Stop, Stopped
from ad_core.scoring.files import _read_part, _write_part
from ad_core.scoring.localisation import Localiser
from ad_core.scoring.part import Part
from ad_core.scoring.tiling import TILES, make_method, seen_size
from ad_core.statistics import Context
from ad_core.training import loop, one_pass
from ad_core.types import Batch, OnePass, Steps, inference_state

TOYS = sorted(path.stem for path in (Path(__file__).parent / "toys").glob("[a-z]*.py"))
METHODS = [*known_modules("make"), *(f"tests.toys.{name}" for name in TOYS)]
# By the name of a setting, in whichever method has it; others keep their defaults for a CPU.
TINY = {
    "width": 4, "multipliers": (1,), "blocks": 1, "latent": 4, "codes": 8, "kmeans_at": 1,
    "disc_width": 4, "disc_layers": 1, "pool": 4, "least_images": 5, "steps": 2,
    "unet": {"width": 4, "multipliers": (1,), "attention": ()}, "draws": 1,
    "noise_levels": (20, 300),
    "autoencoder": {"backbone": "tests.diffusion_ad.toy_autoencoder:toy"},
}  # fmt: skip
# A memory of any backbone keeps to the same; fine_tuned needs one whose last stages it can train.
TOY_BACKBONE = {"backbone": "tests.baselines_ad.toy_backbone:toy"}
ITS_OWN_BACKBONE = ("baselines_ad.fine_tuned",)
TOYS_LEVELS = {"baselines_ad.multiple_instance": {"levels": ("stage3", "stage5")}}
SMALL_VIT = {"patch": 8, "width": 8, "depth": 1, "heads": 2}
DISC_VIT = {"discriminator": "vit", "disc_vit": SMALL_VIT}
# Forms of a method beside that of its defaults: METHOD:FORM -> settings.
FORMS = {
    "vqgan_ad.vqgan:vit": {"network": "vit", "vit": SMALL_VIT | {"features": 2}, **DISC_VIT},
    "vqgan_ad.vqgan:hybrid": {
        "network": "hybrid",
        "vit": SMALL_VIT | {"features": 2},
        "multipliers": (1, 1),
    },
    "cyclegan_ad.cyclegan:vit": {"network": "vit", "vit": SMALL_VIT | {"features": 2}, **DISC_VIT},
}
# The same methods on tiles of an image: METHOD:FORM.
TILED = ("tests.toys.flat:tiles", "tests.toys.noisy:tiles", "vqgan_ad.vqgan:tiles")
TILING = {"tile": 16, "overlap": 4, "batch": 5, "scales": (1, 2)}
# What pixel diffusion shows already is shown of the latent one where time does not matter.
SLOW = ("diffusion_ad.latent", *FORMS, "vqgan_ad.vqgan:tiles")
BATCH, STEPS, IMAGES = 8, 2, 12
ONE = jax.devices()[:1]
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # float32 sums of another order, over a few layers


EVERY_FORM = (*METHODS, *FORMS, *TILED)
# Uncompiled, each operation of a network is a program to compile: that takes long.
PLAIN_SLOW = tuple(
    form
    for form in EVERY_FORM
    if not form.startswith(("tests.toys.", "vqgan_ad.vqgan", "baselines_ad.padim"))
)


# Of the project's methods the oldest Python runs one of each way to learn.
OLDEST = ("vqgan_ad.vqgan", "cyclegan_ad.cyclegan", "baselines_ad.padim", "baselines_ad.features")


def _params(slow):
    def marks(form):
        newest = not form.startswith("tests.toys.") and form not in OLDEST
        return [pytest.mark.slow] * (form in slow) + [pytest.mark.newest] * newest

    return [pytest.param(form, marks=marks(form)) for form in EVERY_FORM]


def config_of(param):
    name = param.partition(":")[0]
    settings = resolve(name).defaults("cpu")
    small = TINY if name in ITS_OWN_BACKBONE else TINY | TOY_BACKBONE
    tiny = {key: small[key] for key in small if key in settings}
    return complete(
        ConfigDict(
            {
                "method": name,
                "size": "cpu",
                "data": {"image_size": 32},
                "train": {"steps": STEPS, "batch_size": BATCH, "checkpoint_every": 1},
                "reconstructor": tiny | FORMS.get(param, {}) | TOYS_LEVELS.get(name, {}),
                "tiling": TILING if param in TILED else {},
            }
        )
    )


def taught_shape(config):
    """Shape of what a method that learns step by step is given: an image, or a crop of it."""
    return *seen_size(config), config.data.channels


def draw(seed, count, shape):
    """Smooth stripes with noise: no two images are alike."""
    rng = np.random.default_rng(seed)
    rows = np.arange(shape[0])[None, :, None, None] / 5 + rng.uniform(0, 6, (count, 1, 1, 1))
    noise = rng.uniform(-0.3, 0.3, (count, *shape))
    return (0.6 * np.sin(rows) + noise).clip(-1, 1).astype(np.float32)


def batch_of(images, *, size, abnormal=False, padding=0.0):
    """`images` as one batch; rows beyond them hold `padding`. Pairs if `abnormal`."""
    count = len(images)
    filled = np.full((size, *images.shape[1:]), padding, np.float32)
    filled[:count] = images
    places = np.arange(size)
    label = (places % 2 if abnormal else 0 * places).astype(np.int32)
    index = np.where(places < count, places, -1).astype(np.int32)
    return Batch(filled, label, places < count, index)


class Images:
    """Endless batches for learning step by step; the number of the next is the position."""

    def __init__(self, shape, abnormal):
        self.shape, self.abnormal, self.number = shape, abnormal, 0

    def __next__(self):
        self.number += 1
        images = draw(self.number, BATCH, self.shape)
        return batch_of(images, size=BATCH, abnormal=self.abnormal)

    def get_state(self):
        return {"number": self.number}

    def set_state(self, state):
        self.number = state["number"]


class AfterOneStep(Stop):
    def __bool__(self):
        self.signal = 15
        return True


class Learnt(NamedTuple):
    """A method that has learnt a little, and a view of four images of it."""

    method: object
    config: ConfigDict
    state: object
    trained: object
    images: np.ndarray
    view: object


@functools.cache
def compiled(method):
    return jax.jit(lambda state, image: method.view(state, image, image_keys(image)))


def look(learnt, images, state=None):
    """The compiled view of a batch of BATCH rows, as arrays of the host."""
    images = jnp.asarray(images)
    return jax.device_get(compiled(learnt.method)(state or learnt.state, images))


def batches(images, method, *, size, padding):
    """Of a method that learns from both classes every second image is abnormal."""
    found = []
    for start in range(0, len(images), size):
        batch = batch_of(images[start : start + size], size=size, padding=padding)
        label = (start + np.arange(size, dtype=np.int32)) % 2
        found.append(batch._replace(label=label) if method.learns_from_calibration else batch)
    return found


@pytest.fixture(scope="module", params=_params(SLOW))
def learnt(request, tmp_path_factory):
    config = config_of(request.param)
    method, shape = make_method(config), image_shape(config.data)
    workdir = tmp_path_factory.mktemp("learnt")
    if isinstance(method.learn, OnePass):
        given = batches(draw(0, IMAGES, shape), method, size=BATCH, padding=0.0)
        trained = one_pass.fit(method.learn, given, seed=0, workdir=workdir)
    else:
        images = Images(taught_shape(config), method.trains_on_abnormal)
        trained = loop.train(method, config, images, workdir=workdir, devices=ONE)
        trained = jax.device_get(trained)
    state = jax.tree.map(jnp.asarray, inference_state(trained))
    images = draw(9, BATCH, shape)
    found = Learnt(method, config, state, trained, images, None)
    return found._replace(view=look(found, images))


def rows(view, chosen):
    return jax.tree.map(lambda x: np.asarray(x)[chosen], view)


def assert_close(got, wanted, **tolerance):
    same = functools.partial(np.testing.assert_allclose, **(tolerance or CLOSE))
    jax.tree.map(same, got, wanted)


def raw(tree):
    """Bits of a tree, keys among its leaves included."""

    def bits(x):
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x).tobytes()

    return [bits(x) for x in jax.tree.leaves(tree)]


def test_every_family_and_every_toy_is_looked_at():
    assert {*OLDEST, "tests.toys.flat"} <= set(METHODS)
    assert isinstance(resolve("tests.toys.flat").make(config_of("tests.toys.flat")).learn, OnePass)


def test_a_view_holds_what_the_method_states(learnt):
    method, view = learnt.method, learnt.view
    assert not method.losses or set(method.losses) == set(view.losses)
    # What each tile lost shows which was the worst, and is no statistic of its own.
    maps = {name for name in view.maps if not name.endswith(TILES)}
    assert not method.maps or set(method.maps) == maps
    draws = bool(view.maps) or view.image is not None
    assert Localiser(None, 0.0).fits(view) == draws  # there is something to show
    assert draws or view.losses
    assert not view.anomaly or view.anomaly in view.maps
    for array in jax.tree.leaves(view):
        assert array.dtype == np.float32 and np.isfinite(array).all()
    assert all(x.shape == (BATCH,) for x in view.losses.values())
    assert all(x.ndim == 3 and len(x) == BATCH for x in view.maps.values())
    if view.image is not None:
        assert view.image.shape == learnt.images.shape
        assert np.abs(view.image).max() <= 1.0


def test_a_view_tells_images_apart(learnt):
    """Else what follows would prove nothing."""
    values = [x.reshape(BATCH, -1) for x in jax.tree.leaves(learnt.view)]
    assert (np.ptp(np.concatenate(values, axis=1), axis=0) > 1e-6).any()


@pytest.mark.parametrize("learnt", _params({*SLOW, *PLAIN_SLOW}), indirect=True)
def test_a_compiled_view_equals_a_plain_one(learnt):
    image = jnp.asarray(learnt.images)
    plain = learnt.method.view(learnt.state, image, image_keys(image))
    # Means of single channels, near 0 among values of 10, behind all layers of a backbone.
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if learnt.view.features else CLOSE
    assert_close(jax.device_get(plain), learnt.view, **tolerance)


def test_place_and_padding_change_no_view(learnt):
    turned = look(learnt, learnt.images[::-1])
    assert_close(rows(turned, slice(None, None, -1)), learnt.view)
    padded = learnt.images.copy()
    padded[3:] = 0.9
    assert_close(rows(look(learnt, padded), slice(3)), rows(learnt.view, slice(3)))


def test_the_size_of_the_batch_changes_no_view(learnt):
    alone = look(learnt, learnt.images[5:6])
    assert_close(alone, rows(learnt.view, slice(5, 6)))


def test_a_saved_method_sees_what_it_saw(learnt, tmp_path):
    part = Part("saved", learnt.config, learnt.state, Context(), ("loss",))
    _write_part(tmp_path / "saved", part)
    again = _read_part(tmp_path / "saved", {})
    assert (again.name, again.config, again.statistics) == ("saved", learnt.config, ("loss",))
    assert again.context == Context()
    state = jax.tree.map(jnp.asarray, again.state)._replace(step=learnt.state.step)
    assert raw(look(learnt, learnt.images, state)) == raw(learnt.view)


def of_kind(learnt, kind):
    if not isinstance(learnt.method.learn, kind):
        pytest.skip(f"learns otherwise than by {kind.__name__}")


def test_a_training_that_was_stopped_ends_in_the_same_bits(learnt, tmp_path):
    of_kind(learnt, Steps)
    shape, abnormal = taught_shape(learnt.config), learnt.method.trains_on_abnormal
    train = functools.partial(
        loop.train, learnt.method, learnt.config, workdir=tmp_path, devices=ONE
    )
    with pytest.raises(Stopped):
        train(Images(shape, abnormal), stop=AfterOneStep())
    resumed = jax.device_get(train(Images(shape, abnormal)))
    assert int(resumed.step) == STEPS and raw(resumed) == raw(learnt.trained)


def test_the_batches_of_a_pass_change_nothing_and_padding_is_not_learnt(learnt):
    of_kind(learnt, OnePass)
    images = draw(0, IMAGES, image_shape(learnt.config.data))
    given = batches(images, learnt.method, size=5, padding=0.9)
    state = jax.device_get(learnt.method.learn.fit(given, jax.random.key(0)))
    state = jax.tree.map(jnp.asarray, inference_state(state))
    assert_close(look(learnt, learnt.images, state), learnt.view, rtol=1e-3, atol=1e-4)
