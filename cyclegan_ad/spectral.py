"""Spectral normalisation of a network's kernels without a state (Miyato et al. 2018)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

ITERATIONS = 8


def normalise_kernels(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters with every kernel [..., outputs] divided by its largest singular value."""

    def normalise(path: Any, x: Array) -> Array:
        is_kernel = getattr(path[-1], "key", "") == "kernel"
        return x / largest_singular_value(x.reshape(-1, x.shape[-1])) if is_kernel else x

    return jax.tree_util.tree_map_with_path(normalise, params)


def largest_singular_value(matrix: Float[Array, "m n"]) -> Float[Array, ""]:
    """Largest singular value, from below, by ITERATIONS of the power method from a fixed start.

    Miyato et al. carry the vector of one iteration a step from step to step; starting anew
    needs no state, and inference divides by what training divided by. The gradient regards the
    singular vectors as constants, which for exact ones is the true gradient.
    """
    frozen = jax.lax.stop_gradient(matrix)
    right = jax.random.normal(jax.random.key(0), (matrix.shape[1],))
    for _ in range(ITERATIONS):
        left = _unit(frozen @ right)
        right = _unit(left @ frozen)
    return left @ matrix @ right


def _unit(x: Float[Array, " n"]) -> Float[Array, " n"]:
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x)) + 1e-12)
