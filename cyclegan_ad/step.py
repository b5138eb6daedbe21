"""One CycleGAN training step: both generators and both discriminators, from the same weights.

Objective of the generators (Zhu et al. 2017, weights of CycleGAN-AD), with N and A the
generators towards normal and abnormal, n and a a pair of images:
adv(D_a, A(n)) + adv(D_n, N(a)) + 10 (|N(A(n)) - n| + |A(N(a)) - a|) + 5 (|N(n) - n| + |A(a) - a|),
and, if a backbone is named, the perceptual distance of n and N(A(n)) and that of a and A(N(a));
of each discriminator: half of its loss on real images and half on fakes from its pool.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ad_core.losses import ADVERSARIAL, absolute_error
from ad_core.training.ema import warmed_up_average
from ad_core.training.means import image_weights, weighted_mean
from ad_core.training.partition import device_key, gather_over_devices, mean_over_devices, own_part
from ad_core.training.perceptual_loss import PerceptualLoss
from ad_core.training.players import PlayerOptimisers, descend
from ad_core.types import Batch, Metrics, TrainState
from cyclegan_ad import pool
from cyclegan_ad.model import DISCRIMINATORS, GENERATORS, Model
from cyclegan_ad.settings import CycleganSettings
from cyclegan_ad.variation import vary

Params = dict[str, Any]
DOMAINS = ("normal", "abnormal")


class Pairs(NamedTuple):
    """Images of a batch by domain; `weight` is 1 / pairs of one device, 0 for padding."""

    normal: Float[Array, "p h w c"]
    abnormal: Float[Array, "p h w c"]
    weight: Float[Array, " p"]


class Drawn(NamedTuple):
    """Images that the generators make of pairs."""

    fake_normal: Float[Array, "p h w c"]
    fake_abnormal: Float[Array, "p h w c"]
    same_normal: Float[Array, "p h w c"]
    same_abnormal: Float[Array, "p h w c"]
    cycled_normal: Float[Array, "p h w c"]
    cycled_abnormal: Float[Array, "p h w c"]


def make_train_step(
    model: Model,
    settings: CycleganSettings,
    optimisers: PlayerOptimisers,
    perceptual: PerceptualLoss | None = None,
) -> Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, Metrics]]:
    """Makes the pure step of these settings; see Steps.train_step.

    Rows 2i and 2i + 1 of a batch are a pair: a normal and an abnormal image.
    """

    def train_step(
        state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        pool_key, vary_key = jax.random.split(key)
        draw_key, disc_key = jax.random.split(device_key(vary_key))
        pairs = split_pairs(batch)
        generators = {name: state.params[name] for name in GENERATORS}
        discriminators = {name: state.params[name] for name in DISCRIMINATORS}

        def generator_loss(generators: Params) -> tuple[Array, tuple[Drawn, Metrics]]:
            drawn = draw_pairs(model, generators, pairs)
            terms = _generator_terms(model, settings, discriminators, pairs, drawn, draw_key)
            terms |= _perceptual_terms(perceptual, pairs, drawn)
            return _weighted(settings, terms), (drawn, terms)

        of_generators = jax.value_and_grad(generator_loss, has_aux=True)
        (loss, (drawn, terms)), gradient = of_generators(generators)
        pools, shown = _show(state.extra["pool"], drawn, pool_key)

        def discriminator_loss(discriminators: Params) -> tuple[Array, Metrics]:
            terms = _discriminator_terms(model, settings, discriminators, pairs, shown, disc_key)
            return terms["disc_normal"] + terms["disc_abnormal"], terms

        disc_gradient, disc_terms = jax.grad(discriminator_loss, has_aux=True)(discriminators)
        gradient, disc_gradient = mean_over_devices((gradient, disc_gradient))
        metrics = {"loss": loss, **terms, **disc_terms, **_watched(settings, pairs, drawn)}
        metrics = mean_over_devices(metrics) | _norms(gradient, disc_gradient)

        params, opt_state = _update(optimisers, state, gradient, disc_gradient)
        extra = {**state.extra, "pool": pools}
        if settings.ema:
            moved = {name: params[name] for name in GENERATORS}
            extra["ema"] = warmed_up_average(extra["ema"], moved, state.step, most=settings.ema)
        return TrainState(state.step + 1, params, opt_state, extra), metrics

    return train_step


def split_pairs(batch: Batch) -> Pairs:
    """Images of each domain, in order, with the weight of each pair."""
    image = batch.image.reshape(-1, 2, *batch.image.shape[1:])
    weight = image_weights(jnp.all(batch.valid.reshape(-1, 2), axis=1))
    return Pairs(image[:, 0], image[:, 1], weight)


def draw_pairs(model: Model, generators: Params, pairs: Pairs) -> Drawn:
    """Fakes, identities and cycles of pairs.

    Each generator draws both domains in one call: its norms do not join images.
    """
    both = jnp.concatenate([pairs.normal, pairs.abnormal])
    same_normal, fake_normal = jnp.split(model.draw(generators["to_normal"], both), 2)
    fake_abnormal, same_abnormal = jnp.split(model.draw(generators["to_abnormal"], both), 2)
    return Drawn(
        fake_normal,
        fake_abnormal,
        same_normal,
        same_abnormal,
        cycled_normal=model.draw(generators["to_normal"], fake_abnormal),
        cycled_abnormal=model.draw(generators["to_abnormal"], fake_normal),
    )


def _generator_terms(
    model: Model,
    settings: CycleganSettings,
    discriminators: Params,
    pairs: Pairs,
    drawn: Drawn,
    key: PRNGKeyArray,
) -> dict[str, Array]:
    """The recipe's six terms, without their weights."""
    game = ADVERSARIAL[settings.adversarial].generator
    terms: dict[str, Array] = {}
    for domain, own in zip(DOMAINS, jax.random.split(key), strict=True):
        fake = vary(getattr(drawn, f"fake_{domain}"), own, settings.disc_augment)
        logits = model.discriminate(discriminators[f"disc_{domain}"], fake)
        terms[f"adversarial_{domain}"] = weighted_mean(game(logits), pairs.weight)
        real = getattr(pairs, domain)
        for name in ("cycle", "identity"):
            again = getattr(drawn, f"{'cycled' if name == 'cycle' else 'same'}_{domain}")
            terms[f"{name}_{domain}"] = weighted_mean(absolute_error(again, real), pairs.weight)
    return terms


