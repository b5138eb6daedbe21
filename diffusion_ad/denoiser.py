"""The denoising network as pure functions of its parameters."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ad_core.errors import UserError
from ad_core.networks.starting import fan_in_start
from diffusion_ad.dit import DiT
from diffusion_ad.schedule import PREDICTIONS
from diffusion_ad.settings import DiffusionSettings
from diffusion_ad.unet import UNet

Params = Any
Shape = tuple[int, int, int]
NETWORKS: Mapping[str, Callable[..., Any]] = {"unet": UNet, "dit": DiT}


class Denoiser(NamedTuple):
    """Functions of a network.

    init: (key, shape [h, w, c] of what is denoised) -> parameters; UserError if it does not fit.
    output: (parameters, x_t, time [n]) -> what the network tells.
    clean: (parameters, x_t, signal [n], spread [n], time [n]) -> x_0.
    """

    init: Callable[[PRNGKeyArray, Shape], Params]
    output: Callable[[Params, Array, Array], Array]
    clean: Callable[[Params, Array, Array, Array, Array], Array]


def make_denoiser(settings: DiffusionSettings) -> Denoiser:
    """Functions of the network that the settings describe."""
    network = _network(settings)
    kind = PREDICTIONS[settings.prediction]

    def init(key: PRNGKeyArray, shape: Shape) -> Params:
        _check(settings, shape)
        x, time = jnp.zeros((1, *shape)), jnp.zeros(1, jnp.int32)
        return fan_in_start(jax.eval_shape(network.init, key, x, time), key)

    def clean(
        params: Params,
        x: Float[Array, "n h w c"],
        signal: Float[Array, " n"],
        spread: Float[Array, " n"],
        time: Int[Array, " n"],
    ) -> Float[Array, "n h w c"]:
        output = network.apply(params, x, time)
        return kind.clean(x, output, wide(signal), wide(spread))

    return Denoiser(init, network.apply, clean)


def wide(values: Float[Array, " n"]) -> Float[Array, "n 1 1 1"]:
    """Numbers of images, to be multiplied with the images."""
    return values[:, None, None, None]


def _network(settings: DiffusionSettings) -> Any:
    """The Linen module; `apply` is declared to return more than these modules do."""
    shape = {key: tuple(x) if isinstance(x, list) else x for key, x in settings.shape.items()}
    return NETWORKS[settings.network](
        **shape, dtype=jnp.dtype(settings.dtype), remat=settings.remat
    )


def _check(settings: DiffusionSettings, shape: Shape) -> None:
    """Refuses what the network cannot halve, or cut into patches and heads; UserError."""
    own = settings.shape
    if settings.network == "unet":
        name, factor = "unet.multipliers", 2 ** (len(own["multipliers"]) - 1)
    else:
        name, factor = "dit.patch", own["patch"]
        if own["width"] % 4 or own["width"] % own["heads"]:
            raise UserError(
                f"`reconstructor.dit.width` (={own['width']}) must be divisible by 4 and by "
                f"`reconstructor.dit.heads` (={own['heads']})."
            )
    if any(side % factor for side in shape[:2]):
        raise UserError(
            f"`reconstructor.{name}` divides by {factor} what is denoised, and that is "
            f"{shape[0]} x {shape[1]}; choose another or another `data.image_size`."
        )
