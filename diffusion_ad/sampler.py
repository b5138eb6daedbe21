"""Denoising of partly noisy images in few steps, one `lax.scan`.

Source: Song et al. 2021, "Denoising Diffusion Implicit Models", equation 12, which holds DDPM
(Ho et al. 2020) as eta = 1 with every time; Mousakhan et al. 2023, "Anomaly Detection with
Conditioned Denoising Diffusion Models" (DDAD), for the guidance by the input.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from diffusion_ad.schedule import Schedule, noise_in

# (x_t, factors of x_0 and of the noise in it, its time) -> x_0.
Predict = Callable[
    [Float[Array, "n *s"], Float[Array, " n"], Float[Array, " n"], Int[Array, " n"]],
    Float[Array, "n *s"],
]


class Steps(NamedTuple):
    """Steps of a denoising, each from a time to an earlier one; an entry a step.

    time, signal, spread: before it, as `Schedule` has them. signal_after, direction, fresh: factors
    of the clean image, of the noise found and of fresh noise in what follows.
    """

    time: Int[np.ndarray, " s"]
    signal: Float[np.ndarray, " s"]
    spread: Float[np.ndarray, " s"]
    signal_after: Float[np.ndarray, " s"]
    direction: Float[np.ndarray, " s"]
    fresh: Float[np.ndarray, " s"]


def plan(schedule: Schedule, *, start: int, steps: int, eta: float) -> Steps:
    """The steps from time `start` to 0, as even as whole times allow.

    Args:
        start: from 1 to the schedule's last time. steps: from 1 (the clean image at once) to
            `start` (every time).
        eta: share of fresh noise; 0 is DDIM, which draws none, 1 DDPM.
    """
    times = np.round(np.linspace(start, 0, steps + 1)).astype(int)
    before, after = times[:-1], times[1:]
    signal, spread = (values[times] for values in schedule)
    # Of equation 12: sqrt((1 - abar_s) / (1 - abar_t)) sqrt(1 - abar_t / abar_s).
    kept = np.clip(1.0 - (signal[:-1] / signal[1:]) ** 2, 0.0, 1.0)
    fresh = eta * spread[1:] / spread[:-1] * np.sqrt(kept)
    direction = np.sqrt(np.clip(spread[1:] ** 2 - fresh**2, 0.0, None))
    floats = (signal[:-1], spread[:-1], schedule.signal[after], direction, fresh)
    return Steps(before.astype(np.int32), *(values.astype(np.float32) for values in floats))


def denoise(
    predict: Predict,
    steps: Steps,
    x: Float[Array, "n h w c"],
    keys: Key[Array, " n"],
    *,
    draw: Callable[[Key[Array, ""]], Float[Array, "h w c"]],
    like: Float[Array, "n h w c"] | None = None,
    guidance: float = 0.0,
    limit: float = 0.0,
) -> Float[Array, "n h w c"]:
    """Clean images of the noisy ones `x`.

    Args:
        x: at the time at which `steps` begin.
        keys: of the fresh noise, one an image; used where `steps` have some.
        draw: makes the noise of one image.
        like: images to which `guidance` pulls: the noise e found in x_t becomes
            e - guidance * spread * (y_t - x_t), with y_t = signal * like + spread * e.
        limit: clean images are cut at -limit and limit on the way; 0: they are not.
    """
    anew = bool(np.any(steps.fresh))

    def step(x: Array, number_and_step: tuple[Array, Any]) -> tuple[Array, None]:
        number, now = number_and_step
        rows = (jnp.full(len(x), value) for value in (now.signal, now.spread, now.time))
        clean = predict(x, *rows)
        if like is not None and guidance:
            found = noise_in(x, clean, now.signal, now.spread)
            pull = now.signal * like + now.spread * found - x
            found -= guidance * now.spread * pull
            clean = (x - now.spread * found) / now.signal
        if limit:
            clean = jnp.clip(clean, -limit, limit)
        found = noise_in(x, clean, now.signal, now.spread)
        x = now.signal_after * clean + now.direction * found
        if anew:
            fresh = jax.vmap(lambda key: draw(jax.random.fold_in(key, number)))(keys)
            x += now.fresh * fresh
        return x, None

    numbers = np.arange(len(steps.time), dtype=np.int32)
    return jax.lax.scan(step, x, jax.tree.map(jnp.asarray, (numbers, steps)))[0]
