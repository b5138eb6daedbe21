"""GANomaly: against its twin in PyTorch (benchmarks/torch_ganomaly.py), its rules, its learning.

tests/golden/ganomaly_torch.npz: PyTorch 2.13.0 on CPU in float64, seed 0, by
`python benchmarks/torch_ganomaly.py --golden=tests/golden/ganomaly_torch.npz`. It holds weights,
three images, all gradients of one step, the metrics of three steps of Adam, and the running moments
after these, with what the networks then make of the images in evaluation mode.
"""

from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.metrics import auroc
from ad_core.runtime.config import complete
from ad_core.runtime.keys import image_keys
from ad_core.training.partition import partition
from ad_core.types import Batch, inference_state
from baselines_ad import ganomaly
from baselines_ad.ganomaly_model import make_model
from baselines_ad.ganomaly_settings import make_settings
from tests.quick import blank, compiled, optimised, start

GOLDEN = Path(__file__).parents[1] / "golden" / "ganomaly_torch.npz"
SHAPE = (32, 32, 3)
STEPS = 3


def config_of(*, image_size=32, channels=3, lr=2e-4, **reconstructor):
    rate = {"optimiser": {"lr": lr}, "disc_optimiser": {"lr": lr}}
    return complete(
        ConfigDict(
            {
                "method": "baselines_ad.ganomaly",
                "data": {"image_size": image_size, "channels": channels},
                "reconstructor": {"width": 2, "latent": 5, **rate, **reconstructor},
            }
        )
    )


def batch_of(image, valid=None):
    n = len(image)
    valid = np.ones(n, bool) if valid is None else valid
    return Batch(image, np.zeros(n, np.int32), valid, np.arange(n, dtype=np.int32))


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return {
            name: x.astype(np.float32) if x.dtype == np.float16 else x for name, x in file.items()
        }


def pieces(row, names, tree):
    """Name -> array of the golden file's long row, each in the shape that `tree` has for it."""
    flat, names = flax.traverse_util.flatten_dict(tree, sep="/"), str(names).split()
    assert set(names) == set(flat)
    parts = np.split(row, np.cumsum([flat[name].size for name in names])[:-1])
    return {name: x.reshape(flat[name].shape) for name, x in zip(names, parts, strict=True)}


def players(state):
    return {
        "generator": state.params["generator"],
        "discriminator": state.extra["discriminator"],
    }


@pytest.fixture(scope="module")
def steps(golden):
    """(state, metrics) after each of three steps from the golden weights."""
    method = ganomaly.make(config_of())
    state = blank(method, SHAPE)
    placed = pieces(golden["weights"], golden["names"], players(state))
    placed = flax.traverse_util.unflatten_dict(
        {name: jnp.asarray(x) for name, x in placed.items()}, sep="/"
    )
    state.params["generator"] = placed["generator"]
    state.extra["discriminator"] = placed["discriminator"]
    step, passed = compiled(method.learn.train_step), []
    for number in range(STEPS):
        state, metrics = step(state, batch_of(golden["image"]), jax.random.key(number))
        passed.append((state, metrics))
    return passed


def test_every_gradient_of_one_step_agrees_with_pytorch(golden, steps):
    state, _ = steps[0]
    # Adam's average of gradients starts at zero, so that after one step it is (1 - b1) g.
    halves = {name: optax.tree.get(opt, "mu") for name, opt in state.opt_state.items()}
    found = flax.traverse_util.flatten_dict(halves, sep="/")
    expected = pieces(golden["gradients"], golden["names"], players(state))
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        own = [x for other, x in expected.items() if other.split("/")[0] == name.split("/")[0]]
        largest = max(np.abs(x).max() for x in own)
        # Float32 against float64.
        np.testing.assert_allclose(
            2.0 * np.asarray(found[name]), gradient, atol=2e-5 * largest, err_msg=name
        )


