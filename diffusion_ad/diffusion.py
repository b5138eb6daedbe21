"""Diffusion as a method, in a space that its caller chooses.

Sources: Wyatt et al. 2022 (AnoDDPM) for the partial diffusion; Mousakhan et al. 2023 (DDAD) for
the guidance; Rombach et al. 2022 for the latents.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.training.optimisers import make_optimiser
from ad_core.types import Method, Steps, TrainState
from diffusion_ad.denoiser import Denoiser, make_denoiser
from diffusion_ad.noise import make_noise
from diffusion_ad.perceptual import Perceptual, make_perceptual
from diffusion_ad.schedule import make_schedule
from diffusion_ad.settings import DiffusionSettings, make_settings
from diffusion_ad.space import Params, Space
from diffusion_ad.step import NETWORK, make_train_step
from diffusion_ad.view import make_view, names_of


def make_diffusion(config: ConfigDict, space: Space) -> Method:
    """The method of a complete configuration in `space`.

    Raises:
        UserError: a setting that is unknown.
    """
    settings = make_settings(config)
    denoiser = make_denoiser(settings)
    schedule = make_schedule(settings.schedule, settings.times)
    draw = make_noise(settings.noise, settings.simplex)
    perceptual = make_perceptual(config)
    train = config.train
    optimiser = make_optimiser(
        config.reconstructor.optimiser, steps=train.steps, epochs=train.epochs
    )
    losses, maps = names_of(settings, space, perceptual)
    return Method(
        learn=Steps(
            init=lambda key, shape: _init(
                space, denoiser, settings, perceptual, optimiser, key, shape
            ),
            train_step=make_train_step(space, denoiser, schedule, draw, settings, optimiser),
        ),
        view=make_view(space, denoiser, schedule, draw, settings, perceptual),
        losses=losses,
        maps=maps,
        curves=("loss", "clean_error"),
    )


def _init(
    space: Space,
    denoiser: Denoiser,
    settings: DiffusionSettings,
    perceptual: Perceptual | None,
    optimiser: optax.GradientTransformation,
    key: PRNGKeyArray,
    shape: tuple[int, int, int],
) -> TrainState:
    frozen, inner = space.start(shape)
    if perceptual is not None:
        frozen = {**frozen, **perceptual.weights()}
    network = denoiser.init(key, inner)
    extra: Params = {"updates": jnp.zeros((), jnp.int32)}
    if settings.ema:
        extra["ema"] = {NETWORK: jax.tree.map(jnp.copy, network)}
    return TrainState(
        jnp.zeros((), jnp.int32), {**frozen, NETWORK: network}, optimiser.init(network), extra
    )
