from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ad_core.errors import UserError
from ad_core.training.optimisers import (
    OptimiserSettings,
    learning_rate,
    make_optimiser,
    optimiser_defaults,
)


def settings(**overrides):
    section = optimiser_defaults(lr=0.1, b1=0.5, b2=0.9).lock()
    section.update(overrides)
    return section


def walk(section, gradients, *, steps=None, start=1.0):
    optimiser = make_optimiser(section, steps=steps)
    params = jnp.full((1, 1), start)
    state = optimiser.init(params)
    path = []
    for g in gradients:
        updates, state = jax.jit(optimiser.update)(jnp.full((1, 1), g), state, params)
        params = optax.apply_updates(params, updates)
        path.append(float(params[0, 0]))
    return path


def by_hand_adam(gradients, *, decay=0.0):
    w, m, v, path = 1.0, 0.0, 0.0, []
    for t, g in enumerate(gradients, 1):
        m, v = 0.5 * m + 0.5 * g, 0.9 * v + 0.1 * g * g
        step = m / (1 - 0.5**t) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)
        w -= 0.1 * (step + decay * w)
        path.append(w)
    return path


GRADIENTS = [1.0, -2.0, 0.5, 0.0]


def test_adam_is_that_of_kingma_and_ba():
    np.testing.assert_allclose(walk(settings(), GRADIENTS), by_hand_adam(GRADIENTS), rtol=1e-5)


def test_adamw_decays_kernels_and_spares_biases():
    section = settings(name="adamw", weight_decay=0.3)
    expected = by_hand_adam(GRADIENTS, decay=0.3)
    np.testing.assert_allclose(walk(section, GRADIENTS), expected, rtol=1e-5)
    optimiser, bias = make_optimiser(section), jnp.ones(2)
    updates, _ = optimiser.update(jnp.zeros(2), optimiser.init(bias), bias)
    np.testing.assert_array_equal(updates, [0.0, 0.0])


def test_sgd_moves_by_rate_times_gradient_and_gathers_momentum():
    np.testing.assert_allclose(walk(settings(name="sgd"), [1.0, -2.0]), [0.9, 1.1], rtol=1e-6)
    momentum = settings(name="sgd", momentum=0.5)
    np.testing.assert_allclose(walk(momentum, [1.0, -2.0]), [0.9, 1.05], rtol=1e-6)


def test_the_norm_of_the_gradient_is_clipped_over_all_parameters():
    optimiser = make_optimiser(settings(name="sgd", clip_norm=1.0, lr=1.0))
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    gradient = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    updates, _ = optimiser.update(gradient, optimiser.init(params), params)
    np.testing.assert_allclose([updates["a"][0], updates["b"][0]], [-0.6, -0.8], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"lr_warmup_steps": 4}, [0.25, 0.5, 1, 1, 1]),
        ({"schedule": "linear"}, [1, 0.9, 0.5, 0.1, 0]),
        ({"schedule": "linear", "lr_end": 0.5}, [1, 0.95, 0.75, 0.55, 0.5]),
        ({"schedule": "linear", "lr_decay_start": 0.5}, [1, 1, 1, 0.2, 0]),
        ({"schedule": "cosine"}, [1, 0.975528, 0.5, 0.024472, 0]),
    ],
)
def test_the_rate_follows_its_schedule(options, expected):
    rate = learning_rate(OptimiserSettings(lr=2.0, **options), steps=10)
    found = [float(rate(jnp.int32(count))) for count in (0, 1, 5, 9, 10)]
    np.testing.assert_allclose(found, 2 * np.array(expected), atol=1e-5)
    assert float(rate(jnp.int32(50))) == pytest.approx(found[-1])


def test_with_epochs_the_rate_falls_between_them_alone():
    rate = learning_rate(OptimiserSettings(lr=2.0, schedule="linear"), steps=10, epochs=4)
    # Epochs begin at the first update that starts after their share: 0, 2.5, 5, 7.5.
    expected = [2.0] * 3 + [1.5] * 2 + [1.0] * 3 + [0.5] * 2
    np.testing.assert_allclose([float(rate(count)) for count in range(10)], expected, rtol=1e-6)


