"""GANomaly as a method: an image is abnormal if, drawn anew, it is encoded otherwise.

Source: Akcay, Atapour-Abarghouei and Breckon 2018, "GANomaly: Semi-Supervised Anomaly Detection
via Adversarial Training", and its code. Its score of an image is the mean squared difference of the
two latents, here the loss `latent`. The poster scores it by SSE and FID of what it draws instead;
both are statistics of every normal version. Deviations: scoring takes the running moments of the
batch norms, where the original's code (which never leaves training mode) takes those of the test
batch, so that an image's score hung on its neighbours; no score is scaled by the test set; the
last weights serve, not those with the best test AUC.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.losses import squared_error
from ad_core.training.means import per_image
from ad_core.training.players import PlayerOptimisers, make_player_optimisers
from ad_core.types import Method, Steps, TrainState, View
from baselines_ad.ganomaly_model import Model, make_model
from baselines_ad.ganomaly_settings import (
    EXPLAINED,
    GanomalySettings,
    defaults,
    make_settings,
)
from baselines_ad.ganomaly_step import DRAWS, make_train_step

__all__ = ["EXPLAINED", "defaults", "make"]

LOSSES = ("latent",)
CURVES = ("loss", "contextual", "latent", "adversarial", "discriminator")


def make(config: ConfigDict) -> Method:
    """Makes the method of a complete configuration.

    Raises:
        UserError: a setting that is unknown or does not fit the image size.
    """
    settings = make_settings(config)
    model = make_model(settings, config.data.channels)
    optimisers = make_player_optimisers(config)
    return Method(
        learn=Steps(
            init=lambda key, shape: _init(model, settings, optimisers, key, shape),
            train_step=make_train_step(model, settings, optimisers),
            watch=watch,
        ),
        view=lambda state, image, keys: _view(model, state, image),
        losses=LOSSES,
        curves=CURVES,
    )


def _init(
    model: Model,
    settings: GanomalySettings,
    optimisers: PlayerOptimisers,
    key: PRNGKeyArray,
    shape: tuple[int, int, int],
) -> TrainState:
    """The start. Scoring needs no discriminator, so that it is no part of `params`."""
    made = model.init(key, shape)
    params, discriminator = {name: made[name] for name in DRAWS}, made["discriminator"]
    extra = {"discriminator": discriminator}
    if settings.ema:
        extra["ema"] = jax.tree.map(jnp.copy, params)
    opt_state = {
        "generator": optimisers.generator.init(params["generator"]),
        "discriminator": optimisers.discriminator.init(discriminator),
    }
    return TrainState(jnp.zeros((), jnp.int32), params, opt_state, extra)


def _view(model: Model, state: TrainState, image: Float[Array, "b h w c"]) -> View:
    """Drawn images, and the original's score of each."""
    drawn = model.draw(state.params["generator"], state.params["moments"], image, None)
    latent = per_image(squared_error(drawn.latent, drawn.again))
    return View(drawn.image, losses={"latent": latent})


def watch(metrics: Mapping[str, float]) -> str:
    """Tells that the discriminator has nothing left to learn, by late metrics; or ""."""
    if not metrics["disc_restarts"]:
        return ""
    return (
        "the discriminator tells drawn images from real ones without fail and started anew "
        f"(loss {metrics['discriminator']:.3g}); a lower `reconstructor.disc_optimiser.lr` helps "
        "if that comes again and again"
    )
