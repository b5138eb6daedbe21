"""Loss terms shared by the families: elementwise and unreduced unless the name says otherwise."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def squared_error(x: Float[Array, "*s"], y: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """(x - y)^2, the poster's reconstruction term."""
    return jnp.square(x - y)


def absolute_error(x: Float[Array, "*s"], y: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """|x - y|, the reconstruction term of VQGAN (Esser et al. 2021)."""
    return jnp.abs(x - y)


RECONSTRUCTION = {"l2": squared_error, "l1": absolute_error}


class Adversarial(NamedTuple):
    """Both sides of an adversarial game, as functions of raw logits; each is minimised."""

    generator: Callable[[Float[Array, "*s"]], Float[Array, "*s"]]
    real: Callable[[Float[Array, "*s"]], Float[Array, "*s"]]
    fake: Callable[[Float[Array, "*s"]], Float[Array, "*s"]]


# With D(x) = sigmoid(logit): -log D(x) = softplus(-logit), -log(1 - D(x)) = softplus(logit).
ADVERSARIAL = {
    # The poster's min-max game: the generator minimises log(1 - D) itself. Its gradient fades
    # where D is sure, which the adaptive weight makes up for.
    "log": Adversarial(
        lambda d: -jax.nn.softplus(d), lambda d: jax.nn.softplus(-d), jax.nn.softplus
    ),
    # Goodfellow et al. 2014, section 3: the generator maximises log D instead.
    "non_saturating": Adversarial(
        lambda d: jax.nn.softplus(-d), lambda d: jax.nn.softplus(-d), jax.nn.softplus
    ),
    # Lim and Ye 2017; the default of VQGAN's code.
    "hinge": Adversarial(
        lambda d: -d, lambda d: jax.nn.relu(1.0 - d), lambda d: jax.nn.relu(1.0 + d)
    ),
    # Mao et al. 2017 (LSGAN): targets 1 for real and 0 for fake.
    "least_squares": Adversarial(
        lambda d: jnp.square(d - 1.0), lambda d: jnp.square(d - 1.0), jnp.square
    ),
}
