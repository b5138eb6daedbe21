"""A few patches that stand for many: a bounded sample, and of it the greedy k-centre coreset."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

BLOCK = 2**22  # coordinates whose differences are held at a time: 16 MB


class Reservoir:
    """A uniform sample of at most `size` of all patches that pass by, in their order.

    Each patch draws a number in the order in which the patches come, and those with the lowest
    numbers stay: the sample does not depend on how the patches are divided into batches.
    """

    def __init__(self, size: int, key: PRNGKeyArray):
        self.size = size
        self.seen = 0
        self._random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        self._drawn = np.zeros(0)
        self._patches: np.ndarray | None = None

    def add(self, patches: Float[np.ndarray, "n d"]) -> None:
        """Takes in the next patches."""
        drawn = self._random.random(len(patches))
        self.seen += len(patches)
        # Once it is full few stay, and no more than these are copied.
        stay = drawn < (self._drawn.max() if len(self._drawn) == self.size else 1.0)
        drawn = np.concatenate([self._drawn, drawn[stay]])
        before = patches[:0] if self._patches is None else self._patches
        patches = np.concatenate([before, patches[stay]])
        lowest = np.sort(np.argsort(drawn)[: self.size])
        self._drawn, self._patches = drawn[lowest], patches[lowest]

    def patches(self) -> Float[np.ndarray, "n d"]:
        """The sample; nothing was seen: no rows and no columns."""
        return np.zeros((0, 0), np.float32) if self._patches is None else self._patches


def project(
    points: Float[np.ndarray, "n d"], key: PRNGKeyArray, *, width: int
) -> Float[Array, "n _"]:
    """Points in `width` random directions, which keep their distances on average.

    All d coordinates as they are where `width` is 0 or not below d. Source: Johnson and
    Lindenstrauss; PatchCore, section 3.2.
    """
    d = points.shape[1]
    if not 0 < width < d:
        return jnp.asarray(points)
    directions = jax.random.normal(key, (d, width)) / np.sqrt(width)
    return jnp.matmul(points, directions, precision=jax.lax.Precision.HIGHEST)


def k_centres(
    points: Float[Array, "n d"], start: Int[Array, ""], *, size: Int[Array, ""] | int, most: int
) -> Int[Array, " most"]:
    """Indices of `size` points: `start`, then each time the one farthest from those chosen.

    Args:
        size: from 1 to `most`; it may be traced.
        most: at most n; static under jit. Beyond `size` the indices are 0.

    Source: PatchCore (Roth et al. 2022), algorithm 1; ties go to the lowest index.
    """
    count, d = points.shape
    rows = min(count, max(1, BLOCK // d))
    blocks = jnp.pad(points, ((0, -count % rows), (0, 0))).reshape(-1, rows, d)

    def step(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        chosen, nearest = carry
        centre = points[chosen[i - 1]]
        apart = jax.lax.map(lambda block: jnp.sum((block - centre[None]) ** 2, axis=1), blocks)
        nearest = jnp.minimum(nearest, apart.reshape(-1)[:count])
        return chosen.at[i].set(jnp.argmax(nearest).astype(jnp.int32)), nearest

    chosen = jnp.zeros(most, jnp.int32).at[0].set(start.astype(jnp.int32))
    carry = chosen, jnp.full(len(points), jnp.inf)
    return jax.lax.fori_loop(1, size, step, carry)[0]


k_centres_compiled = jax.jit(k_centres, static_argnames="most")
