"""Linear heads on the positions of an image, learnt from labels of whole images.

Multiple-instance learning: an image is a bag of positions, of which those that look most abnormal
speak for it (Dietterich et al. 1997, "Solving the Multiple Instance Problem with Axis-Parallel
Rectangles"). The logit of an image is the mean of its highest scores, as in deviation networks
(Pang et al. 2021, "Explainable Deep Few-shot Anomaly Detection with Deviation Networks"); here the
loss is cross-entropy and the features are frozen.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from ad_core.training.optimisers import make_optimiser, optimiser_defaults

FLOOR = 1e-2  # share of the features' mean variance that is added to each
_BEGIN = 0.1  # length of the weights at the start


class Heads(NamedTuple):
    """Linear heads of features; those of several parts of the images lie side by side."""

    weight: Float[np.ndarray, "d f"]
    bias: Float[np.ndarray, " f"]


class Descent(NamedTuple):
    """Settings of the learning; hashable, for a compiled loop.

    penalty: times the sum of squared weights of standardised features, beside cross-entropy in
    which each class weighs one half. top: share of the positions whose mean score is the logit.
    """

    steps: int
    lr: float
    penalty: float
    top: float


def learn_heads(
    x: Float[np.ndarray, "n p d"],
    labels: Int[np.ndarray, " n"],
    parts: Bool[np.ndarray, "f n"],
    settings: Descent,
) -> Heads:
    """A head for each part of the images, all learnt side by side in one compiled loop.

    One product of all positions with all weights serves every part. Features are standardised by
    the positions of a part's own images; the weights begin along the difference of the class means,
    so that nothing is drawn.

    Args:
        labels: 0 normal, 1 abnormal; of each some must lie in every part.
    """
    share = np.stack([parts & (labels == kind) for kind in (0, 1)]).astype(np.float64)
    share /= share.sum(axis=2, keepdims=True)
    first = x.mean(axis=1, dtype=np.float64)
    second = np.stack([np.einsum("pd,pd->d", one, one) / len(one) for one in x])
    even = parts / parts.sum(axis=1, keepdims=True)
    mean = even @ first
    variance = np.maximum(even @ second - mean**2, 0.0)
    typical = variance.mean(axis=1, keepdims=True)
    scale = np.sqrt(variance + FLOOR * np.where(typical > 0, typical, 1.0))
    apart = (share[1] - share[0]) @ first / scale
    begin = _BEGIN * apart / np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-12)
    to_device = partial(jnp.asarray, dtype=jnp.float32)
    weight, bias = _descend(
        to_device(begin.T),
        to_device(x),
        to_device(mean.T),
        to_device(scale.T),
        to_device(share.sum(axis=0).T / 2.0),
        jnp.asarray(labels == 1),
        settings=settings,
    )
    return Heads(np.asarray(weight), np.asarray(bias))


@partial(jax.jit, static_argnames=("settings",))
def _descend(
    begin: Float[Array, "d f"],
    x: Float[Array, "n p d"],
    mean: Float[Array, "d f"],
    scale: Float[Array, "d f"],
    share: Float[Array, "n f"],
    abnormal: Bool[Array, " n"],
    *,
    settings: Descent,
) -> tuple[Float[Array, "d f"], Float[Array, " f"]]:
    """Weights and biases for features as they are, after all steps of Adam."""

    def as_given(own: dict[str, Array]) -> tuple[Array, Array]:
        weight = own["weight"] / scale
        return weight, own["bias"] - jnp.sum(mean * weight, axis=0)

    def loss(own: dict[str, Array]) -> Float[Array, ""]:
        weight, bias = as_given(own)
        scores = jnp.einsum("npd,df->nfp", x, weight)
        logits = highest_mean(scores, settings.top) + bias[None]
        each = jax.nn.softplus(jnp.where(abnormal[:, None], -logits, logits))
        return jnp.sum(share * each) + settings.penalty * jnp.sum(own["weight"] ** 2)

    section = optimiser_defaults(lr=settings.lr)
    section.schedule = "cosine"
    adam = make_optimiser(section, steps=settings.steps)

    def step(carry: tuple[dict[str, Array], optax.OptState], _: None) -> tuple[tuple, None]:
        own, state = carry
        updates, state = adam.update(jax.grad(loss)(own), state)
        return (optax.apply_updates(own, updates), state), None

    own = {"weight": begin, "bias": jnp.zeros(begin.shape[1])}
    (own, _), _ = jax.lax.scan(step, (own, adam.init(own)), None, length=settings.steps)
    return as_given(own)


def highest_mean(scores: Float[Array, "*b p"], share: float) -> Float[Array, "*b"]:
    """Mean of the ceil(share * p) highest scores of each row."""
    count = int(np.ceil(share * scores.shape[-1]))
    return jnp.mean(jax.lax.top_k(scores, count)[0], axis=-1)
