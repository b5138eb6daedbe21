"""The weights that networks start from, in one draw for all of them.

The draw is cut in the sorted order of the networks' names: XLA would compile a draw for each kernel
in half a minute.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

SPREAD = 0.02  # standard deviation of what is drawn in `dcgan_start`
TRUNCATED = 0.8796256610342398  # deviation of a normal variable that is cut at 2 deviations
ENDING = "ending"  # name of a layer that starts as zero

Spread = Callable[[tuple[str, ...], tuple[int, ...]], float | int]  # of names and shape


def dcgan_start(shapes: Any, key: PRNGKeyArray, *, scale_spread: float | int = 0.0) -> Any:
    """Kernels from N(0, 0.02), scales from N(1, scale_spread), biases of zero.

    Source: Radford et al. 2016.

    Args:
        shapes: a tree of arrays or shapes whose leaves are called kernel, scale or bias.
    """
    spreads = {"kernel": SPREAD, "scale": scale_spread, "bias": 0.0}
    return _start(shapes, key, lambda names, shape: spreads[names[-1]])


def fan_in_start(shapes: Any, key: PRNGKeyArray) -> Any:
    """Kernels from N(0, 1 / inputs), scales of one, biases of zero; layers called ENDING are zero.

    The inputs of a kernel are all its axes but the last. Source: LeCun et al. 1998, section 4.6.

    Args:
        shapes: as in `dcgan_start`.
    """
    return _start(shapes, key, _fan_in_spread)


def lecun_start(shapes: Any, key: PRNGKeyArray) -> Any:
    """Kernels from N(0, 1 / inputs) cut at 2 deviations, scales of one, biases of zero.

    After the cut their deviation is 1 / sqrt(inputs). It is the start of Linen's convolutions and
    dense layers, `flax.linen.initializers.lecun_normal`, from another key.

    Args:
        shapes: as in `dcgan_start`.
    """
    return _start(shapes, key, _fan_in_spread, draw=_truncated)


def _fan_in_spread(names: tuple[str, ...], shape: tuple[int, ...]) -> float:
    drawn = names[-1] == "kernel" and ENDING not in names
    return math.prod(shape[:-1]) ** -0.5 if drawn else 0.0


def _truncated(key: PRNGKeyArray, shape: tuple[int, ...]) -> jax.Array:
    """Numbers within 2 standard deviations of a normal distribution, scaled to a deviation of 1."""
    return jax.random.truncated_normal(key, -2.0, 2.0, shape) / TRUNCATED


def _start(
    shapes: Any,
    key: PRNGKeyArray,
    spread: Spread,
    *,
    draw: Callable[[PRNGKeyArray, tuple[int, ...]], jax.Array] = jax.random.normal,
) -> Any:
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    named = [(tuple(str(part.key) for part in path), x) for path, x in leaves]
    spreads = [spread(names, x.shape) for names, x in named]
    sizes = [x.size if width else 0 for width, (_, x) in zip(spreads, named, strict=True)]
    row = draw(key, (sum(sizes),))
    pieces = jnp.split(row, np.cumsum(sizes)[:-1])
    values = [
        _filled(names[-1], x, width * piece)
        for (names, x), width, piece in zip(named, spreads, pieces, strict=True)
    ]
    return jax.tree_util.tree_unflatten(tree, values)


def _filled(name: str, shape: Any, drawn: jax.Array) -> jax.Array:
    centre = 1.0 if name == "scale" else 0.0
    if not drawn.size:
        return jnp.full(shape.shape, centre, shape.dtype)
    return (centre + drawn).reshape(shape.shape).astype(shape.dtype)