def test_every_loss_of_three_steps_agrees_with_pytorch(golden, steps):
    names = str(golden["metric_names"]).split()
    assert set(names) == {"loss", "adversarial", "contextual", "latent", "discriminator"}
    found = np.array([[float(metrics[name]) for name in names] for _, metrics in steps])
    np.testing.assert_allclose(found, golden["metrics"], rtol=1e-4)
    assert np.ptp(golden["metrics"], axis=0).min() > 0.0


def test_running_moments_and_the_score_by_them_agree_with_pytorch(golden, steps):
    state, _ = steps[-1]
    found = flax.traverse_util.flatten_dict(state.params["moments"], sep="/")
    expected = pieces(golden["moments"], golden["moment_names"], state.params["moments"])
    for name, moment in expected.items():
        np.testing.assert_allclose(found[name], moment, rtol=2e-4, atol=1e-4, err_msg=name)
    view = compiled(ganomaly.make(config_of()).view)
    image = jnp.asarray(golden["image"])
    seen = view(inference_state(state), image, image_keys(image))
    np.testing.assert_allclose(seen.image, golden["drawn"], atol=2e-4)
    np.testing.assert_allclose(seen.losses["latent"], golden["score"], rtol=2e-3)


@pytest.fixture(scope="module")
def plain():
    """(method, state, compiled step), with averaged weights and a discriminator always anew."""
    method = ganomaly.make(config_of(ema=0.9, disc_restart=10.0))
    return method, start(method, SHAPE), compiled(method.learn.train_step)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).uniform(-1, 1, (8, *SHAPE)).astype(np.float32)


def assert_close(found, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, expected)


def test_padding_changes_no_step(plain, image, key):
    _, state, step = plain
    padded = image.copy()
    padded[5:] = 0.7
    first, metrics = step(state, batch_of(padded, np.arange(8) < 5), key)
    padded[5:] = -image[5:]
    again, same = step(state, batch_of(padded, np.arange(8) < 5), key)
    assert_close(metrics, same, rtol=1e-6)
    # What a channel's few values add up to is rounded otherwise.
    assert_close(first.params["moments"], again.params["moments"], rtol=1e-6, atol=1e-7)
    whole, other = step(state, batch_of(padded), key)
    assert abs(float(other["contextual"] - metrics["contextual"])) > 1e-3
    assert int(whole.step) == 1


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_eight_devices_take_the_step_of_one(plain, image, key, mode):
    method, state, step = plain
    devices = partition(method.learn.train_step, mode)
    batch = batch_of(image, np.arange(8) < 6)
    single, expected = step(state, batch, key)
    placed, metrics = devices.step(devices.place_state(state), devices.place_batch(batch), key)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    fetched = devices.fetch_state(placed)
    assert_close(fetched.params["moments"], single.params["moments"], rtol=1e-3, atol=1e-5)
    assert_close(fetched.extra["ema"]["moments"], single.extra["ema"]["moments"], atol=1e-5)
    assert_close(players(fetched)["discriminator"], players(single)["discriminator"], atol=1e-6)
    # Adam's first update is the learning rate times the gradient's sign.
    halves = [optax.tree.get(one.opt_state["generator"], "mu") for one in (fetched, single)]
    largest = max(float(np.abs(x).max()) for x in jax.tree.leaves(halves[1]))
    assert_close(*halves, atol=1e-3 * largest)


def test_it_starts_as_dcgan_does(plain):
    _, state, _ = plain
    flat = flax.traverse_util.flatten_dict(players(state), sep="/")
    drawn = {kind: [] for kind in ("kernel", "scale", "bias")}
    for name, x in flat.items():
        drawn[name.split("/")[-1]].append(np.ravel(x))
    kernel, scale, bias = (np.concatenate(parts) for parts in drawn.values())
    assert kernel.std() == pytest.approx(0.02, rel=0.03) and abs(kernel.mean()) < 1e-3
    assert scale.std() == pytest.approx(0.02, rel=0.4) and abs(scale.mean() - 1) < 0.01
    assert not bias.any()


