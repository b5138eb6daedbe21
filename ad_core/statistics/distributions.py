"""Distributions of values: entropy, mutual information, Jensen-Shannon, Wasserstein-1."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ad_core.statistics.comparison import Comparison
from ad_core.statistics.moments import sums

ENTROPY_BINS = 256  # over [-2, 2]
JOINT_BINS = 64  # over [-1, 1], for each of the two images
FINE_STEPS = 16384  # over [-1, 1]


def histogram(cells: Int[Array, "b n"], count: int) -> Float[Array, "b {count}"]:
    """Count of each cell number in each row."""
    rows = jnp.arange(cells.shape[0])[:, None]
    return jnp.zeros((cells.shape[0], count), jnp.float32).at[rows, cells].add(1.0)


def cell_of(values: Float[Array, "*s"], reach: float, count: int) -> Int[Array, "*s"]:
    """Number of the bin of each value among `count` over [-reach, reach], as numpy.histogram
    counts; what lies outside goes to the ends.

    count / reach must be a power of two: the scaling is exact then, whatever the value.
    """
    cells = jnp.floor(values * (count / (2 * reach))).astype(jnp.int32) + count // 2
    return jnp.clip(cells, 0, count - 1)


def residual_entropy(pair: Comparison) -> Float[Array, "b"]:
    """Entropy in nats of the residual's histogram, ENTROPY_BINS bins over [-2, 2].

    0 for a constant residual; scipy.stats.entropy of numpy.histogram.
    """
    cells = cell_of(pair.lines.reshape(pair.lines.shape[0], -1), 2.0, ENTROPY_BINS)
    return entropy(histogram(cells, ENTROPY_BINS) / pair.count)


def mutual_information(pair: Comparison) -> Float[Array, "b"]:
    """Mutual information in nats of the values of image and reconstruction, all channels together.

    From a joint histogram of JOINT_BINS x JOINT_BINS bins over [-1, 1] (sklearn's
    mutual_info_score of that contingency). Lower is more anomalous; 0 if either is constant.
    """
    b = pair.image.shape[0]
    x, y = (cell_of(z.reshape(b, -1), 1.0, JOINT_BINS) for z in (pair.image, pair.other))
    joint = histogram(x * JOINT_BINS + y, JOINT_BINS**2) / pair.count
    table = joint.reshape(b, JOINT_BINS, JOINT_BINS)
    information = entropy(table.sum(axis=2)) + entropy(table.sum(axis=1)) - entropy(joint)
    return jnp.maximum(information, 0.0)


def jensenshannon(pair: Comparison) -> Float[Array, "b"]:
    """Jensen-Shannon distance of the two images taken as densities over their pixels.

    scipy.spatial.distance.jensenshannon(x + 1, y + 1): in [0, sqrt(log 2)]; negative values
    have no density, so that [-1, 1] is shifted to [0, 2] (below -1 counts as -1). An image
    without any density (all -1) is 0 from another such and sqrt(log 2) from the rest.
    """
    p, q = (jnp.maximum(z + 1, 0.0) for z in (pair.image_lines, pair.other_lines))
    mass_p, mass_q = sums([p, q])
    empty_p, empty_q = mass_p == 0, mass_q == 0
    p = p / jnp.where(empty_p, 1.0, mass_p)[:, None, None]
    q = q / jnp.where(empty_q, 1.0, mass_q)[:, None, None]
    divergence = sums([_divergence_density(p, q)])[0]
    extreme = jnp.where(empty_p & empty_q, 0.0, jnp.log(2.0))
    return jnp.sqrt(jnp.where(empty_p | empty_q, extreme, divergence))


def wasserstein(pair: Comparison) -> Float[Array, "b"]:
    """Wasserstein-1 distance between the values of the two images, wherever they lie.

    scipy.stats.wasserstein_distance, of values rounded to FINE_STEPS steps over [-1, 1], which
    is off by one step (1.2e-4) at most and in practice by far less. Sorting would be exact, and
    take seconds on CPU.
    """
    b = pair.image.shape[0]
    steps = jnp.concatenate([_nearest_step(pair.image), _nearest_step(pair.other)], axis=1)
    sign = jnp.repeat(jnp.asarray([1.0, -1.0]), pair.count)
    rows = jnp.arange(b)[:, None]
    # One table of differences: two histograms would cost twice the memory and the scatter.
    more = jnp.zeros((b, FINE_STEPS + 1)).at[rows, steps].add(sign[None])
    apart = jnp.abs(jnp.cumsum(more, axis=1))[:, :-1]
    return sums([apart.reshape(b, 128, -1)])[0] / pair.count * (2.0 / FINE_STEPS)


def _nearest_step(images):
    values = images.reshape(images.shape[0], -1)
    steps = jnp.round(values * (FINE_STEPS / 2)).astype(jnp.int32) + FINE_STEPS // 2
    return jnp.clip(steps, 0, FINE_STEPS)


def _divergence_density(p, q):
    """Terms of ((p log 2p/(p+q)) + (q log 2q/(p+q))) / 2, without loss where p is near q.

    With t = (p - q) / (p + q): (p + q) / 4 * ((1 + t) log(1 + t) + (1 - t) log(1 - t)), whose
    series for small t is t^2 + t^4 / 6 + t^6 / 15.
    """
    total = p + q
    t = (p - q) / jnp.where(total > 0, total, 1.0)
    series = t**2 * (1 + t**2 / 6 + t**4 / 15)
    far = jnp.where(jnp.abs(t) < 0.1, 0.5, t)
    exact = jax.scipy.special.xlog1py(1 + far, far) + jax.scipy.special.xlog1py(1 - far, -far)
    return total / 4 * jnp.where(jnp.abs(t) < 0.1, series, exact)


def entropy(shares: Float[Array, "b k"]) -> Float[Array, "b"]:
    """Entropy of each row of shares, in nats."""
    return jnp.sum(jax.scipy.special.entr(shares), axis=1)


FUNCTIONS = {
    "mutual_information": mutual_information,
    "jensenshannon": jensenshannon,
    "wasserstein": wasserstein,
}
