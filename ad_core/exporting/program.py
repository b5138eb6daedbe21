"""A detector as three pure functions: pixels to image, image to statistics, these to a verdict."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64, Int, UInt8
from ml_collections import ConfigDict

from ad_core.exporting.classifiers import score_function
from ad_core.exporting.reading import BANDS, Read, Rule, read_pixels, rule_of
from ad_core.scoring.detector import Parts
from ad_core.scoring.measuring import make_measure_all
from ad_core.scoring.part import Part, find_localisers, first_shown, measuring_of

Measured = tuple[Float[Array, "k"], Float32[Array, "h w"]]
Judged = tuple[Float64[Array, ""], Int[Array, ""]]


class Program(NamedTuple):
    """The functions of a detector; `read` and `judge` are traced with 64 bits enabled.

    read: uint8 pixels [h, w, 3] of any size -> Read. measure: (image, content) -> the statistics
    and the anomaly map. judge: (statistics, beyond) -> the score, and 1 where to inspect, else 0.
    """

    rule: Rule
    count: int
    threshold: float
    read: Callable[[UInt8[Array, "h w 3"]], Read]
    measure: Callable[[Float32[Array, "1 h w c"], Int[Array, "1 4"]], Measured]
    judge: Callable[[Float[Array, "k"], Bool[Array, ""]], Judged]

    @property
    def measure_shapes(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """The arguments of `measure`."""
        image = (1, self.rule.height, self.rule.width, self.rule.channels)
        return jax.ShapeDtypeStruct(image, np.float32), jax.ShapeDtypeStruct((1, 4), np.int32)

    @property
    def judge_shapes(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """The arguments of `judge`."""
        return jax.ShapeDtypeStruct((self.count,), np.float32), jax.ShapeDtypeStruct((), np.bool_)

    @property
    def map_shape(self) -> tuple[int, int]:
        """Height and width of the map."""
        return self.rule.height, self.rule.width


def pixel_shape() -> jax.ShapeDtypeStruct:
    """The argument of `read`, of symbolic height h and width w."""
    h, w = jax.export.symbolic_shape("h, w")
    return jax.ShapeDtypeStruct((h, w, BANDS), np.uint8)


def make_program(parts: Parts, *, threshold: float) -> Program:
    """The functions of a detector that inspects from `threshold` on.

    Everything is computed in float32, also where the detector itself computes in bfloat16.

    Raises:
        UserError: a classifier, or a range of values, that cannot be exported.
    """
    rule = rule_of(parts.config.data, clipped=parts.clipped)
    score = score_function(parts.classifier)

    def judge(statistics: Float[Array, "k"], beyond: Bool[Array, ""]) -> Judged:
        sound = jnp.all(jnp.isfinite(statistics))
        found = jnp.where(sound, score(statistics), jnp.float64(jnp.nan))
        normal = (found < jnp.float64(threshold)) & ~beyond
        return found, 1 - normal.astype(jnp.int32)

    return Program(
        rule=rule,
        count=len(parts.names),
        threshold=threshold,
        read=lambda pixels: read_pixels(rule, pixels),
        measure=_measure(parts),
        judge=judge,
    )


def _measure(parts: Parts) -> Callable[..., Measured]:
    localisers = find_localisers(parts.methods, parts.config.localisation, maps=parts.maps)
    pairs = zip(parts.methods, localisers, strict=True)
    each = [measuring_of(_exact(part), one) for part, one in pairs]
    measure_all = make_measure_all(each, shown=first_shown(localisers))
    known = jax.tree.map(jnp.asarray, [one.known for one in each])

    def measure(image: Float32[Array, "1 h w c"], content: Int[Array, "1 4"]) -> Measured:
        boxed = content if parts.config.data.resize == "letterbox" else None
        statistics, maps, _ = measure_all(known, (image, boxed))
        return statistics[0], _told(parts, maps[0])

    return measure


def _exact(part: Part) -> Part:
    """The part that computes in float32."""
    config = ConfigDict(part.config.to_dict())
    config.train.dtype = "float32"
    return part._replace(config=config)


def _told(parts: Parts, maps: Float32[Array, "m h w"]) -> Float32[Array, "h w"]:
    anomaly = maps[0] if parts.fusion is None else parts.fusion(maps)
    if parts.profile is None:
        return anomaly
    mean, deviation = map(jnp.asarray, parts.profile)
    return (anomaly - mean) / deviation
