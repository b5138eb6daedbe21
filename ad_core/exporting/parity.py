"""The parity gate: no program leaves that decides other than its detector."""

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from ad_core.errors import UserError
from ad_core.exporting.formats import Found, Run
from ad_core.exporting.golden import REAL, Golden
from ad_core.scoring.detector import Detector
from ad_core.scoring.verdict import INSPECT, Verdict

SCORE_SHARE = 0.02  # of the range of real images' scores, which a score may differ by
MAP_SHARE = 0.01  # of the range of the maps' colours, which a map may differ by
_TOGETHER = 16  # images that the detector judges in one call


class Compared(NamedTuple):
    """One golden image, judged by both.

    place: among the golden images. map_difference: as a share, see `MAP_SHARE`.
    """

    place: int
    name: str
    kind: str
    score: float
    found: float
    inspect: bool
    map_difference: float


class Agreement(NamedTuple):
    """Agreement of a program with its detector.

    difference: the largest one of the scores, less where a score is far from the threshold (see
    `counted`). allowed: the most that may be.
    """

    images: dict[str, int]
    difference: float
    allowed: float
    map_difference: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "images": self.images,
            "largest_score_difference": self.difference,
            "allowed_score_difference": self.allowed,
            "largest_map_difference_share": self.map_difference,
            "allowed_map_difference_share": MAP_SHARE,
        }


def compare(detector: Detector, run: Run, golden: Iterable[Golden]) -> list[Compared]:
    """Both verdicts on each golden image that the detector can read."""
    return [
        _pair(detector, place, one, verdict, run(one.pixels))
        for place, one, verdict in _judged(detector, golden)
    ]


def _judged(detector: Detector, golden: Iterable[Golden]) -> Iterator[tuple[int, Golden, Verdict]]:
    rest = enumerate(golden)
    while some := list(itertools.islice(rest, _TOGETHER)):
        verdicts = detector.judge([one.values for _, one in some], explain=False)
        for (place, one), verdict in zip(some, verdicts, strict=True):
            if verdict.map is not None:  # else it is too small to be read, or too large
                yield place, one, verdict


def _pair(
    detector: Detector, place: int, golden: Golden, verdict: Verdict, found: Found
) -> Compared:
    scale = max(detector.scale.high - detector.scale.low, 1e-12)
    own = np.asarray(verdict.map, np.float64)
    same = (own == found.map) | (np.isnan(own) & np.isnan(found.map))
    apart = np.abs(np.where(same, 0.0, own - found.map)) / np.maximum(scale, np.abs(own))
    return Compared(
        place=place,
        name=golden.name,
        kind=golden.kind,
        score=math.nan if verdict.score is None else verdict.score,
        found=found.score,
        inspect=verdict.decision == INSPECT,
        map_difference=float(np.where(same, 0.0, apart).max()),
    )


def agreement(compared: list[Compared], *, threshold: float) -> Agreement:
    """Agreement by the scores and maps of golden images, before the threshold is lowered.

    Raises:
        UserError: a score or a map that differs by more than is allowed; no program is written.
    """
    scores = np.array([one.score for one in compared])
    found = np.array([one.found for one in compared])
    unlike = np.flatnonzero(np.isfinite(scores) != np.isfinite(found))
    if unlike.size:
        raise _failed(f"one of two scores is no number ({compared[int(unlike[0])].name})")
    real = np.array([one.kind == REAL for one in compared], bool) & np.isfinite(scores)
    if not real.any():
        raise _failed("no real golden image has a score")
    width = float(np.ptp(scores[real]))
    apart = counted(scores, found, threshold=threshold, width=width)
    worst, allowed = int(np.argmax(apart)), SCORE_SHARE * width
    maps = np.array([one.map_difference for one in compared])
    if not apart[worst] <= allowed:
        raise _failed(
            f"the score of {compared[worst].name} is {found[worst]:.6g} and the detector's "
            f"{scores[worst]:.6g}, apart by more than {allowed:.2g}"
        )
    if not maps.max() <= MAP_SHARE:
        raise _failed(f"the map of {compared[int(np.argmax(maps))].name} differs")
    kinds = [one.kind for one in compared]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return Agreement(counts, float(apart[worst]), allowed, float(maps.max()))


def counted(
    scores: Float64[np.ndarray, "n"],
    found: Float64[np.ndarray, "n"],
    *,
    threshold: float,
    width: float,
) -> Float64[np.ndarray, "n"]:
    """|difference| of the scores, less of one that lies further than `width` from the threshold.

    A score of noise may be a thousand times that of any part; its last digits decide nothing. What
    is counted still bounds every difference: d <= counted max(1, |score - threshold| / width).
    """
    sound = np.isfinite(scores)
    apart = np.zeros(len(scores))
    apart[sound] = np.abs(scores[sound] - found[sound])
    away = np.abs(scores[sound] - threshold)
    share = np.ones(away.size) if width <= 0 else width / np.maximum(away, width)
    apart[sound] *= share
    return apart


def lowered(threshold: float, difference: float) -> float:
    """The threshold of a program: lower by the difference, and a number of 32 bits.

    A score of the detector at or above its threshold is at or above this one in the program, in
    float32 too.
    """
    if not math.isfinite(threshold):
        return threshold
    wanted = np.float64(threshold) - np.float64(difference)
    near = np.float32(wanted)
    return float(near if near <= wanted else np.nextafter(near, np.float32(-np.inf)))


def require_same_decisions(run: Run, golden: Iterable[Golden], compared: list[Compared]) -> None:
    """Runs the finished program once more; raises UserError where a decision is another one."""
    expected = {one.place: one for one in compared}
    words = {True: "inspect", False: "normal"}
    for place, image in enumerate(golden):
        one = expected.pop(place, None)
        if one is None:
            continue
        inspect = run(image.pixels).inspect
        if image.name != one.name or inspect != one.inspect:
            raise _failed(
                f"it says {words[inspect]} of {image.name} and the detector {words[one.inspect]}"
            )
    for one in expected.values():
        raise _failed(f"{one.name} was not found again")


def _failed(why: str) -> UserError:
    return UserError(
        f"The exported program is not its detector: {why}. Nothing was written. Another --format "
        "may agree; else score with launch/score.py."
    )
