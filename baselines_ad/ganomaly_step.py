"""One GANomaly training step: generator and discriminator, from the same weights.

Objective of the generator (Akcay et al. 2018, weights of its code), with E, G, F its encoder,
decoder and second encoder, f the discriminator's features, z = E(x) and y = G(z):
1 mean (f(x) - f(y))^2 + 50 mean |x - y| + 1 mean (z - F(y))^2; of the discriminator: half of the
cross-entropy on real images and half on drawn ones.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ad_core.losses import ADVERSARIAL, absolute_error, squared_error
from ad_core.training.ema import warmed_up_average
from ad_core.training.means import image_weights, weighted_mean
from ad_core.training.partition import mean_over_devices
from ad_core.training.players import PlayerOptimisers, descend
from ad_core.types import Batch, Metrics, TrainState
from baselines_ad.ganomaly_model import Drawn, Model
from baselines_ad.ganomaly_networks import Training
from baselines_ad.ganomaly_settings import GanomalySettings

Params = dict[str, Any]
DRAWS = ("generator", "moments")  # what drawing an image needs
MOMENTUM = 0.1  # least share of a batch in the running moments


def make_train_step(
    model: Model, settings: GanomalySettings, optimisers: PlayerOptimisers
) -> Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, Metrics]]:
    """Makes the pure step of these settings; see Steps.train_step."""

    def train_step(
        state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        training = Training(image_weights(batch.valid), _momentum(state.step))
        generator, discriminator = state.params["generator"], state.extra["discriminator"]

        def generator_loss(generator: Params) -> tuple[Array, tuple[Drawn, Metrics]]:
            drawn = model.draw(generator, state.params["moments"], batch.image, training)
            terms = _generator_terms(model, discriminator, batch.image, drawn, training)
            return _weighted(settings, terms), (drawn, terms)

        of_generator = jax.value_and_grad(generator_loss, has_aux=True)
        (loss, (drawn, terms)), gradient = of_generator(generator)

        def discriminator_loss(discriminator: Params) -> Array:
            return _discriminator_loss(model, discriminator, batch.image, drawn.image, training)

        disc_loss, disc_gradient = jax.value_and_grad(discriminator_loss)(discriminator)
        gradient, disc_gradient = mean_over_devices((gradient, disc_gradient))
        metrics = mean_over_devices({"loss": loss, **terms, "discriminator": disc_loss})
        restarts = metrics["discriminator"] < settings.disc_restart
        state = _update(optimisers, state, gradient, disc_gradient, drawn.moments)
        state = _restarted(model, state, restarts, key)
        state = _averaged(settings, state)
        norms = {
            "gradient_norm": optax.tree.norm(gradient),
            "disc_gradient_norm": optax.tree.norm(disc_gradient),
        }
        metrics |= {**norms, "disc_restarts": restarts.astype(jnp.float32)}
        return state._replace(step=state.step + 1), metrics

    return train_step


def _momentum(step: Array) -> Float[Array, ""]:
    """The running moments are the mean over the first batches, then an exponential average."""
    return jnp.maximum(MOMENTUM, 1.0 / (step.astype(jnp.float32) + 1.0))


def _generator_terms(
    model: Model, discriminator: Params, x: Array, drawn: Drawn, training: Training
) -> dict[str, Array]:
    """The three terms without their weights."""
    _, real = model.discriminate(discriminator, x, training)
    _, fake = model.discriminate(discriminator, drawn.image, training)
    terms = {
        "adversarial": squared_error(real, fake),
        "contextual": absolute_error(x, drawn.image),
        "latent": squared_error(drawn.latent, drawn.again),
    }
    return {name: weighted_mean(term, training.weight) for name, term in terms.items()}


def _weighted(settings: GanomalySettings, terms: Mapping[str, Array]) -> Float[Array, ""]:
    return (
        settings.adversarial_weight * terms["adversarial"]
        + settings.contextual_weight * terms["contextual"]
        + settings.latent_weight * terms["latent"]
    )


def _discriminator_loss(
    model: Model, discriminator: Params, x: Array, drawn: Array, training: Training
) -> Float[Array, ""]:
    game = ADVERSARIAL["log"]
    real, _ = model.discriminate(discriminator, x, training)
    fake, _ = model.discriminate(discriminator, drawn, training)
    return 0.5 * weighted_mean(game.real(real) + game.fake(fake), training.weight)


def _update(
    optimisers: PlayerOptimisers,
    state: TrainState,
    gradient: Params,
    disc_gradient: Params,
    moments: Params,
) -> TrainState:
    """The state after one update of both players."""
    generator, generator_opt = descend(
        optimisers.generator, gradient, state.opt_state["generator"], state.params["generator"]
    )
    discriminator, disc_opt = descend(
        optimisers.discriminator,
        disc_gradient,
        state.opt_state["discriminator"],
        state.extra["discriminator"],
    )
    return state._replace(
        params={"generator": generator, "moments": moments},
        opt_state={"generator": generator_opt, "discriminator": disc_opt},
        extra={**state.extra, "discriminator": discriminator},
    )


def _restarted(model: Model, state: TrainState, restarts: Array, key: PRNGKeyArray) -> TrainState:
    """The state with a new discriminator where `restarts`; its optimiser goes on, as theirs."""
    old = state.extra["discriminator"]
    new = jax.lax.cond(restarts, lambda: model.start(old, key), lambda: old)
    return state._replace(extra={**state.extra, "discriminator": new})


def _averaged(settings: GanomalySettings, state: TrainState) -> TrainState:
    """The state with its averages moved, the running moments of the weights among them."""
    if not settings.ema:
        return state
    now = {name: state.params[name] for name in DRAWS}
    averages = warmed_up_average(state.extra["ema"], now, state.step, most=settings.ema)
    return state._replace(extra={**state.extra, "ema": averages})
