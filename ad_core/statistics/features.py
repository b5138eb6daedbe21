"""Distances of image and normal version in the features of a frozen backbone.

`deep_distance_<level>_mean` and `_max` are the mean over the positions of a level of |f - f̂|^2, f
and f̂ the features of both at unit length, and its largest value; `deep_distance` is the sum of
the means, the perceptual distance. The backbone sees each image and each normal version once,
however many statistics are asked for.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ad_core.backbones.perceptual import distance_maps, whole_distance
from ad_core.statistics.comparison import Comparison

INCEPTION = "inception"  # the backbone whose `fid` needs no other name


class _Features(NamedTuple):
    """What the backbone sees: distances at each position, and the last level's mean of each."""

    distances: dict[str, Float[Array, "b _ _"]]
    image: Float[Array, "b d"]
    other: Float[Array, "b d"]


def fid(pair: Comparison) -> Float[Array, "b"]:
    """|f - f̂|^2 + (s - ŝ)^2 of one image: the "FID" that CycleGAN-AD scores with.

    f is the mean over positions of the backbone's last level, s its standard deviation over the
    channels (ddof 1). It is the Fréchet distance of two points whose "covariance" is that one
    variance, no distance between distributions of images. 0 for identical images.
    """
    features = _look(pair)
    f, g = features.image, features.other
    spread = jnp.std(f, axis=1, ddof=1) - jnp.std(g, axis=1, ddof=1)
    return jnp.sum((f - g) ** 2, axis=1) + spread**2


def distance(pair: Comparison) -> Float[Array, "b"]:
    """Perceptual distance: the levels' mean distances, summed."""
    return whole_distance(_look(pair).distances)


def distance_map(level: str, pair: Comparison) -> Float[Array, "b _ _"]:
    """|f - f̂|^2 in [0, 4] at each position of a level."""
    return _look(pair).distances[level]


def distance_mean(level: str, pair: Comparison) -> Float[Array, "b"]:
    """Mean over positions of the distance of a level."""
    return jnp.mean(distance_map(level, pair), axis=(1, 2))


def distance_max(level: str, pair: Comparison) -> Float[Array, "b"]:
    """Largest distance of a level."""
    return jnp.max(distance_map(level, pair), axis=(1, 2))


def _look(pair: Comparison) -> _Features:
    return pair.shared("features", lambda: _features(pair))


def _features(pair: Comparison) -> _Features:
    """Both sides pass as one batch: half the code to compile."""
    backbone, count = pair.context.backbone, len(pair.image)
    assert backbone is not None  # `expand` saw to it
    both = backbone.stages(backbone.params, jnp.concatenate([pair.image, pair.other]))
    f = {level: x[:count] for level, x in both.items()}
    g = {level: x[count:] for level, x in both.items()}
    last = backbone.network.levels[-1].name
    pooled = (jnp.mean(side[last], axis=(1, 2)) for side in (f, g))
    return _Features(distance_maps(f, g), *pooled)


FUNCTIONS = {"mean": distance_mean, "max": distance_max}
