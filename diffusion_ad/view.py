"""View of images: each is partly noised, and drawn again by the network that knows normal ones."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ad_core.training.means import per_image
from ad_core.types import TrainState, View
from diffusion_ad.denoiser import Denoiser, wide
from diffusion_ad.noise import Draw
from diffusion_ad.perceptual import Perceptual
from diffusion_ad.sampler import denoise, plan
from diffusion_ad.schedule import Schedule, noise_in
from diffusion_ad.settings import DiffusionSettings
from diffusion_ad.space import Params, Space
from diffusion_ad.step import NETWORK

Images = Float[Array, "b h w c"]


def names_of(
    settings: DiffusionSettings, space: Space, perceptual: Perceptual | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the losses and of the maps of a view, in order."""
    losses = tuple(f"denoising_{time}" for time in settings.noise_levels)
    maps = tuple(f"residual_{time}" for time in settings.noise_levels)
    latent = ("latent",) if space.measure is not None else ()
    return (*losses, *latent), (*maps, *latent, *(("perceptual",) if perceptual else ()))


def make_view(
    space: Space,
    denoiser: Denoiser,
    schedule: Schedule,
    draw: Draw,
    settings: DiffusionSettings,
    perceptual: Perceptual | None,
) -> Callable[[TrainState, Images, Key[Array, " b"]], View]:
    """Makes the function that `Method.view` is.

    The view's image is drawn in several steps from the time `start`; residual_TIME and
    denoising_TIME come of one step from each time of `noise_levels`. All are means over the draws
    of noise. denoising_TIME is the mean squared error of the noise found, a bound on how unlikely
    the image is in the sum over all times (Ho et al. 2020, equation 12).
    """
    steps = plan(schedule, start=settings.start, steps=settings.steps, eta=settings.eta)
    draws, levels = settings.draws, len(settings.noise_levels)

    def view(state: TrainState, image: Images, keys: Key[Array, " b"]) -> View:
        params = state.params
        x = space.encode(params, image)
        # Two keys for each draw of the normal version, one for each draw at a level.
        split = jax.vmap(lambda key: jax.random.split(key, (draws, 2 + levels)))(keys)
        clean = _again(params, x, split[:, :, :2])
        told, errors = _at_levels(params, x, split[:, :, 2:])
        drawn = jnp.clip(space.decode(params, clean), -1.0, 1.0)
        maps, losses = _residuals(params, image, told), {}
        for number, time in enumerate(settings.noise_levels):
            losses[f"denoising_{time}"] = errors[:, number]
        if space.measure is not None:
            maps["latent"] = jnp.mean(jnp.abs(x - clean), axis=-1)
            losses["latent"] = per_image(jnp.square(x - clean))
        if perceptual is not None:
            maps["perceptual"] = perceptual(params, image, drawn)
        return View(drawn, maps, losses)

    def _again(params: Params, x: Images, keys: Key[Array, "b n 2"]) -> Images:
        """The normal version in this space."""
        keys = keys.reshape(-1, 2)
        rows = jnp.repeat(x, draws, axis=0)
        noise = jax.vmap(lambda key: draw(key, x.shape[1:]))(keys[:, 0])
        noisy = float(schedule.signal[settings.start]) * rows
        noisy += float(schedule.spread[settings.start]) * noise
        found = denoise(
            lambda *given: denoiser.clean(params[NETWORK], *given),
            steps,
            noisy,
            keys[:, 1],
            draw=lambda key: draw(key, x.shape[1:]),
            like=rows,
            guidance=settings.guidance,
            limit=space.limit,
        )
        return jnp.mean(found.reshape(-1, draws, *x.shape[1:]), axis=1)

    def _at_levels(
        params: Params, x: Images, keys: Key[Array, "b n l"]
    ) -> tuple[Float[Array, "b l h w c"], Float[Array, "b l"]]:
        """Clean images told in one step from each level, and the error of the noise found."""
        rows = jnp.repeat(x, draws * levels, axis=0)
        noise = jax.vmap(lambda key: draw(key, x.shape[1:]))(keys.reshape(-1))
        time = np.tile(np.array(settings.noise_levels, np.int32), len(x) * draws)
        signal, spread = (jnp.asarray(f[time], jnp.float32) for f in schedule)
        noisy = wide(signal) * rows + wide(spread) * noise
        clean = denoiser.clean(params[NETWORK], noisy, signal, spread, jnp.asarray(time))
        error = per_image(jnp.square(noise_in(noisy, clean, wide(signal), wide(spread)) - noise))
        clean = clean.reshape(-1, draws, levels, *x.shape[1:])
        return jnp.mean(clean, axis=1), jnp.mean(error.reshape(-1, draws, levels), axis=1)

    def _residuals(
        params: Params, image: Images, told: Float[Array, "b l _ _ _"]
    ) -> dict[str, Float[Array, "b h w"]]:
        drawn = space.decode(params, told.reshape(-1, *told.shape[2:]))
        drawn = jnp.clip(drawn, -1.0, 1.0).reshape(-1, levels, *image.shape[1:])
        found = jnp.mean(jnp.abs(image[:, None] - drawn), axis=-1)
        return {f"residual_{time}": found[:, n] for n, time in enumerate(settings.noise_levels)}

    return view
