"""Optimisers of two players: networks that draw, and networks that tell real from drawn."""

from typing import Any, NamedTuple

import optax
from ml_collections import ConfigDict

from ad_core.training.optimisers import make_optimiser

# Of `config.reconstructor`: the part that describes each player's optimiser.
SECTIONS = ("optimiser", "disc_optimiser")


class PlayerOptimisers(NamedTuple):
    """An optimiser for all that draws, and one for a discriminator.

    A method with several discriminators keeps a state of the latter for each.
    """

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation


def make_player_optimisers(config: ConfigDict) -> PlayerOptimisers:
    """The optimisers of a complete configuration, for the length of its training.

    Raises:
        UserError: an unknown optimiser or schedule.
    """
    train, method = config.train, config.reconstructor
    return PlayerOptimisers(
        *(make_optimiser(method[name], steps=train.steps, epochs=train.epochs) for name in SECTIONS)
    )


def descend(
    optimiser: optax.GradientTransformation, gradient: Any, opt_state: Any, params: Any
) -> tuple[Any, Any]:
    """One update: (parameters, state of the optimiser) after it."""
    updates, opt_state = optimiser.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), opt_state
