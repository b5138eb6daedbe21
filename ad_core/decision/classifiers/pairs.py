"""Sums over (abnormal, normal) pairs, by blocks: exact, and memory does not grow with the pairs.

All losses over pairs come down to two choices: a weight for each abnormal and each normal row,
and how the pairs of one abnormal row are gathered (mean, or a soft maximum).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ad_core.errors import UserError

Number = float | int

# Pairs held at once; each costs a few float32. Small enough for a CPU's cache.
_BLOCK_PAIRS = 2**20


class Surrogate(NamedTuple):
    """R(d) = max(gamma - d, 0)^p of d = abnormal score - normal score.

    temperature: None gathers the pairs of an abnormal row by their mean; otherwise by
    temperature * log mean exp(R / temperature), which tends to their maximum as it tends to 0.
    """

    gamma: Number
    p: Number
    temperature: Number | None = None


def surrogate(gamma: Number, p: Number, temperature: Number | None = None) -> Surrogate:
    """A checked Surrogate. Raises UserError unless gamma > 0, p >= 1 and temperature > 0."""
    if not gamma > 0:
        raise UserError(f"`gamma` (={gamma}) must be positive.")
    if not p >= 1:
        raise UserError(f"`p` (={p}) must be at least 1.")
    if temperature is not None and not temperature > 0:
        raise UserError(f"A temperature (={temperature}) must be positive.")
    return Surrogate(gamma, p, temperature)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def gather(
    scores: Float[Array, "n"],
    rows: Bool[Array, "n"],
    columns: Float[Array, "n"],
    form: Surrogate,
) -> Float[Array, "n"]:
    """Surrogate of each abnormal row i in `rows`, gathered over the normal rows; 0 elsewhere.

    sum_j c_j R(s_i - s_j), or t log sum_j c_j exp(R(s_i - s_j) / t).

    Args:
        columns: weights c of the normal rows, summing to 1; 0 elsewhere. Taken as constants by
            the gradient, as `rows` is.
    """
    return _forward(scores, rows, columns, form)[0]


def _forward(scores, rows, columns, form):
    def block(start, gathered):
        index, values = _take(scores, order, start, size)
        loss = _surrogate(values, scores, form)
        return gathered.at[index].set(_over_columns(loss, columns, form), mode="drop")

    order, size = _selected_first(rows)
    gathered = jax.lax.fori_loop(0, _n_blocks(rows, size), block, jnp.zeros_like(scores))
    gathered = jnp.where(rows, gathered, 0.0)
    return gathered, (scores, rows, columns, gathered)


def _backward(form, residuals, cotangent):
    scores, rows, columns, gathered = residuals
    cotangent = jnp.where(rows, cotangent, 0.0)

    def block(start, gradient):
        index, values = _take(scores, order, start, size)
        slope = _slope(values, scores, form) * columns[None, :]
        if form.temperature is not None:
            excess = _surrogate(values, scores, form) - _at(gathered, index)[:, None]
            # Where a normal row has no weight its excess is unbounded.
            slope *= jnp.exp(jnp.where(columns[None, :] > 0, excess, 0.0) / form.temperature)
        slope *= _at(cotangent, index)[:, None]
        return (gradient - slope.sum(0)).at[index].add(slope.sum(1), mode="drop")

    order, size = _selected_first(rows)
    gradient = jax.lax.fori_loop(0, _n_blocks(rows, size), block, jnp.zeros_like(scores))
    return gradient, None, None


gather.defvjp(_forward, _backward)


def _selected_first(rows):
    """Row numbers of those in `rows`, then n (out of range) up to a whole number of blocks."""
    n = rows.shape[0]
    size = max(1, min(n, _BLOCK_PAIRS // n))
    return jnp.nonzero(rows, size=n + -n % size, fill_value=n)[0], size


def _n_blocks(rows, size):
    return (rows.sum() + size - 1) // size


def _take(scores, order, start, size):
    index = jax.lax.dynamic_slice_in_dim(order, start * size, size)
    return index, _at(scores, index)


def _at(values, index):
    return values.at[index].get(mode="fill", fill_value=0.0)


def _shortfall(values, scores, form):
    return jnp.maximum(form.gamma - (values[:, None] - scores[None, :]), 0.0)


def _surrogate(values, scores, form):
    return _shortfall(values, scores, form) ** form.p


def _slope(values, scores, form):
    """dR/dd, at most 0."""
    shortfall = _shortfall(values, scores, form)
    # At p = 1 the power would be 0^0 = 1 where the pair is already won.
    return jnp.where(shortfall > 0, -form.p * shortfall ** (form.p - 1), 0.0)


def _over_columns(loss, columns, form):
    if form.temperature is None:
        return (loss * columns[None, :]).sum(1)
    exponent = jnp.where(columns[None, :] > 0, loss / form.temperature, -jnp.inf)
    # Without any normal row every exponent is -inf: the caller's weights are then all 0.
    largest = jnp.maximum(exponent.max(1), 0.0)
    total = (columns[None, :] * jnp.exp(exponent - largest[:, None])).sum(1)
    soft = form.temperature * (largest + jnp.log(jnp.where(total > 0, total, 1.0)))
    return jnp.where(total > 0, soft, 0.0)
