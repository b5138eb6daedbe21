"""Denoising with the exact denoiser of a Gaussian distribution, whose moments it must reach.

For data N(m, C) the clean image expected of x_t is m + a C (a^2 C + s^2)^-1 (x_t - a m), with a and
s the factors of image and noise at t. All maps are linear, so that moments are told exactly.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_ad.sampler import denoise, plan
from diffusion_ad.schedule import SCHEDULES, make_schedule

MEAN = np.array([0.7, -0.2, 1.5])
MIX = np.array([[0.5, 0.0, 0.0], [0.3, 0.2, 0.0], [-0.4, 0.1, 0.3]])
COVARIANCE = MIX @ MIX.T
KEY = jax.random.key(0)


def exact(x, signal, spread, time):
    """The denoiser; x is [n, 1, 1, 3]."""
    values, vectors = np.linalg.eigh(COVARIANCE)
    vectors, values = jnp.asarray(vectors, jnp.float32), jnp.asarray(values, jnp.float32)
    mean = jnp.asarray(MEAN, jnp.float32)[None]
    signal, spread = signal[:, None], spread[:, None]
    shrunk = signal * values[None] / (signal**2 * values[None] + spread**2)
    turned = (x[:, 0, 0] - signal * mean) @ vectors * shrunk
    return (mean + turned @ vectors.T)[:, None, None]


def draw(key):
    return jax.random.normal(key, (1, 1, 3))


def run(schedule, x, *, start, steps, eta=0.0, **options):
    planned = plan(schedule, start=start, steps=steps, eta=eta)
    keys = jax.random.split(KEY, len(x))
    given = jnp.asarray(x, jnp.float32)[:, None, None]
    found = jax.jit(lambda x: denoise(exact, planned, x, keys, draw=draw, **options))(given)
    return np.asarray(found)[:, 0, 0].astype(float)


def affine(schedule, **options):
    """The map x -> offset + x @ matrix that a denoising without fresh noise is."""
    found = run(schedule, np.concatenate([np.zeros((1, 3)), np.eye(3)]), **options)
    return found[0], found[1:] - found[0]


@pytest.mark.parametrize("name", SCHEDULES)
def test_ddim_takes_noise_to_mean_and_covariance_of_the_data(name):
    schedule = make_schedule(name, 1000)
    offset, matrix = affine(schedule, start=1000, steps=1000)
    # At the last time x is N(a m, a^2 C + s^2), within 1e-4 of pure noise.
    a, s = schedule.signal[-1], schedule.spread[-1]
    mean = offset + a * MEAN @ matrix
    covariance = matrix.T @ (a**2 * COVARIANCE + s**2 * np.eye(3)) @ matrix
    np.testing.assert_allclose(mean, MEAN, atol=2e-4)
    # A thousand steps follow the flow up to one part in a thousand.
    np.testing.assert_allclose(covariance, COVARIANCE, atol=2e-3)


def test_more_steps_of_ddim_come_nearer_to_the_covariance():
    schedule = make_schedule("cosine", 1000)
    errors = []
    for steps in (5, 25, 125):
        _, matrix = affine(schedule, start=1000, steps=steps)
        errors.append(np.abs(matrix.T @ matrix - COVARIANCE).max())
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_ddim_from_partial_noise_follows_the_flow():
    """The flow keeps (x_t - a m) / sqrt(a^2 v + s^2) along each direction of variance v."""
    schedule = make_schedule("linear", 1000)
    offset, matrix = affine(schedule, start=250, steps=250)
    a, s = schedule.signal[250], schedule.spread[250]
    values, vectors = np.linalg.eigh(COVARIANCE)
    expected = vectors @ np.diag(np.sqrt(values / (a**2 * values + s**2))) @ vectors.T
    np.testing.assert_allclose(matrix, expected, atol=5e-3)
    np.testing.assert_allclose(offset + a * MEAN @ matrix, MEAN, atol=1e-4)


@pytest.mark.parametrize("name", SCHEDULES)
def test_ddpm_takes_noise_to_mean_and_covariance_of_the_data(name):
    schedule = make_schedule(name, 1000)
    noise = np.random.default_rng(0).normal(size=(8000, 3))
    found = run(schedule, noise, start=1000, steps=1000, eta=1.0)
    # 8000 draws: a deviation of 0.006 in a mean, of one in sixty in a variance.
    np.testing.assert_allclose(found.mean(axis=0), MEAN, atol=0.025)
    np.testing.assert_allclose(np.cov(found.T), COVARIANCE, atol=0.025)


def test_the_fresh_noise_of_ddpm_is_its_posterior_variance():
    """Ho et al. 2020, equation 7: (1 - abar_(t-1)) / (1 - abar_t) beta_t."""
    schedule = make_schedule("linear", 1000)
    steps = plan(schedule, start=1000, steps=1000, eta=1.0)
    abar = schedule.signal**2
    beta = 1 - abar[1:] / abar[:-1]
    expected = (1 - abar[:-1]) / (1 - abar[1:]) * beta
    np.testing.assert_allclose(steps.fresh[::-1] ** 2, expected, rtol=1e-4, atol=1e-12)


def test_one_step_is_the_clean_image_that_the_network_tells():
    schedule = make_schedule("cosine", 1000)
    x = np.random.default_rng(0).normal(size=(4, 3))
    a, s = schedule.signal[250], schedule.spread[250]
    gain = a * COVARIANCE @ np.linalg.inv(a**2 * COVARIANCE + s**2 * np.eye(3))
    expected = MEAN + (x - a * MEAN) @ gain.T
    for eta in (0.0, 1.0):
        found = run(schedule, x, start=250, steps=1, eta=eta)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_steps_are_even_and_end_clean():
    steps = plan(make_schedule("linear", 1000), start=250, steps=10, eta=0.0)
    assert steps.time.tolist() == list(range(250, 0, -25))
    assert steps.signal_after[-1] == 1.0 and steps.direction[-1] == 0.0
    assert not steps.fresh.any()


def test_guidance_changes_the_noise_found_as_ddad_writes_it():
    schedule = make_schedule("linear", 1000)
    x, like = np.random.default_rng(1).normal(size=(2, 5, 3))
    weight = 0.6
    found = run(
        schedule,
        x,
        start=250,
        steps=1,
        like=jnp.asarray(like, jnp.float32)[:, None, None],
        guidance=weight,
    )
    a, s = schedule.signal[250], schedule.spread[250]
    clean = run(schedule, x, start=250, steps=1)
    noise = (x - a * clean) / s
    noise = noise - weight * s * (a * like + s * noise - x)
    np.testing.assert_allclose(found, (x - s * noise) / a, atol=1e-4)


def test_guidance_pulls_towards_the_image():
    schedule = make_schedule("linear", 1000)
    like = np.tile(MEAN + 2.0, (6, 1))
    noisy = schedule.signal[250] * like + schedule.spread[250] * np.random.default_rng(2).normal(
        size=(6, 3)
    )
    given = {"like": jnp.asarray(like, jnp.float32)[:, None, None]}
    far, near = (
        run(schedule, noisy, start=250, steps=10, guidance=weight, **given) for weight in (0.0, 3.0)
    )
    assert np.abs(near - like).mean() < 0.6 * np.abs(far - like).mean()


def test_clean_images_stay_within_the_limit():
    schedule = make_schedule("cosine", 1000)
    x = 5 * np.random.default_rng(0).normal(size=(20, 3))
    assert np.abs(run(schedule, x, start=500, steps=5)).max() > 1.0
    assert np.abs(run(schedule, x, start=500, steps=5, limit=1.0)).max() <= 1.0


def test_an_image_draws_its_fresh_noise_from_its_own_key():
    schedule = make_schedule("cosine", 100)
    planned = plan(schedule, start=60, steps=6, eta=1.0)
    keys = jax.random.split(KEY, 4)
    x = jax.random.normal(jax.random.key(1), (4, 1, 1, 3))
    go = jax.jit(lambda x, keys: denoise(exact, planned, x, keys, draw=draw))
    row, alone = go(x, keys), go(x[2:3], keys[2:3])
    np.testing.assert_allclose(row[2], alone[0], atol=1e-6)
    other = go(x[2:3], keys[3:4])
    assert np.abs(np.asarray(other) - np.asarray(alone)).max() > 0.05
