"""One training step: the network learns to denoise images that are mixed with noise.

Times are drawn from 1 to the latest that scoring asks for; nothing is learnt of what no score
needs. They are spread evenly over the images of a batch, so that its loss varies less.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from ad_core.losses import squared_error
from ad_core.training.ema import warmed_up_average
from ad_core.training.means import image_weights, weighted_mean
from ad_core.training.partition import device_key, mean_over_devices
from ad_core.training.players import descend
from ad_core.types import Batch, Metrics, TrainState
from diffusion_ad.denoiser import Denoiser, wide
from diffusion_ad.noise import Draw
from diffusion_ad.schedule import PREDICTIONS, Schedule, loss_weights
from diffusion_ad.settings import DiffusionSettings
from diffusion_ad.space import Params, Space

NETWORK = "network"  # the part of the parameters that is learnt by gradient


def make_train_step(
    space: Space,
    denoiser: Denoiser,
    schedule: Schedule,
    draw: Draw,
    settings: DiffusionSettings,
    optimiser: optax.GradientTransformation,
) -> Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, Metrics]]:
    """Makes the pure step of these settings; see Steps.train_step."""
    kind = PREDICTIONS[settings.prediction]
    weights = loss_weights(schedule, settings.prediction, gamma=settings.min_snr)
    factors = [x.astype(np.float32) for x in (*schedule, weights)]

    def train_step(
        state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        weight = image_weights(batch.valid)
        params = _measured(space, state, batch.image, weight)
        clean = space.encode(params, batch.image)
        time_key, noise_key = jax.random.split(device_key(key))
        time = draw_times(time_key, len(clean), settings.latest)
        noise = jax.vmap(lambda one: draw(one, clean.shape[1:]))(
            jax.random.split(noise_key, len(clean))
        )
        signal, spread, at_time = (wide(jnp.asarray(x)[time]) for x in factors)
        x, target = signal * clean + spread * noise, kind.target(clean, noise, signal, spread)

        def loss_of(network: Params) -> tuple[Array, Array]:
            output = denoiser.output(network, x, time)
            told = kind.clean(x, output, signal, spread)
            error = weighted_mean(jnp.abs(told - clean), weight)
            return weighted_mean(at_time * squared_error(output, target), weight), error

        (loss, error), gradient = jax.value_and_grad(loss_of, has_aux=True)(params[NETWORK])
        gradient = mean_over_devices(gradient)
        metrics = mean_over_devices({"loss": loss, "clean_error": error})
        network, opt_state = descend(optimiser, gradient, state.opt_state, params[NETWORK])
        state = TrainState(
            state.step + 1,
            {**params, NETWORK: network},
            opt_state,
            _extra(state, network, settings),
        )
        return state, {**metrics, "gradient_norm": optax.tree.norm(gradient)}

    return train_step


def draw_times(key: PRNGKeyArray, count: int, latest: int) -> Int[Array, " n"]:
    """Times in 1..latest, one in each of `count` equal parts of that range, in a random order."""
    place_key, order_key = jax.random.split(key)
    parts = jax.random.permutation(order_key, count).astype(jnp.float32)
    share = (parts + jax.random.uniform(place_key, (count,))) / count
    return jnp.clip(1 + jnp.floor(latest * share).astype(jnp.int32), 1, latest)


def _measured(space: Space, state: TrainState, image: Array, weight: Array) -> Params:
    """The parameters, with what the space measures of the first batch that was learnt."""
    if space.measure is None:
        return state.params
    found = space.measure(state.params, image, weight)
    known = {name: state.params[name] for name in found}
    first = state.extra["updates"] == 0
    kept = jax.tree.map(lambda new, old: jnp.where(first, new, old), found, known)
    return {**state.params, **kept}


def _extra(state: TrainState, network: Params, settings: DiffusionSettings) -> Params:
    extra = {**state.extra, "updates": state.extra["updates"] + 1}
    if settings.ema:
        average = state.extra["ema"][NETWORK]
        moved = warmed_up_average(average, network, state.step, most=settings.ema)
        extra["ema"] = {NETWORK: moved}
    return extra
