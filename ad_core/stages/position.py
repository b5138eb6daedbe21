"""Choice of what normal maps take out of a map at each position, on images that calibrate."""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ad_core.data.formats.resizing import to_file
from ad_core.metrics import pointing
from ad_core.scoring.profile import KINDS, NONE, NormalMaps
from ad_core.types import Placement, Sample

AUTO = "auto"
JUDGES = 200  # abnormal images whose maps choose, at most: they are kept until all have passed by
WORDS = {
    "none": "as they are",
    "mean": "less the normal mean at each position",
    "deviation": "less the normal mean at each position, in its deviations",
}


class Marked(NamedTuple):
    """An abnormal image that calibrates: its map, and its mask where it has one.

    bits: of the mask in the file's pixels, compressed; None without one, or of an empty one.
    """

    anomaly: Float[np.ndarray, "h w"]
    placement: Placement
    bits: bytes | None

    @classmethod
    def of(cls, sample: Sample, anomaly: Float[np.ndarray, "h w"]) -> "Marked":
        """Keeps a copy of the map and a small form of the mask."""
        bits = None
        if sample.mask is not None and sample.mask.any():
            bits = zlib.compress(np.packbits(sample.mask).tobytes(), level=1)
        return cls(anomaly.copy(), sample.placement, bits)

    def points(self, told: Float[np.ndarray, "h w"]) -> float:
        """Share of the hottest places of a map that lie in the mask: 1 or 0 of a single one."""
        assert self.bits is not None  # only of those with a mask
        height, width = self.placement.height, self.placement.width
        packed = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        mask = np.unpackbits(packed, count=height * width).reshape(height, width).astype(bool)
        found = to_file(told, self.placement, unseen=float(told.min()))
        return pointing([mask], [found])

    def exceeds(self, told: Float[np.ndarray, "h w"], level: float) -> float:
        """1 where a map lies above the level anywhere on the image, else 0."""
        left, top, right, bottom = self.placement.content
        return float(told[top:bottom, left:right].max() > level)


class Choice(NamedTuple):
    """Kind that was chosen, one of KINDS, and why.

    shares: kind -> share of the images that it served; empty where nothing was compared. masks:
    whether their masks told that, else whether they rose above the level. images: that told it.
    """

    kind: str
    shares: Mapping[str, float] = {}
    masks: bool = False
    images: int = 0

    def __str__(self) -> str:
        """The choice in words."""
        if not self.shares:
            return WORDS[self.kind]
        what = "the hottest place in the defect" if self.masks else "a place above the level"
        shares = ", ".join(f"{kind} {share:.0%}" for kind, share in self.shares.items())
        return (
            f"{WORDS[self.kind]} ({what} of {self.images} abnormal images that calibrate: {shares})"
        )


def judges(labels: Int[np.ndarray, " n"], indices: Int[np.ndarray, " n"], *, seed: int) -> set[int]:
    """The abnormal images that choose, at most JUDGES, drawn at random."""
    abnormal = indices[labels == 1]
    drawn = np.random.default_rng(seed).permutation(abnormal)[:JUDGES]
    return set(drawn.tolist())


def choose(wanted: str, normal: NormalMaps, marked: Sequence[Marked], **scale: Any) -> Choice:
    """The kind that is wanted; of AUTO the first of KINDS that no later one surely beats.

    A kind serves an abnormal image whose mask holds the hottest place of the map, or, where no
    image has a mask, whose map lies above the level that as many normal images stay below under
    each kind. One is surely better if it serves more images, two at least, by over two standard
    errors of the difference image by image: where both are alike, maps stay simple.

    Args:
        normal: maps of the normals that calibrate. marked: abnormal images that calibrate, of maps
            that are finite. scale: as `NormalMaps.fit` takes it, beside the kind.
    """
    if wanted != AUTO:
        return Choice(wanted)
    masked = [one for one in marked if one.bits is not None]
    served = {kind: _served(normal, masked or marked, kind, **scale) for kind in KINDS}
    best = NONE
    for kind in KINDS[1:]:
        if _surely_more(served[kind] - served[best]):
            best = kind
    if not marked:
        return Choice(best)
    shares = {kind: float(found.mean()) for kind, found in served.items()}
    return Choice(best, shares, bool(masked), len(served[NONE]))


def _served(
    normal: NormalMaps, marked: Sequence[Marked], kind: str, **scale: Any
) -> Float[np.ndarray, " n"]:
    profile, of = normal.fit(kind=kind, **scale)
    told = (one.anomaly if profile is None else profile(one.anomaly) for one in marked)
    return np.array(
        [
            one.exceeds(shown, of.level) if one.bits is None else one.points(shown)
            for one, shown in zip(marked, told, strict=True)
        ]
    )


def _surely_more(difference: Float[np.ndarray, " n"]) -> bool:
    if len(difference) < 2:
        return False
    error = difference.std(ddof=1) * math.sqrt(len(difference))
    return bool(difference.sum() >= 2 and difference.sum() > 2 * error)
