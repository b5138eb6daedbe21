"""Distances to the nearest items of a memory, a block of it at a time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

HIGHEST = jax.lax.Precision.HIGHEST
BLOCK = 2**22  # distances held at a time: 16 MB
FAR = 1e15  # coordinates of rows that only make room; their squares are finite in float32


class Nearest(NamedTuple):
    """Distance of each query to the nearest item, and which item that is."""

    distance: Float[Array, "b n"]
    item: Int[Array, "b n"]


def nearest(
    queries: Float[Array, "b n d"], bank: Float[Array, "m d"], *, block: int = BLOCK
) -> Nearest:
    """Euclidean distance of each query to the nearest item of the bank; ties: the lowest item.

    Blocks run over the bank, so that queries stay divided among devices as the images are.
    The distance of the item that is found is computed anew, without the cancellation of
    |q|^2 + |m|^2 - 2 qm.

    Args:
        block: distances held at a time, at least one for each query; static.
    """
    b, n, d = queries.shape
    size = max(1, min(len(bank), block // (b * n)))
    count = -(-len(bank) // size)
    beyond = count * size - len(bank)
    blocks = jnp.pad(bank, ((0, beyond), (0, 0))).reshape(count, size, d)
    square = jnp.pad(jnp.sum(bank**2, axis=1), (0, beyond), constant_values=jnp.inf)

    def step(best: tuple[Array, Array], part: tuple[Array, Array, Array]) -> tuple:
        items, squares, first = part
        product = jnp.einsum("bnd,md->bnm", queries, items, precision=HIGHEST)
        partial = squares[None, None] - 2.0 * product  # |q|^2 is the same for all items
        place = jnp.argmin(partial, axis=2)
        value = jnp.take_along_axis(partial, place[..., None], axis=2)[..., 0]
        closer = value < best[0]
        item = jnp.where(closer, first + place.astype(jnp.int32), best[1])
        return (jnp.where(closer, value, best[0]), item), None

    start = jnp.full((b, n), jnp.inf), jnp.zeros((b, n), jnp.int32)
    firsts = jnp.arange(count, dtype=jnp.int32) * size
    (_, item), _ = jax.lax.scan(step, start, (blocks, square.reshape(count, size), firsts))
    return Nearest(jnp.sqrt(jnp.sum((queries - bank[item]) ** 2, axis=-1)), item)


def reweighted(
    query: Float[Array, "b d"],
    found: Nearest,
    bank: Float[Array, "m d"],
    *,
    neighbours: int,
) -> Float[Array, " b"]:
    """The distance of a query, times 1 - exp(s) / sum over the neighbours of exp(their distance).

    s is the distance to the nearest item; its neighbours are the items of the bank nearest to it,
    itself among them. A query far from an item that lies in thin surroundings counts more. With 1
    neighbour or a bank of one item the distance stays as it is. Rows that lie FAR are no items.

    Args:
        found: of each image the one query that is farthest from the bank, [b, 1].

    Source: PatchCore, section 3.3, eq. 7.
    """
    s, item = found.distance[:, 0], found.item[:, 0]
    count = min(neighbours, len(bank))
    if count < 2:
        return s
    center = bank[item]
    product = jnp.einsum("bd,md->bm", center, bank, precision=HIGHEST)
    apart = jnp.sum(bank**2, axis=1)[None] - 2.0 * product
    apart = jnp.where(jnp.arange(len(bank))[None] == item[:, None], -jnp.inf, apart)
    around = bank[jax.lax.top_k(-apart, count)[1]]
    distances = jnp.sqrt(jnp.sum((query[:, None] - around) ** 2, axis=-1))
    distances = jnp.where(around[..., 0] < FAR, distances, -jnp.inf)
    weighted = s * (1.0 - jax.nn.softmax(distances, axis=1)[:, 0])
    return jnp.where(jnp.sum(bank[:, 0] < FAR) > 1, weighted, s)