def _perceptual_terms(
    perceptual: PerceptualLoss | None, pairs: Pairs, drawn: Drawn
) -> dict[str, Array]:
    """Perceptual distance of each domain's images from their cycles, without its weight."""
    if perceptual is None:
        return {}
    images = jnp.concatenate([pairs.normal, pairs.abnormal])
    cycles = jnp.concatenate([drawn.cycled_normal, drawn.cycled_abnormal])
    parts = jnp.split(perceptual(images, cycles), 2)
    return {
        f"perceptual_{domain}": weighted_mean(part, pairs.weight)
        for domain, part in zip(DOMAINS, parts, strict=True)
    }


def _weighted(settings: CycleganSettings, terms: Mapping[str, Array]) -> Float[Array, ""]:
    weights = {
        "adversarial": settings.adversarial_weight,
        "cycle": settings.cycle_weight,
        "identity": settings.identity_weight,
        "perceptual": settings.perceptual.weight,
    }
    return sum((weights[name.split("_")[0]] * x for name, x in terms.items()), jnp.zeros(()))


def _show(
    pools: Mapping[str, pool.Pool], drawn: Drawn, key: PRNGKeyArray
) -> tuple[dict[str, pool.Pool], dict[str, Array]]:
    """The pools with the new fakes of all devices, and the fakes that this device shows."""
    kept, shown = {}, {}
    for domain, own in zip(DOMAINS, jax.random.split(key), strict=True):
        fakes = gather_over_devices(getattr(drawn, f"fake_{domain}"))
        kept[domain], past = pool.exchange(pools[domain], fakes, own)
        shown[domain] = own_part(past)
    return kept, shown


def _discriminator_terms(
    model: Model,
    settings: CycleganSettings,
    discriminators: Params,
    pairs: Pairs,
    shown: Mapping[str, Array],
    key: PRNGKeyArray,
) -> dict[str, Array]:
    """Each discriminator's loss; the mean logits of real images and of fakes."""
    game, terms = ADVERSARIAL[settings.adversarial], {}
    for domain, own in zip(DOMAINS, jax.random.split(key), strict=True):
        real_key, fake_key = jax.random.split(own)
        real = vary(getattr(pairs, domain), real_key, settings.disc_augment)
        fake = vary(shown[domain], fake_key, settings.disc_augment)
        logits = model.discriminate(discriminators[f"disc_{domain}"], jnp.concatenate([real, fake]))
        on_real, on_fake = jnp.split(logits, 2)
        real_loss, fake_loss = game.real(on_real), game.fake(on_fake)
        terms[f"disc_{domain}"] = 0.5 * weighted_mean(real_loss + fake_loss, pairs.weight)
        terms[f"logits_real_{domain}"] = weighted_mean(on_real, pairs.weight)
        terms[f"logits_fake_{domain}"] = weighted_mean(on_fake, pairs.weight)
    return terms


def _watched(settings: CycleganSettings, pairs: Pairs, drawn: Drawn) -> dict[str, Array]:
    """Amounts by which the generator towards normal changes images, and by which these differ."""
    if not settings.monitor:
        return {}
    spread = [
        jnp.mean(jnp.std(gather_over_devices(x), axis=0))
        for x in (drawn.fake_normal, pairs.abnormal)
    ]
    return {
        "change_normal": weighted_mean(
            absolute_error(drawn.same_normal, pairs.normal), pairs.weight
        ),
        "change_abnormal": weighted_mean(
            absolute_error(drawn.fake_normal, pairs.abnormal), pairs.weight
        ),
        "diversity": spread[0] / jnp.maximum(spread[1], 1e-6),
    }


def _norms(gradient: Params, disc_gradient: Params) -> dict[str, Array]:
    """Norm of each optimiser's gradient, which the guard looks at."""
    norms = {
        f"{name}_gradient_norm": optax.tree.norm(disc_gradient[name]) for name in DISCRIMINATORS
    }
    return {"gradient_norm": optax.tree.norm(gradient), **norms}


def _update(
    optimisers: PlayerOptimisers, state: TrainState, gradient: Params, disc_gradient: Params
) -> tuple[Params, dict[str, Any]]:
    """Parameters of all four networks and the optimisers' states after one update."""
    old, opt_state = state.params, dict(state.opt_state)
    generators = {name: old[name] for name in GENERATORS}
    params, opt_state["generators"] = descend(
        optimisers.generator, gradient, opt_state["generators"], generators
    )
    for name in DISCRIMINATORS:
        params[name], opt_state[name] = descend(
            optimisers.discriminator, disc_gradient[name], opt_state[name], old[name]
        )
    return params, opt_state
