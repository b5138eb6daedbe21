"""VQGAN as a method: trained on normal images, it can only draw with normal codes.

Sources: the poster's loss (VQGanoDIP); Esser et al. 2021, "Taming Transformers". Left out of the
latter: the 1x1 convolutions around the codebook, which only join the 3x3 ones beside them.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.losses import RECONSTRUCTION
from ad_core.training.means import per_image
from ad_core.training.perceptual_loss import PerceptualLoss, make_perceptual_loss
from ad_core.training.players import PlayerOptimisers, make_player_optimisers
from ad_core.types import Method, Steps, TrainState, View
from vqgan_ad import quantiser
from vqgan_ad.model import Model, make_model
from vqgan_ad.settings import EXPLAINED, VqganSettings, defaults, make_settings
from vqgan_ad.step import make_train_step

__all__ = ["EXPLAINED", "defaults", "make"]

LOSSES = ("reconstruction", "quantisation", "commitment", "disc_real", "disc_fake")
CURVES = (
    "loss",
    "reconstruction",
    "quantisation",
    "adversarial",
    "discriminator",
    "codebook_use",
)


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
        ),
        view=lambda state, image, keys: _view(model, settings, state, image),
        losses=LOSSES,
        maps=_maps(settings),
        curves=CURVES if perceptual is None else (*CURVES, "perceptual"),
    )


def _maps(settings: VqganSettings) -> tuple[str, ...]:
    smooth = ("unquantised",) if settings.unquantised else ()
    return ("quantisation", "disc_real", "disc_fake", *smooth, "codes")


def _init(
    model: Model,
    settings: VqganSettings,
    optimisers: PlayerOptimisers,
    perceptual: PerceptualLoss | None,
    key: PRNGKeyArray,
    shape: tuple[int, int, int],
) -> TrainState:
    if perceptual is not None:
        perceptual.check()
    params = model.init(key, shape)
    extra = {
        "ema": {"generator": jax.tree.map(jnp.copy, params["generator"])},
        "code_count": jnp.zeros(settings.codes),
        "code_use": jnp.zeros(()),
        "code_perplexity": jnp.zeros(()),
    }
    if settings.codebook_update == "ema":
        extra["codebook_average"] = quantiser.start_average(params["generator"]["codebook"])
    opt_state = {
        "generator": optimisers.generator.init(params["generator"]),
        "discriminator": optimisers.discriminator.init(params["discriminator"]),
    }
    return TrainState(jnp.zeros((), jnp.int32), params, opt_state, extra)


def _view(
    model: Model, settings: VqganSettings, state: TrainState, image: Float[Array, "b h w c"]
) -> View:
    """Drawn images, maps and losses; `disc_*` are raw logits, high where real."""
    generator, discriminator = state.params["generator"], state.params["discriminator"]
    passed = model.forward(generator, image)
    drawn = jnp.clip(passed.image, -1.0, 1.0)
    real, fake = (model.discriminate(discriminator, x) for x in (image, drawn))
    quantised = passed.quantised
    maps = {
        "quantisation": quantised.quantisation,
        "disc_real": real,
        "disc_fake": fake,
        "codes": quantised.codes.astype(jnp.float32),
    }
    if settings.unquantised:
        latent = quantiser.normalise(passed.latent) if settings.unit_codes else passed.latent
        smooth = jnp.clip(model.decode(generator, latent), -1.0, 1.0)
        maps["unquantised"] = jnp.mean(jnp.abs(drawn - smooth), axis=-1)
    error = RECONSTRUCTION[settings.reconstruction](image, drawn)
    losses = {
        "reconstruction": error,
        "quantisation": quantised.quantisation,
        "commitment": settings.beta * quantised.commitment,
        "disc_real": real,
        "disc_fake": fake,
    }
    return View(drawn, maps, {name: per_image(x) for name, x in losses.items()})