def test_a_sure_discriminator_starts_anew_and_is_told(plain, image, key):
    _, state, step = plain
    after, metrics = step(state, batch_of(image), key)
    assert float(metrics["disc_restarts"]) == 1.0
    before, new = (one.extra["discriminator"]["Conv_0"]["kernel"] for one in (state, after))
    # Adam moves a weight by 2e-4 at most; these are drawn again.
    assert np.abs(np.asarray(new) - np.asarray(before)).mean() > 0.01
    assert np.std(new) == pytest.approx(0.02, rel=0.2)
    told = ganomaly.watch({"disc_restarts": 0.05, "discriminator": 3e-6})
    assert "started anew (loss 3e-06)" in told
    assert not ganomaly.watch({"disc_restarts": 0.0, "discriminator": 0.5})


def test_a_detector_carries_no_discriminator(plain):
    _, state, _ = plain
    assert set(inference_state(state).params) == {"generator", "moments"}


@pytest.mark.parametrize(
    ("image_size", "levels", "coarsest"),
    [(32, 3, (4, 4)), (256, 6, (4, 4)), (96, 4, (6, 6)), ("64,96", 4, (4, 6)), (16, 2, (4, 4))],
)
def test_an_image_is_halved_down_to_four_pixels_or_a_little_more(image_size, levels, coarsest):
    settings = make_settings(config_of(image_size=image_size))
    assert (settings.levels, settings.coarsest) == (levels, coarsest)
    model, (h, w) = make_model(settings, 1), (coarsest[0] << levels, coarsest[1] << levels)

    def drawn():
        made = model.init(jax.random.key(0), (h, w, 1))
        return model.draw(made["generator"], made["moments"], jnp.zeros((2, h, w, 1)), None)

    shapes = jax.eval_shape(drawn)
    assert shapes.image.shape == (2, h, w, 1) and shapes.latent.shape == (2, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 100}, r"`data.image_size` \(=100\) must be divisible by 16"),
        ({"image_size": "64,15"}, "must be at least 16 pixels"),
        ({"latent": 0}, r"`reconstructor.latent` \(=0\) must be at least 1"),
        ({"ema": 1.0}, "`reconstructor.ema`"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        ganomaly.make(config_of(**changes))


def stripes(rng, count, *, planted=False):
    """Stripes of any phase; `planted`: with a dark and a light square that no stripe has."""
    rows = np.arange(16)[None, :, None, None] / 2 + rng.uniform(0, 6, (count, 1, 1, 1))
    image = np.broadcast_to(0.7 * np.sin(rows), (count, 16, 16, 1)).astype(np.float32).copy()
    for one in image if planted else ():
        y, x = rng.integers(0, 11, 2)
        one[y : y + 4, x : x + 4] *= -1.0
    return image


@pytest.mark.slow
def test_a_short_training_draws_normal_images_and_finds_what_is_planted():
    method = ganomaly.make(config_of(image_size=16, channels=1, lr=2e-3, width=8, latent=8))
    state, rng = start(method, (16, 16, 1)), np.random.default_rng(0)
    step, losses = optimised(method.learn.train_step), []
    # Fewer steps leave the latent score to rounding: of five draws 0.81 to 0.97 after 200, and 0.95
    # to 1.00 after 600.
    for number in range(600):
        state, metrics = step(state, batch_of(stripes(rng, 16)), jax.random.key(number))
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-20:]) < 0.4 * np.mean(losses[:5])
    image = jnp.asarray(np.concatenate([stripes(rng, 32), stripes(rng, 32, planted=True)]))
    view = method.view(inference_state(state), image, image_keys(image))
    labels = np.repeat([0, 1], 32)
    squared = np.square(view.image - image).sum(axis=(1, 2, 3))
    assert auroc(labels, squared) > 0.95
    assert auroc(labels, view.losses["latent"]) > 0.9
