"""Maps of the images that calibrate, gathered image by image, until they can be told as one."""

from collections import deque
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ad_core.scoring.fusion import Fusion, fit_fusion
from ad_core.scoring.profile import NormalMaps
from ad_core.stages.position import Marked
from ad_core.types import Box, Sample


class _Normal(NamedTuple):
    maps: Float[np.ndarray, "m h w"]
    content: Box
    group: str


class Told(NamedTuple):
    """One map of each image that calibrates, and by which scales it was made of several."""

    fusion: Fusion | None
    normal: NormalMaps
    marked: list[Marked]


class ShownMaps:
    """Maps of normal images, and of those abnormal ones that judge what serves them best."""

    def __init__(self) -> None:
        self._normal: deque[_Normal] = deque()
        self._marked: list[tuple[Marked, Float[np.ndarray, "m h w"]]] = []

    def add_normal(self, sample: Sample, maps: Float[np.ndarray, "m h w"], *, group: str) -> None:
        """Takes a copy of the maps of a normal image of a group."""
        self._normal.append(_Normal(maps.copy(), sample.placement.content, group))

    def add_marked(self, sample: Sample, maps: Float[np.ndarray, "m h w"]) -> None:
        """Takes a copy of the maps of an abnormal image, if they are finite."""
        if np.isfinite(maps).all():
            self._marked.append((Marked.of(sample, maps[0]), maps.copy()))

    def as_one(self, *, level_quantile: float) -> Told:
        """One map of each image, and empties itself.

        Raises:
            UserError: as `fit_fusion`.
        """
        within = [_within(maps, content) for maps, content, _ in self._normal]
        fusion = fit_fusion(within, level_quantile=level_quantile)
        del within
        normal = NormalMaps()
        while self._normal:
            maps, content, group = self._normal.popleft()
            normal.add(_one(fusion, maps), content, group=group)
        marked = [one._replace(anomaly=_one(fusion, maps)) for one, maps in self._marked]
        self._marked.clear()
        return Told(fusion, normal, marked)


def _within(maps: Float[np.ndarray, "m h w"], content: Box) -> Float[np.ndarray, "m _ _"]:
    left, top, right, bottom = content
    return maps[:, top:bottom, left:right]


def _one(fusion: Fusion | None, maps: Float[np.ndarray, "m h w"]) -> Float[np.ndarray, "h w"]:
    return maps[0] if fusion is None else fusion(maps)
