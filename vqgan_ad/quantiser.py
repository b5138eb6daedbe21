"""The vector quantiser as pure functions over a codebook [k, d] (van den Oord et al. 2017)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ad_core.training.partition import gather_over_devices, sum_over_devices


class Quantised(NamedTuple):
    """A latent snapped to its codes.

    latent: the codes, with the gradient passed straight through to the input.
    codes: index of each position's code.
    quantisation: mean over d of (sg[z] - code)^2, moves the codes.
    commitment: mean over d of (z - sg[code])^2, moves the encoder; same value, other gradient.
    """

    latent: Float[Array, "b h w d"]
    codes: Int[Array, "b h w"]
    quantisation: Float[Array, "b h w"]
    commitment: Float[Array, "b h w"]


def normalise(vectors: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """Vectors of unit length along d; an epsilon inside the root gives zero a gradient."""
    return vectors * jax.lax.rsqrt(jnp.sum(jnp.square(vectors), axis=-1, keepdims=True) + 1e-12)


def nearest(codebook: Float[Array, "k d"], latent: Float[Array, "*n d"]) -> Int[Array, "*n"]:
    """Index of the nearest code in L2, the lowest on a tie.

    |z - e|^2 = |z|^2 - 2 z.e + |e|^2 without the first term, which no choice depends on.
    """
    products = jnp.matmul(latent, codebook.T, precision=jax.lax.Precision.HIGHEST)
    lengths = jnp.sum(jnp.square(codebook), axis=-1)
    return jnp.argmin(lengths.reshape((1,) * (latent.ndim - 1) + (-1,)) - 2.0 * products, axis=-1)


def quantise(
    codebook: Float[Array, "k d"], latent: Float[Array, "b h w d"], *, unit: bool = False
) -> Quantised:
    """Replaces the latent of every position by its nearest code.

    Args:
        unit: compare and return unit vectors (Yu et al. 2022), so cosine decides.
    """
    if unit:
        codebook, latent = normalise(codebook), normalise(latent)
    codes = nearest(jax.lax.stop_gradient(codebook), jax.lax.stop_gradient(latent))
    chosen = codebook[codes]
    straight = latent + jax.lax.stop_gradient(chosen - latent)
    quantisation = jnp.mean(jnp.square(jax.lax.stop_gradient(latent) - chosen), axis=-1)
    commitment = jnp.mean(jnp.square(latent - jax.lax.stop_gradient(chosen)), axis=-1)
    return Quantised(straight, codes, quantisation, commitment)


def count_codes(codes: Int[Array, "*n"], k: int) -> Float[Array, " k"]:
    """Counts how often each code was chosen, over all devices."""
    return sum_over_devices(jnp.zeros(k).at[codes.reshape(-1)].add(1.0))


def start_codebook(key: PRNGKeyArray, k: int, d: int) -> Float[Array, "k d"]:
    """Codes drawn uniformly in [-1/k, 1/k], the start of VQ-VAE's and VQGAN's code."""
    return jax.random.uniform(key, (k, d), minval=-1.0 / k, maxval=1.0 / k)


def kmeans(
    key: PRNGKeyArray, latent: Float[Array, "b h w d"], k: int, *, iterations: int = 10
) -> Float[Array, "k d"]:
    """Centres of Lloyd's algorithm over one batch of latents, started from random ones of them.

    A centre that nothing is nearest to stays where it is. With fewer than k latents some
    centres start on the same one.
    """
    points = gather_over_devices(latent.reshape(-1, latent.shape[-1]))
    centres = draw(key, latent, k)

    def step(centres: Array, _: None) -> tuple[Array, None]:
        codes = nearest(centres, points)
        count = jnp.zeros(k).at[codes].add(1.0)
        total = jnp.zeros_like(centres).at[codes].add(points)
        moved = total / jnp.maximum(count, 1.0)[:, None]
        return jnp.where(count[:, None] > 0.0, moved, centres), None

    return jax.lax.scan(step, centres, None, length=iterations)[0]


def draw(key: PRNGKeyArray, latent: Float[Array, "b h w d"], k: int) -> Float[Array, "k d"]:
    """K random latents of the batch, distinct as far as possible: where dead codes start again.

    Source: Williams et al. 2020, "Hierarchical Quantized Autoencoders".
    """
    points = gather_over_devices(latent.reshape(-1, latent.shape[-1]))
    order = jax.random.permutation(key, points.shape[0])
    return points[jnp.tile(order, -(-k // points.shape[0]))[:k]]


class Average(NamedTuple):
    """Running sums from which an EMA codebook is read: codebook = total / size."""

    size: Float[Array, " k"]
    total: Float[Array, "k d"]


def start_average(codebook: Float[Array, "k d"]) -> Average:
    """Averages of a codebook whose every code has been seen once."""
    return Average(jnp.ones(codebook.shape[0]), codebook)


def update_average(
    average: Average,
    latent: Float[Array, "b h w d"],
    codes: Int[Array, "b h w"],
    *,
    decay: float = 0.99,
    epsilon: float = 1e-5,
) -> tuple[Average, Float[Array, "k d"]]:
    """Averages moved by one batch, and the codebook that they give.

    Sizes are smoothed by epsilon (Laplace), so that a code never divides by zero.
    Source: van den Oord et al. 2017, appendix A.1.
    """
    k, d = average.total.shape
    flat = jax.lax.stop_gradient(latent).reshape(-1, d)
    total = sum_over_devices(jnp.zeros((k, d)).at[codes.reshape(-1)].add(flat))
    size = decay * average.size + (1.0 - decay) * count_codes(codes, k)
    moved = Average(size, decay * average.total + (1.0 - decay) * total)
    n = jnp.sum(size)
    smooth = (size + epsilon) / (n + k * epsilon) * n
    return moved, moved.total / smooth[:, None]


def restart_average(
    average: Average, codebook: Float[Array, "k d"], anew: Bool[Array, " k"]
) -> Average:
    """Averages of which those of the codes marked `anew` start again from the codebook."""
    fresh = start_average(codebook)
    size = jnp.where(anew, fresh.size, average.size)
    return Average(size, jnp.where(anew[:, None], fresh.total, average.total))
