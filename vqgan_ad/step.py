"""One VQGAN training step: generator, codebook and discriminator together.

Objective (poster): L_VQ + lambda L_GAN, with
L_VQ = |x - G(Z(E(x)))|^2 + |sg[E(x)] - z_q|^2 + beta |sg[z_q] - E(x)|^2, beta = 1 on the poster;
lambda = |grad_GL L_rec| / (|grad_GL L_GAN| + delta) at the decoder's last convolution GL.

The forward pass through each network is done once: both players' gradients are pulled back
from the same logits, and lambda needs the weight gradient of the last convolution alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ad_core.losses import ADVERSARIAL, RECONSTRUCTION
from ad_core.training.ema import warmed_up_average
from ad_core.training.means import image_weights, weighted_mean
from ad_core.training.partition import mean_over_devices
from ad_core.training.perceptual_loss import PerceptualLoss
from ad_core.training.players import PlayerOptimisers, descend
from ad_core.types import Batch, Metrics, TrainState
from vqgan_ad import quantiser
from vqgan_ad.model import Model, Passed
from vqgan_ad.settings import VqganSettings

Params = dict[str, Any]


class Game(NamedTuple):
    """Contribution of the discriminator to a step.

    pull: gradient of the generator's adversarial loss with respect to the drawn image.
    gradient: the discriminator's own gradient.
    """

    pull: Float[Array, "b h w c"]
    gradient: Params
    metrics: dict[str, Float[Array, ""]]


def make_train_step(
    model: Model,
    settings: VqganSettings,
    optimisers: PlayerOptimisers,
    perceptual: PerceptualLoss | None = None,
) -> Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, Metrics]]:
    """Makes the pure step of these settings; see Steps.train_step."""

    def train_step(
        state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        weight = image_weights(batch.valid)
        generator, discriminator = state.params["generator"], state.params["discriminator"]

        def forward(generator: Params) -> tuple[Any, Passed]:
            passed = model.forward(generator, batch.image)
            quantised = passed.quantised
            vq_loss = weighted_mean(settings.quantisation * quantised.quantisation, weight)
            vq_loss += weighted_mean(settings.beta * quantised.commitment, weight)
            return (passed.image, vq_loss), passed

        (image, vq_loss), pull_generator, passed = jax.vjp(forward, generator, has_aux=True)

        def nll(image: Array) -> tuple[Array, Metrics]:
            return _reconstruction_loss(settings, perceptual, batch.image, image, weight)

        (nll_loss, terms), nll_pull = jax.value_and_grad(nll, has_aux=True)(image)
        game = _play(model, settings, discriminator, batch.image, image, weight)
        adaptive = _adaptive_weight(
            model, generator["head"], passed.features, nll_pull, game.pull, settings
        )
        adaptive *= _ramp(state.step, settings)
        (gradient,) = pull_generator((nll_pull + adaptive * game.pull, jnp.ones_like(vq_loss)))
        gradient, disc_gradient = mean_over_devices((gradient, game.gradient))

        generator, generator_opt = descend(
            optimisers.generator, gradient, state.opt_state["generator"], generator
        )
        discriminator, disc_opt = descend(
            optimisers.discriminator,
            disc_gradient,
            state.opt_state["discriminator"],
            discriminator,
        )
        metrics = mean_over_devices(
            {
                "loss": nll_loss + vq_loss,
                "quantisation": weighted_mean(passed.quantised.quantisation, weight),
                **terms,
                **game.metrics,
            }
        )
        generator, extra, codebook_metrics = _keep_codebook(settings, state, generator, passed, key)
        averaged = warmed_up_average(
            extra["ema"]["generator"], generator, state.step, most=settings.ema
        )
        extra["ema"] = {"generator": averaged}
        state = TrainState(
            step=state.step + 1,
            params={**state.params, "generator": generator, "discriminator": discriminator},
            opt_state={"generator": generator_opt, "discriminator": disc_opt},
            extra=extra,
        )
        norms = {
            "gradient_norm": optax.tree.norm(gradient),
            "disc_gradient_norm": optax.tree.norm(disc_gradient),
        }
        return state, {**metrics, **codebook_metrics, **norms, "adaptive_weight": adaptive}

    return train_step


def _reconstruction_loss(
    settings: VqganSettings,
    perceptual: PerceptualLoss | None,
    x: Array,
    image: Array,
    weight: Array,
) -> tuple[Array, dict[str, Array]]:
    loss = weighted_mean(RECONSTRUCTION[settings.reconstruction](x, image), weight)
    terms = {"reconstruction": loss}
    if perceptual is not None:
        terms["perceptual"] = weighted_mean(perceptual(x, image), weight)
        loss = loss + perceptual.weight * terms["perceptual"]
    return loss, terms


def _play(
    model: Model,
    settings: VqganSettings,
    discriminator: Params,
    x: Array,
    image: Array,
    weight: Array,
) -> Game:
    """Both sides of the game from one pass through the discriminator for each image."""
    game = ADVERSARIAL[settings.adversarial]

    def loss(logits: Array, side: Callable[[Array], Array]) -> Array:
        return weighted_mean(side(logits), weight)

    fake, pull_fake = jax.vjp(model.discriminate, discriminator, image)
    real, pull_real = jax.vjp(lambda params: model.discriminate(params, x), discriminator)
    generator_loss, generator_pull = jax.value_and_grad(loss)(fake, game.generator)
    fake_loss, fake_pull = jax.value_and_grad(loss)(fake, game.fake)
    real_loss, real_pull = jax.value_and_grad(loss)(real, game.real)
    halves = pull_fake(0.5 * fake_pull)[0], pull_real(0.5 * real_pull)[0]
    metrics = {
        "adversarial": generator_loss,
        "discriminator": 0.5 * (fake_loss + real_loss),
        "logits_real": loss(real, lambda d: d),
        "logits_fake": loss(fake, lambda d: d),
    }
    return Game(pull_fake(generator_pull)[1], jax.tree.map(jnp.add, *halves), metrics)


def _adaptive_weight(
    model: Model,
    head: Params,
    features: Array,
    nll_pull: Array,
    pull: Array,
    settings: VqganSettings,
) -> Float[Array, ""]:
    """Lambda in float32, clamped to [0, lambda_max]; 1 where `adaptive` is off."""
    if not settings.adaptive:
        return jnp.ones(())
    _, pull_head = jax.vjp(lambda head: model.head(head, features), head)
    kernels = mean_over_devices((pull_head(nll_pull)[0], pull_head(pull)[0]))
    nll_norm, game_norm = (_norm(k["params"]["Conv_0"]["kernel"]) for k in kernels)
    return jnp.clip(nll_norm / (game_norm + settings.delta), 0.0, settings.lambda_max)


def _norm(x: Array) -> Float[Array, ""]:
    return jnp.sqrt(jnp.sum(jnp.square(x.astype(jnp.float32))))


def _ramp(step: Array, settings: VqganSettings) -> Float[Array, ""]:
    """Weight of the adversarial loss: 0 up to disc_start, then up to disc_weight in disc_ramp."""
    since = (step - settings.disc_start + 1).astype(jnp.float32) / max(settings.disc_ramp, 1)
    return settings.disc_weight * jnp.clip(since, 0.0, 1.0)


def _keep_codebook(
    settings: VqganSettings, state: TrainState, generator: Params, passed: Passed, key: PRNGKeyArray
) -> tuple[Params, dict[str, Any], Metrics]:
    """Moves an EMA codebook, counts the codes of the epoch, puts codes anew on the latents.

    All codes are put anew at step kmeans_at, those that an epoch left unused at its end.
    """
    start_key, restart_key = jax.random.split(key)
    extra, codes = dict(state.extra), passed.quantised.codes
    latent = quantiser.normalise(passed.latent) if settings.unit_codes else passed.latent
    codebook = generator["codebook"]
    if settings.codebook_update == "ema":
        extra["codebook_average"], codebook = quantiser.update_average(
            extra["codebook_average"], latent, codes, decay=settings.codebook_decay
        )
    count = extra["code_count"] + quantiser.count_codes(codes, settings.codes)
    ends = (state.step + 1) % settings.epoch_steps == 0
    anew = jnp.zeros(settings.codes, bool)
    if settings.restart_dead:
        anew = jnp.logical_and(ends, count == 0.0)
        codebook = jax.lax.cond(  # a draw puts all latents in an order: once an epoch is enough
            ends,
            lambda code: jnp.where(
                anew[:, None], quantiser.draw(restart_key, latent, anew.size), code
            ),
            lambda code: code,
            codebook,
        )
    if settings.codebook_start == "kmeans":
        starts = state.step == settings.kmeans_at
        anew = jnp.logical_or(anew, starts)
        codebook = jax.lax.cond(
            starts, lambda: quantiser.kmeans(start_key, latent, settings.codes), lambda: codebook
        )
    if settings.codebook_update == "ema":
        extra["codebook_average"] = quantiser.restart_average(
            extra["codebook_average"], codebook, anew
        )
    use, perplexity = _codebook_use(count)
    extra["code_use"] = jnp.where(ends, use, extra["code_use"])
    extra["code_perplexity"] = jnp.where(ends, perplexity, extra["code_perplexity"])
    extra["code_count"] = jnp.where(ends, jnp.zeros_like(count), count)
    ema = extra["ema"]["generator"]
    averaged = jnp.where(anew[:, None], codebook, ema["codebook"])
    extra["ema"] = {"generator": {**ema, "codebook": averaged}}
    metrics = {"codebook_use": extra["code_use"], "codebook_perplexity": extra["code_perplexity"]}
    return {**generator, "codebook": codebook}, extra, metrics


def _codebook_use(count: Float[Array, " k"]) -> tuple[Array, Array]:
    """Share of codes used, and exp(entropy) of their distribution, over the epoch so far."""
    share = count / jnp.maximum(jnp.sum(count), 1.0)
    entropy = -jnp.sum(jnp.where(share > 0.0, share * jnp.log(jnp.maximum(share, 1e-30)), 0.0))
    return jnp.mean((count > 0.0).astype(jnp.float32)), jnp.exp(entropy)
