import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_ad.schedule import (
    PREDICTIONS,
    SCHEDULES,
    cosine_betas,
    linear_betas,
    loss_weights,
    make_schedule,
    noise_in,
)

# Lin et al. 2024, "Common Diffusion Noise Schedules and Sample Steps are Flawed", table 1: SNR and
# sqrt(abar) at the last of 1000 times.
PUBLISHED = {"linear": (4.035993e-05, 0.006353), "cosine": (2.428735e-09, 4.928220e-05)}


@pytest.mark.parametrize("name", SCHEDULES)
def test_little_of_the_image_is_left_at_the_last_time_as_published(name):
    schedule = make_schedule(name, 1000)
    snr, signal = PUBLISHED[name]
    # The table's numbers are of float32 products, whose last digits are not those of float64.
    assert (schedule.signal[-1] / schedule.spread[-1]) ** 2 == pytest.approx(snr, rel=1e-3)
    assert schedule.signal[-1] == pytest.approx(signal, rel=1e-3)


def test_linear_betas_are_those_of_ddpm():
    betas = linear_betas(1000)
    assert betas[[0, -1]] == pytest.approx([1e-4, 0.02])
    assert np.ptp(np.diff(betas)) < 1e-12
    # As much noise in a tenth of the times.
    assert np.sum(linear_betas(100)) == pytest.approx(np.sum(betas))


def test_the_cosine_schedule_is_a_squared_cosine_until_it_is_cut():
    schedule = make_schedule("cosine", 1000)
    time = np.array([1, 250, 500, 750, 990])
    shifted = np.cos((time / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    at_zero = np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(schedule.signal[time] ** 2, shifted / at_zero, rtol=1e-9)
    assert cosine_betas(1000).max() == 0.999


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("last", [2, 10, 1000])
def test_signal_falls_from_one_and_variances_add_up_to_one(name, last):
    schedule = make_schedule(name, last)
    assert schedule.last == last and schedule.signal[0] == 1.0 and schedule.spread[0] == 0.0
    assert (np.diff(schedule.signal) < 0).all() and schedule.signal[-1] > 0
    np.testing.assert_allclose(schedule.signal**2 + schedule.spread**2, 1.0, rtol=1e-12)


def values():
    rng = np.random.default_rng(0)
    return (jnp.asarray(rng.normal(size=(5, 4)), jnp.float32) for _ in range(2))


@pytest.mark.parametrize("kind", PREDICTIONS)
@pytest.mark.parametrize("time", [1, 400, 900])
def test_a_perfect_prediction_tells_the_clean_image_and_the_noise(kind, time):
    clean, noise = values()
    schedule = make_schedule("cosine", 1000)
    signal, spread = (jnp.float32(factor[time]) for factor in schedule)
    x = signal * clean + spread * noise
    output = PREDICTIONS[kind].target(clean, noise, signal, spread)
    told = PREDICTIONS[kind].clean(x, output, signal, spread)
    np.testing.assert_allclose(told, clean, atol=3e-6 / float(signal))
    found = noise_in(x, told, signal, spread)
    np.testing.assert_allclose(found, noise, atol=3e-6 / float(spread))


@pytest.mark.parametrize("kind", ["clean", "velocity"])
def test_without_any_signal_a_prediction_still_tells_the_clean_image(kind):
    """Of zero terminal SNR, where an error of the noise tells nothing (Lin et al., section 3)."""
    clean, noise = values()
    signal, spread = jnp.float32(0.0), jnp.float32(1.0)
    output = PREDICTIONS[kind].target(clean, noise, signal, spread)
    told = PREDICTIONS[kind].clean(noise, output, signal, spread)
    np.testing.assert_array_equal(told, clean)
    np.testing.assert_array_equal(noise_in(noise, told, signal, spread), noise)


def test_velocity_is_the_slope_of_a_quarter_turn_from_image_to_noise():
    clean, noise = values()
    angle, step = 0.7, 1e-3

    def place(at):
        return np.cos(at) * np.asarray(clean, float) + np.sin(at) * np.asarray(noise, float)

    slope = (place(angle + step) - place(angle - step)) / (2 * step)
    signal, spread = jnp.float32(np.cos(angle)), jnp.float32(np.sin(angle))
    told = PREDICTIONS["velocity"].target(clean, noise, signal, spread)
    np.testing.assert_allclose(told, slope, atol=1e-5)


def test_min_snr_weights_are_those_of_the_paper():
    schedule = make_schedule("linear", 1000)
    snr = schedule.signal[1:] ** 2 / (1 - schedule.signal[1:] ** 2)
    assert snr.max() > 5 > snr.min()
    least = np.minimum(snr, 5)
    expected = {"noise": least / snr, "clean": least, "velocity": least / (snr + 1)}
    for kind, weights in expected.items():
        found = loss_weights(schedule, kind, gamma=5.0)
        assert found[0] == 0.0
        np.testing.assert_allclose(found[1:], weights, rtol=1e-9)


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_weighted_losses_of_all_predictions_are_one(kind):
    """Min-SNR weights the error of x_0, whatever the network tells."""
    clean, noise = values()
    schedule = make_schedule("cosine", 1000)
    weights = loss_weights(schedule, kind, gamma=5.0)
    for time in (50, 600):
        signal, spread = (jnp.float32(factor[time]) for factor in schedule)
        wrong = clean + 0.1
        error = PREDICTIONS[kind].target(clean, noise, signal, spread)
        as_if = noise_in(signal * clean + spread * noise, wrong, signal, spread)
        error -= PREDICTIONS[kind].target(wrong, as_if, signal, spread)
        snr = (schedule.signal[time] / schedule.spread[time]) ** 2
        loss = weights[time] * np.mean(np.square(error))
        assert loss == pytest.approx(0.01 * min(snr, 5.0), rel=1e-3)


def test_without_gamma_every_time_weighs_the_same():
    schedule = make_schedule("linear", 10)
    for kind in PREDICTIONS:
        assert loss_weights(schedule, kind, gamma=0.0).tolist() == [0.0] + [1.0] * 10
