"""The weights that adversarial networks start from (DCGAN; Radford et al. 2016)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

SPREAD = 0.02  # standard deviation of what is drawn


def dcgan_start(shapes: Any, key: PRNGKeyArray, *, scale_spread: float | int = 0.0) -> Any:
    """Kernels from N(0, 0.02), scales from N(1, scale_spread), biases of zero.

    One draw for all of them, cut in the sorted order of the networks' names: XLA would compile a
    draw for each of them in half a minute.

    Args:
        shapes: a tree of arrays or shapes whose leaves are called kernel, scale or bias.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    spreads = {"kernel": SPREAD, "scale": scale_spread, "bias": 0.0}
    names = [path[-1].key for path, _ in leaves]
    sizes = [x.size if spreads[name] else 0 for name, (_, x) in zip(names, leaves, strict=True)]
    row = jax.random.normal(key, (sum(sizes),))
    pieces = jnp.split(row, np.cumsum(sizes)[:-1])
    values = [
        _filled(name, x, spreads[name] * piece)
        for name, (_, x), piece in zip(names, leaves, pieces, strict=True)
    ]
    return jax.tree_util.tree_unflatten(tree, values)


def _filled(name: str, shape: Any, drawn: jax.Array) -> jax.Array:
    centre = 1.0 if name == "scale" else 0.0
    if not drawn.size:
        return jnp.full(shape.shape, centre, shape.dtype)
    return (centre + drawn).reshape(shape.shape).astype(shape.dtype)
