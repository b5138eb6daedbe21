"""GANomaly's networks as pure functions of their parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ad_core.networks.starting import SPREAD, dcgan_start
from baselines_ad.ganomaly_networks import MOMENTS, Decoder, Encoder, Training
from baselines_ad.ganomaly_settings import GanomalySettings

Params = dict[str, Any]


class Drawn(NamedTuple):
    """A batch's way through the generator: encoded, decoded, encoded again.

    moments: the running means and variances after the batch; at scoring as they were.
    """

    image: Float[Array, "b h w c"]
    latent: Float[Array, "b d"]
    again: Float[Array, "b d"]
    moments: Params


class Model(NamedTuple):
    """Functions of the networks.

    init: (key, image shape) -> {"generator", "moments", "discriminator"}.
    draw: (generator, moments, image, training) -> Drawn.
    discriminate: (discriminator, image, training) -> logits [b], high where real, and features.
    start: (tree of arrays, key) -> one of the same shapes, with weights as at the beginning.
    """

    init: Callable[[PRNGKeyArray, tuple[int, int, int]], Params]
    draw: Callable[[Params, Params, Array, Training | None], Drawn]
    discriminate: Callable[[Params, Array, Training | None], tuple[Array, Array]]
    start: Callable[[Params, PRNGKeyArray], Params]


def make_model(settings: GanomalySettings, channels: int) -> Model:
    """Functions of these settings' networks for images of `channels` channels."""
    dtype, shape = jnp.dtype(settings.dtype), (settings.width, settings.levels)
    encoder = Encoder(*shape, settings.latent, dtype)
    decoder = Decoder(channels, *shape, settings.coarsest, dtype)
    # `apply` is declared to return more than this module does.
    discriminator: Any = Encoder(*shape, 1, dtype)
    players: dict[str, Any] = {"encoder": encoder, "decoder": decoder, "encoder_again": encoder}

    def start(shapes: Params, key: PRNGKeyArray) -> Params:
        return dcgan_start(shapes, key, scale_spread=SPREAD)

    def init(key: PRNGKeyArray, image_shape: tuple[int, int, int]) -> Params:
        image, latent = jnp.zeros((1, *image_shape)), jnp.zeros((1, settings.latent))
        inputs = {name: latent if name == "decoder" else image for name in players}
        made = {
            name: jax.eval_shape(module.init, key, inputs[name], None)
            for name, module in players.items()
        }
        generator = {name: one["params"] for name, one in made.items()}
        judge = jax.eval_shape(discriminator.init, key, image, None)["params"]
        moments = {name: one[MOMENTS] for name, one in made.items()}
        drawn = start({"generator": generator, "discriminator": judge}, key)
        return {**drawn, "moments": jax.tree_util.tree_map_with_path(_first_moment, moments)}

    def run(
        name: str, generator: Params, moments: Params, x: Array, training: Training | None
    ) -> Any:
        variables = {"params": generator[name], MOMENTS: moments[name]}
        if training is None:
            return players[name].apply(variables, x, None), moments[name]
        found, moved = players[name].apply(variables, x, training, mutable=[MOMENTS])
        return found, moved[MOMENTS]

    def draw(generator: Params, moments: Params, image: Array, training: Training | None) -> Drawn:
        moved = {}
        (latent, _), moved["encoder"] = run("encoder", generator, moments, image, training)
        drawn, moved["decoder"] = run("decoder", generator, moments, latent, training)
        (again, _), moved["encoder_again"] = run(
            "encoder_again", generator, moments, drawn, training
        )
        return Drawn(drawn, latent, again, moved)

    def discriminate(
        params: Params, image: Array, training: Training | None
    ) -> tuple[Array, Array]:
        logits, features = discriminator.apply({"params": params}, image, training)
        return logits[:, 0], features

    return Model(init, draw, discriminate, start)


def _first_moment(path: Any, shape: Any) -> Array:
    """Means of zero and variances of one."""
    return jnp.full(shape.shape, 1.0 if path[-1].key == "variance" else 0.0, shape.dtype)
