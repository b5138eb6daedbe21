"""Raw heat maps as 16-bit grey pictures, from which a map's values can be read again."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt16

from ad_core.scoring.localisation import MapScale

HOTTEST = 2**16 - 1
_BELOW, _ABOVE = 1.0, 6.0  # how far grey values reach beyond the scale of colours, in its widths


class HeatScale(NamedTuple):
    """Scale from grey values to a map's own values, the same for every image of a detector.

    value = zero + step * grey. HOTTEST is `zero + step * HOTTEST` or more, or not a number; 0 is
    `zero` or less. level: a region lies above it.
    """

    zero: float
    step: float
    level: float

    @classmethod
    def of(cls, scale: MapScale) -> "HeatScale":
        """Grey values from one width of the scale of colours below it to six widths above it.

        A step is then 1 / 8192 of that width.
        """
        width = scale.high - scale.low
        step = (_BELOW + 1.0 + _ABOVE) * width / HOTTEST
        return cls(zero=scale.low - _BELOW * width, step=step, level=scale.level)

    def grey(self, anomaly: Float[np.ndarray, "h w"]) -> UInt16[np.ndarray, "h w"]:
        """The grey value of each value of a map, rounded; NaN is HOTTEST, as in the colours."""
        steps = (np.asarray(anomaly, np.float64) - self.zero) / self.step
        steps = np.nan_to_num(steps, nan=HOTTEST, posinf=HOTTEST, neginf=0.0)
        return np.clip(np.round(steps), 0, HOTTEST).astype(np.uint16)

    def values(self, grey: UInt16[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
        """The inverse of `grey`, to half a step."""
        return self.zero + self.step * np.asarray(grey, np.float64)

    def to_dict(self, *, longest_px: int) -> dict[str, Any]:
        """Facts about the pictures, for summary.json.

        Args:
            longest_px: longest side of a picture; larger images are reduced to it.
        """
        return {
            "value": "zero + step * grey",
            **self._asdict(),
            "hottest_grey": HOTTEST,
            "longest_side_px": longest_px,
        }
