"""Profile of normal maps: how high a map usually is at each position, and how much that varies.

A map of normal images is seldom even: networks answer otherwise at the border than in the middle,
and a part has places that differ from one piece to the next. Where a map is hottest among normal
images it says little. So each position is compared with itself among calibration normals, measured
by states that have not learnt them: (map - mean) / deviation.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64

from ad_core.runtime.inference import Begun
from ad_core.scoring.fusion import Fusion
from ad_core.scoring.localisation import MapScale, fit_scale
from ad_core.scoring.measuring import Content, Knowledge, Measured, Measurer
from ad_core.types import Box

NONE, MEAN, DEVIATION = KINDS = ("none", "mean", "deviation")
PRIOR = 5.0  # normal images: a position that as many show is trusted by half
FLOOR = 0.5  # least deviation of a position, as a share of the whole map's


class Profile(NamedTuple):
    """Mean and deviation of normal maps at each position, at the network's size."""

    mean: Float32[np.ndarray, "h w"]
    deviation: Float32[np.ndarray, "h w"]

    def __call__(self, maps: Float[np.ndarray, "*n h w"]) -> Float32[np.ndarray, "*n h w"]:
        """(map - mean) / deviation of each map; high is abnormal."""
        return (np.asarray(maps, np.float32) - self.mean) / self.deviation

    def within(self, content: Box) -> "Profile":
        """The profile of what lies in a box."""
        left, top, right, bottom = content
        return Profile(*(values[top:bottom, left:right] for values in self))


class Moments(NamedTuple):
    """Moments of the maps seen so far, at each position; beside an image's content nothing counts.

    count: how many images show the position. scatter: sum of squared deviations from the mean.
    """

    count: Float64[np.ndarray, "h w"]
    mean: Float64[np.ndarray, "h w"]
    scatter: Float64[np.ndarray, "h w"]

    @classmethod
    def nothing(cls, size: tuple[int, int]) -> "Moments":
        """Moments of no map."""
        return cls(np.zeros(size), np.zeros(size), np.zeros(size))

    def add(self, shown: Float[np.ndarray, "_ _"], content: Box) -> "Moments":
        """The moments with a map, as far as it shows its image; one that is not finite adds none.

        Source: Welford 1962, "Note on a method for calculating corrected sums of squares".

        Args:
            shown: the part of the map that lies in `content`.
        """
        return self._moved(shown, content, 1.0)

    def without(self, shown: Float[np.ndarray, "_ _"], content: Box) -> "Moments":
        """The inverse of `add`: the moments without a map that was added."""
        return self._moved(shown, content, -1.0)

    def _moved(self, shown: Float[np.ndarray, "_ _"], content: Box, weight: float) -> "Moments":
        if not np.isfinite(shown).all():
            return self
        left, top, right, bottom = content
        place = slice(top, bottom), slice(left, right)
        moved = Moments(self.count.copy(), self.mean.copy(), self.scatter.copy())
        count = moved.count[place] + weight
        delta = np.asarray(shown, np.float64) - moved.mean[place]
        mean = np.where(count > 0, moved.mean[place] + weight * delta / np.maximum(count, 1), 0)
        scatter = moved.scatter[place] + weight * delta * (shown - mean)
        moved.count[place], moved.mean[place] = count, mean
        moved.scatter[place] = np.where(count > 1, np.maximum(scatter, 0), 0)
        return moved


def fit_profile(moments: Moments, kind: str) -> Profile | None:
    """Profile of the maps that have been added; None of kind NONE, and of no map.

    A position's own mean and variance count n / (n + PRIOR) where n images show it, and the whole
    map's count the rest. The whole map's variance is the mean one around the positions' means. No
    deviation lies below FLOOR times the whole map's. Of kind MEAN it is that everywhere.
    """
    count, mean, scatter = moments
    if kind == NONE or not count.any():
        return None
    own = count / (count + PRIOR)
    level = np.average(mean, weights=count)
    variance = scatter.sum() / max(np.maximum(count - 1, 0).sum(), 1)
    if not variance:  # one map, or maps that are all the same
        return Profile(_float32(level + own * (mean - level)), _float32(np.ones_like(mean)))
    if kind == MEAN:
        spread = np.full_like(mean, variance)
    else:
        spread = variance + own * (scatter / np.maximum(count - 1, 1) - variance)
    deviation = np.sqrt(np.maximum(spread, FLOOR**2 * variance))
    return Profile(_float32(level + own * (mean - level)), _float32(deviation))


def _float32(values: Float64[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    return values.astype(np.float32)


class NormalMaps:
    """Maps of calibration normals, gathered one by one, and what is fitted on them."""

    def __init__(self) -> None:
        self._shown: dict[str, list[tuple[Float[np.ndarray, "_ _"], Box]]] = defaultdict(list)
        self._moments: Moments | None = None

    def add(self, anomaly: Float[np.ndarray, "h w"], content: Box, *, group: str) -> None:
        """Takes a map: a copy of what of it shows the image.

        Args:
            content: where that lies. group: of the image.
        """
        left, top, right, bottom = content
        shown = anomaly[top:bottom, left:right].copy()
        self._shown[group].append((shown, content))
        moments = Moments.nothing(anomaly.shape) if self._moments is None else self._moments
        self._moments = moments.add(shown, content)

    def fit(self, *, kind: str, level_quantile: float) -> tuple[Profile | None, MapScale]:
        """The profile of all maps, and the scale of maps that are told by it.

        The scale is that of images to come: there each map is told by a profile to which no image
        of its group has added. Of fewer than three groups there is no profile.

        Args:
            kind: one of KINDS. level_quantile: as `fit_scale` takes it.

        Raises:
            UserError: as `fit_scale`.
        """
        if self._moments is None or len(self._shown) < 3:
            kind = NONE
        scale = fit_scale(self._told(kind), level_quantile=level_quantile)
        return (self._moments and fit_profile(self._moments, kind)), scale

    def _told(self, kind: str) -> Iterator[Float[np.ndarray, "1 _ _"]]:
        for members in self._shown.values():
            profile = None if kind == NONE else self._profile_without(members, kind)
            for shown, content in members:
                told = shown if profile is None else profile.within(content)(shown)
                yield told[None]

    def _profile_without(
        self, members: list[tuple[Float[np.ndarray, "_ _"], Box]], kind: str
    ) -> Profile | None:
        assert self._moments is not None  # there are members
        moments = self._moments
        for member in members:
            moments = moments.without(*member)
        return fit_profile(moments, kind)


def told(measurer: Measurer, *, fusion: Fusion | None, profile: Profile | None) -> Measurer:
    """The measurer whose maps are one, by `fusion`, and as `profile` tells it.

    What it measures for the decision stays the same.
    """
    if fusion is None and profile is None:
        return measurer

    def begin(image: Float[np.ndarray, "b h w c"], content: Content) -> Begun[Measured]:
        begun = measurer.begin(image, content)

        def result() -> Measured:
            measured = begun.result()
            one = measured.anomaly_map if fusion is None else fusion(measured.maps)
            one = one if profile is None else profile(one)
            return measured._replace(maps=one[:, None])

        return Begun(result, begun.cancel)

    def relearnt(known: Sequence[Knowledge | None]) -> Measurer:
        return told(measurer.relearnt(known), fusion=fusion, profile=profile)

    return measurer._replace(begin=begin, relearnt=relearnt)
