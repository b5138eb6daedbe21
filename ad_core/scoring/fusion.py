"""Several maps of an image told as one, which is hot where all of them are.

Methods err at other places: what a memory of normal images finds strange and what looks like
known defects have mostly the defect in common.
"""

import operator
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from ad_core.scoring.localisation import MapScale, fit_scale

SOFTNESS = 0.25  # of the corner at 0: without it all that is colder than usual would be alike

Maps = Float[Array, "*n m h w"] | Float[np.ndarray, "*n m h w"]


class Fusion(NamedTuple):
    """Scales of the m maps of an image, by which they become one."""

    scales: tuple[MapScale, ...]

    def __call__(self, maps: Maps) -> Any:
        """Geometric mean of the maps' heights, [*n, h, w]; 1.06 where all are at their level.

        A height is (x + sqrt(x^2 + SOFTNESS)) / 2, which is above 0, and nearly x where that is:
        x is 0 at the scale's low and 1 at its level. A map that is the same everywhere on normal
        images, as of a method that has learnt nothing, does not count.
        """
        told = [(number, one) for number, one in enumerate(self.scales) if one.level > one.low]
        heights = [_height(maps[..., number, :, :], one) for number, one in told]
        if not heights:
            return maps[..., 0, :, :]
        return reduce(operator.mul, heights) ** (1 / len(heights))

    def to_list(self) -> list[dict[str, float]]:
        """Plain numbers for JSON."""
        return [one.to_dict() for one in self.scales]

    @classmethod
    def from_list(cls, values: Sequence[dict[str, float]]) -> "Fusion":
        """The inverse of `to_list`."""
        return cls(tuple(map(MapScale.from_dict, values)))


def _height(one: Any, scale: MapScale) -> Any:
    x = (one - scale.low) / (scale.level - scale.low)
    above = (abs(x) + (x * x + SOFTNESS) ** 0.5) / 2
    below = SOFTNESS / 4 / above  # the same below 0, where x and its root would cancel
    return x.__array_namespace__().where(x < 0, below, above)


def fit_fusion(
    normal: Sequence[Float[np.ndarray, "m _ _"]], *, level_quantile: float
) -> Fusion | None:
    """The fusion whose scales are those of calibration normals, as `fit_scale`; None of one map.

    Args:
        normal: maps of each image, without what lies beside it.

    Raises:
        UserError: as `fit_scale`.
    """
    if not normal or len(normal[0]) == 1:
        return None

    def each(number: int) -> Iterable[Float[np.ndarray, "1 _ _"]]:
        return (maps[number][None] for maps in normal)

    scales = (fit_scale(each(n), level_quantile=level_quantile) for n in range(len(normal[0])))
    return Fusion(tuple(scales))