def by_hand_rate(count, *, lr, schedule, start, steps, epochs):
    """In the arithmetic of the networks' training so far: its weights come out bit for bit."""
    done = jnp.asarray(count, jnp.float32)
    if epochs:
        firsts = np.array([-(-steps * epoch // epochs) for epoch in range(1, epochs)], np.int32)
        ended = jnp.searchsorted(firsts, jnp.asarray(count, jnp.int32), side="right")
        done = ended.astype(jnp.float32) * (steps / epochs)
    progress = jnp.clip((done - start * steps) / max(steps - start * steps, 1.0), 0.0, 1.0)
    shapes = {
        "constant": lambda: jnp.ones_like(progress),
        "linear": lambda: 1 - progress,
        "cosine": lambda: (1 + jnp.cos(jnp.pi * progress)) / 2,
    }
    return lr * shapes[schedule]()


@pytest.mark.parametrize(
    ("schedule", "lr", "start", "epochs"),
    [
        ("constant", 1e-3, 0.0, 0),  # VQGAN
        ("linear", 5e-4, 0.1, 200),  # CycleGAN
        ("linear", 2e-4, 0.1, 0),
        ("linear", 2e-4, 0.0, 7),
        ("cosine", 1e-3, 0.0, 0),  # FullSensitivityClassifier
    ],
)
@pytest.mark.parametrize("steps", [1, 300, 1777])
def test_no_bit_of_the_rate_differs_from_the_closed_form(schedule, lr, start, epochs, steps):
    options = {"lr": lr, "schedule": schedule, "lr_decay_start": start}
    rate = learning_rate(OptimiserSettings(**options), steps=steps, epochs=epochs)
    expected = partial(
        by_hand_rate, lr=lr, schedule=schedule, start=start, steps=steps, epochs=epochs
    )
    counts = jnp.arange(steps + 10)
    found = jax.jit(jax.vmap(rate))(counts)
    np.testing.assert_array_equal(found, jax.jit(jax.vmap(expected))(counts))
    assert found.dtype == jnp.float32


def test_the_warm_up_holds_its_course_while_the_epochs_stand_still():
    options = {"lr": 1.0, "schedule": "linear", "lr_warmup_steps": 4}
    rate = learning_rate(OptimiserSettings(**options), steps=12, epochs=2)
    # Warm-up over 4 updates; at 6, when the second epoch begins, 2 of 8 steps have decayed.
    expected = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0] + [0.75] * 6
    np.testing.assert_allclose([float(rate(count)) for count in range(12)], expected, rtol=1e-6)


def test_the_schedule_reaches_the_weights():
    section = settings(name="sgd", schedule="linear")
    np.testing.assert_allclose(walk(section, [1.0] * 3, steps=2), [0.9, 0.85, 0.85], rtol=1e-6)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(UserError, match="Unknown optimiser 'adamm'; known: adam, adamw, sgd"):
        make_optimiser(settings(name="adamm"))
    with pytest.raises(UserError, match="Unknown schedule 'step'; known: constant, cosine, linear"):
        make_optimiser(settings(schedule="step"), steps=3)
    with pytest.raises(UserError, match="'cosine' needs the number of steps"):
        make_optimiser(settings(schedule="cosine"))


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_gathered_gradients_of_parts_update_as_one_batch(name):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 3)).astype(np.float32), rng.normal(size=24).astype(np.float32)

    def trained(accumulate, batches):
        section = settings(name=name, accumulate=accumulate, clip_norm=0.5)
        optimiser, w = make_optimiser(section), jnp.ones(3)
        state = optimiser.init(w)
        update = jax.jit(optimiser.update)
        for part in batches:
            gradient = jax.grad(lambda w, part=part: jnp.mean((x[part] @ w - y[part]) ** 2))(w)
            updates, state = update(gradient, state, w)
            w = optax.apply_updates(w, updates)
        return np.asarray(w)

    whole = trained(1, [slice(0, 12), slice(12, 24)] * 3)
    parts = trained(3, [slice(at, at + 4) for at in range(0, 24, 4)] * 3)
    assert np.abs(whole - 1).max() > 0.1
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_a_falling_rate_counts_updates_and_not_batches():
    falling = {"name": "sgd", "schedule": "linear"}
    path = walk(settings(**falling), [1.0] * 4, steps=4)
    assert walk(settings(**falling, accumulate=3), [1.0] * 12, steps=12)[2::3] == path


def test_a_count_of_batches_below_one_is_refused():
    with pytest.raises(UserError, match=r"`optimiser.accumulate` \(=0\) must be 1 or more"):
        make_optimiser(settings(accumulate=0))
