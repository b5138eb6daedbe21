"""Noise schedules, and the three things that a network may predict of a noisy image.

A noisy image at time t is x_t = signal[t] x_0 + spread[t] e, with signal^2 + spread^2 = 1: x_0 is
clean at t = 0, and next to nothing of it is left at the last time.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

FIRST_BETA, LAST_BETA = 1e-4, 0.02  # of the linear schedule over 1000 times
OFFSET = 0.008  # of the cosine schedule
LARGEST_BETA = 0.999

Values = Float[np.ndarray, " t"]


class Schedule(NamedTuple):
    """Factors of the clean image and of the noise at times 0 (clean) to `last`.

    signal: sqrt(abar). spread: sqrt(1 - abar). Both float64, made without cancellation.
    """

    signal: Values
    spread: Values

    @property
    def last(self) -> int:
        """The last time, T in the papers."""
        return len(self.signal) - 1


def linear_betas(last: int) -> Values:
    """Variances that each of `last` times adds, from 1e-4 to 0.02 over 1000 of them.

    Source: Ho et al. 2020, section 4; other numbers of times scaled as in Nichol and Dhariwal's
    code.
    """
    return np.linspace(FIRST_BETA, LAST_BETA, last) * (1000.0 / last)


def cosine_betas(last: int) -> Values:
    """Variances under which abar falls as a squared cosine, cut at 0.999.

    Source: Nichol and Dhariwal 2021, equation 17.
    """
    share = np.arange(last + 1) / last
    abar = np.cos((share + OFFSET) / (1.0 + OFFSET) * math.pi / 2.0) ** 2
    return np.minimum(1.0 - abar[1:] / abar[:-1], LARGEST_BETA)


SCHEDULES: Mapping[str, Callable[[int], Values]] = {
    "linear": linear_betas,
    "cosine": cosine_betas,
}


def make_schedule(name: str, last: int) -> Schedule:
    """The schedule called `name` (see SCHEDULES) over times 0 to `last`."""
    betas = np.minimum(SCHEDULES[name](last), LARGEST_BETA)
    log_abar = np.concatenate([[0.0], np.cumsum(np.log1p(-betas))])
    return Schedule(np.exp(0.5 * log_abar), np.sqrt(-np.expm1(log_abar)))


class Prediction(NamedTuple):
    """Output of a network, as functions of x_t or e, x_0, and of signal and spread at its time.

    target: (x_0, e, signal, spread) -> the output that a perfect network would give.
    clean: (x_t, output, signal, spread) -> x_0.
    of_clean: snr = (signal / spread)^2 -> the squared error of the output for one of 1 in x_0.
    """

    target: Callable[[Array, Array, Array, Array], Array]
    clean: Callable[[Array, Array, Array, Array], Array]
    of_clean: Callable[[Values], Values]


PREDICTIONS: Mapping[str, Prediction] = {
    # Ho et al. 2020: the network tells the noise, e.
    "noise": Prediction(
        target=lambda clean, noise, signal, spread: noise,
        clean=lambda x, output, signal, spread: (x - spread * output) / signal,
        of_clean=lambda snr: snr,
    ),
    "clean": Prediction(
        target=lambda clean, noise, signal, spread: clean,
        clean=lambda x, output, signal, spread: output,
        of_clean=np.ones_like,
    ),
    # Salimans and Ho 2022: v = signal e - spread x_0, well defined without any signal too.
    "velocity": Prediction(
        target=lambda clean, noise, signal, spread: signal * noise - spread * clean,
        clean=lambda x, output, signal, spread: signal * x - spread * output,
        of_clean=lambda snr: 1.0 + snr,
    ),
}


def noise_in(x: Array, clean: Array, signal: Array, spread: Array) -> Array:
    """The noise e of x_t where x_0 is `clean`; not for time 0, which has none."""
    return (x - signal * clean) / spread


def loss_weights(schedule: Schedule, prediction: str, *, gamma: float) -> Values:
    """Weights of the mean squared error of a network's output at each time; 0 at time 0.

    With snr = (signal / spread)^2: min(snr, gamma) of x_0, min(snr, gamma) / snr of the noise,
    min(snr, gamma) / (snr + 1) of the velocity. All weigh the same error of x_0.

    Args:
        gamma: 5 in the paper; 0 gives the weight 1 to every time but 0.

    Source: Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy".
    """
    if not gamma:
        return np.minimum(np.arange(schedule.last + 1.0), 1.0)
    snr = (schedule.signal[1:] / schedule.spread[1:]) ** 2
    of_clean = PREDICTIONS[prediction].of_clean(snr)
    return np.concatenate([[0.0], np.minimum(snr, gamma) / of_clean])
