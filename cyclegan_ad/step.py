"""One CycleGAN training step: both generators and both discriminators, from the same weights.

Objective of the generators (Zhu et al. 2017, weights of CycleGAN-AD), with N and A the
generators towards normal and abnormal, n and a a pair of images:
adv(D_a, A(n)) + adv(D_n, N(a)) + 10 (|N(A(n)) - n| + |A(N(a)) - a|) + 5 (|N(n) - n| + |A(a) - a|);
of each discriminator: half of its loss on real images and half on fakes from its pool.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ad_core.losses import ADVERSARIAL, absolute_error
from ad_core.training.partition import device_key, gather_over_devices, mean_over_devices, own_part
from ad_core.types import Batch, Metrics, TrainState
from cyclegan_ad import pool
from cyclegan_ad.model import GENERATORS, JUDGES, Model
from cyclegan_ad.settings import Settings
from cyclegan_ad.variation import vary

Params = dict[str, Any]
DOMAINS = ("normal", "abnormal")


class Optimisers(NamedTuple):
    """One for both generators; one for the discriminators, which keeps a state for each."""

    generators: optax.GradientTransformation
    judge: optax.GradientTransformation


class Pairs(NamedTuple):
    """A batch's images by domain; `weight` is 1 / pairs of one device, 0 for padding."""

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
    model: Model, settings: Settings, optimisers: Optimisers
) -> Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, Metrics]]:
    """The pure step of these settings; see Steps.train_step.

    Rows 2i and 2i + 1 of a batch are a pair: a normal and an abnormal image.
    """

    def train_step(
        state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        pool_key, vary_key = jax.random.split(key)
        draw_key, judge_key = jax.random.split(device_key(vary_key))
        pairs = split_pairs(batch)
        players = {name: state.params[name] for name in GENERATORS}
        judges = {name: state.params[name] for name in JUDGES}

        def objective(players: Params) -> tuple[Array, tuple[Drawn, Metrics]]:
            drawn = draw_pairs(model, players, pairs)
            terms = _generator_terms(model, settings, judges, pairs, drawn, draw_key)
            return _weighted(settings, terms), (drawn, terms)

        (loss, (drawn, terms)), gradient = jax.value_and_grad(objective, has_aux=True)(players)
        pools, shown = _show(state.extra["pool"], drawn, pool_key)

        def judgement(judges: Params) -> tuple[Array, Metrics]:
            terms = _judge_terms(model, settings, judges, pairs, shown, judge_key)
            return terms["disc_normal"] + terms["disc_abnormal"], terms

        judge_gradient, judge_terms = jax.grad(judgement, has_aux=True)(judges)
        gradient, judge_gradient = mean_over_devices((gradient, judge_gradient))
        metrics = {"loss": loss, **terms, **judge_terms, **_watched(settings, pairs, drawn)}
        metrics = mean_over_devices(metrics) | _norms(gradient, judge_gradient)

        params, opt_state = _update(optimisers, state, gradient, judge_gradient)
        extra = {**state.extra, "pool": pools}
        if settings.ema:
            extra["ema"] = _average(state, params, settings.ema)
        return TrainState(state.step + 1, params, opt_state, extra), metrics

    return train_step


def split_pairs(batch: Batch) -> Pairs:
    """The images of each domain, in order."""
    image = batch.image.reshape(-1, 2, *batch.image.shape[1:])
    valid = jnp.all(batch.valid.reshape(-1, 2), axis=1).astype(jnp.float32)
    weight = valid / jnp.maximum(mean_over_devices(jnp.sum(valid)), 1.0)
    return Pairs(image[:, 0], image[:, 1], weight)


def draw_pairs(model: Model, players: Params, pairs: Pairs) -> Drawn:
    """Fakes, identities and cycles. Each generator draws both domains in one call: its norms
    do not join images.
    """
    both = jnp.concatenate([pairs.normal, pairs.abnormal])
    same_normal, fake_normal = jnp.split(model.draw(players["to_normal"], both), 2)
    fake_abnormal, same_abnormal = jnp.split(model.draw(players["to_abnormal"], both), 2)
    return Drawn(
        fake_normal,
        fake_abnormal,
        same_normal,
        same_abnormal,
        cycled_normal=model.draw(players["to_normal"], fake_abnormal),
        cycled_abnormal=model.draw(players["to_abnormal"], fake_normal),
    )


def _generator_terms(
    model: Model,
    settings: Settings,
    judges: Params,
    pairs: Pairs,
    drawn: Drawn,
    key: PRNGKeyArray,
) -> dict[str, Array]:
    """The six terms, without their weights."""
    game = ADVERSARIAL[settings.adversarial].generator
    terms: dict[str, Array] = {}
    for domain, own in zip(DOMAINS, jax.random.split(key), strict=True):
        fake = vary(getattr(drawn, f"fake_{domain}"), own, settings.disc_augment)
        logits = model.judge(judges[f"judge_{domain}"], fake)
        terms[f"adversarial_{domain}"] = _mean(game(logits), pairs.weight)
        real = getattr(pairs, domain)
        for name in ("cycle", "identity"):
            again = getattr(drawn, f"{'cycled' if name == 'cycle' else 'same'}_{domain}")
            terms[f"{name}_{domain}"] = _mean(absolute_error(again, real), pairs.weight)
    return terms


def _weighted(settings: Settings, terms: Mapping[str, Array]) -> Float[Array, ""]:
    weights = {
        "adversarial": settings.adversarial_weight,
        "cycle": settings.cycle_weight,
        "identity": settings.identity_weight,
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


def _judge_terms(
    model: Model,
    settings: Settings,
    judges: Params,
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
        logits = model.judge(judges[f"judge_{domain}"], jnp.concatenate([real, fake]))
        on_real, on_fake = jnp.split(logits, 2)
        real_loss, fake_loss = game.real(on_real), game.fake(on_fake)
        terms[f"disc_{domain}"] = 0.5 * _mean(real_loss + fake_loss, pairs.weight)
        terms[f"logits_real_{domain}"] = _mean(on_real, pairs.weight)
        terms[f"logits_fake_{domain}"] = _mean(on_fake, pairs.weight)
    return terms


def _watched(settings: Settings, pairs: Pairs, drawn: Drawn) -> dict[str, Array]:
    """Amount that the generator towards normal changes, and by which its images differ."""
    if not settings.monitor:
        return {}
    spread = [
        jnp.mean(jnp.std(gather_over_devices(x), axis=0))
        for x in (drawn.fake_normal, pairs.abnormal)
    ]
    return {
        "change_normal": _mean(absolute_error(drawn.same_normal, pairs.normal), pairs.weight),
        "change_abnormal": _mean(absolute_error(drawn.fake_normal, pairs.abnormal), pairs.weight),
        "diversity": spread[0] / jnp.maximum(spread[1], 1e-6),
    }


def _mean(values: Float[Array, "p *s"], weight: Float[Array, " p"]) -> Float[Array, ""]:
    return jnp.sum(weight * jnp.mean(values.reshape(len(values), -1), axis=1))


def _norms(gradient: Params, judge_gradient: Params) -> dict[str, Array]:
    """Norms of each optimiser's gradient, for the guard."""
    norms = {
        f"{name.replace('judge', 'disc')}_gradient_norm": optax.tree.norm(judge_gradient[name])
        for name in JUDGES
    }
    return {"gradient_norm": optax.tree.norm(gradient), **norms}


def _update(
    optimisers: Optimisers, state: TrainState, gradient: Params, judge_gradient: Params
) -> tuple[Params, Any]:
    generators = {name: state.params[name] for name in GENERATORS}
    updates, generators_opt = optimisers.generators.update(
        gradient, state.opt_state["generators"], generators
    )
    changes: Any = dict(updates)  # type: ignore[arg-type]
    opt_state = {"generators": generators_opt}
    for name in JUDGES:
        changes[name], opt_state[name] = optimisers.judge.update(
            judge_gradient[name], state.opt_state[name], state.params[name]
        )
    moved: Any = optax.apply_updates(state.params, changes)
    return moved, opt_state


def _average(state: TrainState, params: Params, most: float) -> Params:
    """Exponential average of the generators, the decay warmed up: min(most, (1 + t) / (10 + t))."""
    t = state.step.astype(jnp.float32)
    decay = jnp.minimum(most, (1.0 + t) / (10.0 + t))
    ema = state.extra["ema"]
    return jax.tree.map(
        lambda a, p: decay * a + (1.0 - decay) * p, ema, {name: params[name] for name in ema}
    )
