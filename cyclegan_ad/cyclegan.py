"""CycleGAN as a method: it learns from both classes to draw an abnormal image as normal.

Source: Bougaham et al., CycleGAN-AD (Neurocomputing 2024), after Zhu et al. 2017. At scoring only
the generator towards normal is needed; what it changes is the anomaly.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.training.perceptual_loss import PerceptualLoss, make_perceptual_loss
from ad_core.training.players import PlayerOptimisers, make_player_optimisers
from ad_core.types import Method, Steps, TrainState, View
from cyclegan_ad import pool
from cyclegan_ad.model import DISCRIMINATORS, GENERATORS, Model, make_model
from cyclegan_ad.settings import EXPLAINED, CycleganSettings, defaults, make_settings
from cyclegan_ad.step import DOMAINS, make_train_step

__all__ = ["EXPLAINED", "defaults", "make"]

REPAIRS = 1.1  # changes of abnormal images beyond this many times those of normal ones repair them
MAPS = (
    "disc_real",
    "disc_fake",
    "cycle",
    "disc_abnormal_fake",
    "disc_abnormal_real",
    "identity",
    "residual",
)
CURVES = (
    "loss",
    *(f"{term}_{domain}" for term in ("cycle", "identity", "adversarial") for domain in DOMAINS),
    *(f"disc_{domain}" for domain in DOMAINS),
)
PERCEPTUAL = tuple(f"perceptual_{domain}" for domain in DOMAINS)  # curves of the term
COLLAPSED = 0.1  # least spread of drawn images, as a share of the spread of what they were drawn of


def make(config: ConfigDict) -> Method:
    """Makes the method of a complete configuration.

    Raises:
        UserError: a setting that is unknown or does not fit the image size.
    """
    settings = make_settings(config)
    model = make_model(settings, config.data.channels)
    optimisers = make_player_optimisers(config)
    perceptual = make_perceptual_loss(settings.perceptual, dtype=settings.dtype)
    return Method(
        learn=Steps(
            init=lambda key, shape: _init(model, settings, optimisers, perceptual, key, shape),
            train_step=make_train_step(model, settings, optimisers, perceptual),
            watch=watch if settings.monitor else None,
        ),
        view=lambda state, image, keys: _view(model, state, image),
        trains_on_abnormal=True,
        losses=MAPS,
        maps=MAPS,
        curves=CURVES if perceptual is None else (*CURVES, *PERCEPTUAL),
    )


def _init(
    model: Model,
    settings: CycleganSettings,
    optimisers: PlayerOptimisers,
    perceptual: PerceptualLoss | None,
    key: PRNGKeyArray,
    shape: tuple[int, int, int],
) -> TrainState:
    if perceptual is not None:
        perceptual.check()
    params = model.init(key, shape)
    generators = {name: params[name] for name in GENERATORS}
    extra = {"pool": {domain: pool.start(settings.pool, shape) for domain in DOMAINS}}
    if settings.ema:
        extra["ema"] = jax.tree.map(jnp.copy, generators)
    opt_state = {name: optimisers.discriminator.init(params[name]) for name in DISCRIMINATORS}
    opt_state["generators"] = optimisers.generator.init(generators)
    return TrainState(jnp.zeros((), jnp.int32), params, opt_state, extra)


def _view(model: Model, state: TrainState, image: Float[Array, "b h w c"]) -> View:
    """Drawn images; maps that are means over channels or raw logits; losses, the maps' means.

    residual: what the generator towards normal changes (of a normal image: its identity error).
    cycle: |x - A(N(x))|. identity: |x - A(x)|, low where x looks abnormal to the other generator.
    disc_real, disc_fake: logits of disc_normal for x and for the drawn image, high where normal;
    disc_abnormal_real, disc_abnormal_fake: of disc_abnormal, high where abnormal.
    What no statistic asks for is not computed.
    """
    params = state.params
    drawn = model.draw(params["to_normal"], image)

    def error(other: Array) -> Float[Array, "b h w"]:
        return jnp.mean(jnp.abs(image - other), axis=-1)

    maps = {
        "residual": error(drawn),
        "cycle": error(model.draw(params["to_abnormal"], drawn)),
        "identity": error(model.draw(params["to_abnormal"], image)),
        "disc_real": model.discriminate(params["disc_normal"], image),
        "disc_fake": model.discriminate(params["disc_normal"], drawn),
        "disc_abnormal_real": model.discriminate(params["disc_abnormal"], image),
        "disc_abnormal_fake": model.discriminate(params["disc_abnormal"], drawn),
    }
    return View(drawn, maps, {name: jnp.mean(x, axis=(1, 2)) for name, x in maps.items()})


def watch(metrics: Mapping[str, float]) -> str:
    """Tells what is wrong with the generator towards normal by the monitor's metrics; or ""."""
    normal, abnormal = metrics["change_normal"], metrics["change_abnormal"]
    if metrics["diversity"] < COLLAPSED:
        return (
            f"the generator collapses: its images differ {metrics['diversity']:.3f} times as much "
            "as those that it redraws; try `reconstructor.disc_augment` or a lower learning rate"
        )
    if abnormal < REPAIRS * normal:
        return (
            "the generator does not tell abnormal images from normal ones: it changes them by "
            f"{abnormal:.4f}, normal ones by {normal:.4f}; train longer, or lower "
            "`reconstructor.identity_weight`"
        )
    return ""
