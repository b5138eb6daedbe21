"""Verdict on an image, and the one function that gives it."""

from collections.abc import Sequence
from html import escape
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float64

from ad_core.data.formats.resizing import box_to_file
from ad_core.data.source import printable
from ad_core.decision import AbstainBand, Reason
from ad_core.scoring.localisation import MapScale, regions
from ad_core.scoring.measuring import Measured
from ad_core.scoring.pictures import data_uri, triptych
from ad_core.types import Placement

OK, ERROR = "ok", "error"
NORMAL, INSPECT = "normal", "inspect"
PERSON, NOBODY = "person", "none"
ALL = "all"  # explain normal images too
Explain = bool | Literal["all"]
CLIPPED = "clipped"  # the reason of an image that is clipped beyond what normals are
COLOURS = {NORMAL: "#1a7f4b", INSPECT: "#b3261e"}


class Seen(NamedTuple):
    """An image that was given: its path, and where it lies in the network's image.

    placement: None where the image could not be read. error: then why not. clipped: share in [0, 1]
    of its values beyond the detector's range.
    """

    path: str
    placement: Placement | None
    error: str = ""
    clipped: float = 0.0


class Shown(NamedTuple):
    """Picture that a notebook shows: image and normal version at the network's size."""

    image: Float[np.ndarray, "h w c"]
    drawn: Float[np.ndarray, "h w c"] | None
    scale: MapScale


class Verdict(NamedTuple):
    """Verdict on one image; in a notebook a picture, its map and words.

    path: as it may stand in a table. status: OK or ERROR. error: why it could not be read.
    score: rises with abnormality; None where there is none. decision: normal or inspect.
    review: PERSON where a person looks, NOBODY elsewhere; None without a rule of review.
    clipped: share in [0, 1] of the values beyond the detector's range; None where not read.
    regions: boxes in pixels of the file, the strongest first; None where it could not be read.
    reasons: what pushed the score towards the decision most, foremost first; empty where nothing
    did, or nobody asked. map: at the network's size. shown: None where nobody looks. statistics: in
    the order of `Detector.names`; None where it could not be read.
    """

    path: str
    status: str
    error: str | None
    score: float | None
    decision: str
    review: str | None
    clipped: float | None
    regions: list[dict[str, Any]] | None
    reasons: tuple[Reason, ...]
    map: Float[np.ndarray, "h w"] | None
    shown: Shown | None = None
    statistics: Float[np.ndarray, " k"] | None = None

    def __str__(self) -> str:
        """The verdict in one line, then a line for each reason."""
        score = "" if self.score is None else f", score {self.score:.4g}"
        error = f": {self.error}" if self.error else ""
        lines = [f"{self.path}: {self.decision}{score}{error}", *map(str, self.reasons)]
        return "\n  ".join(lines)

    def __repr__(self) -> str:
        """The verdict in one short line: arrays would fill a page."""
        return f"Verdict({self.path!r}, {self.status}, {self.decision}, score={self.score})"

    def _repr_html_(self) -> str:
        """Picture, map and words, for a notebook."""
        score = "" if self.score is None else f" &middot; score {self.score:.4g}"
        told = [self.error] if self.error else map(str, self.reasons)
        items = "".join(f"<li>{escape(line)}</li>" for line in told)
        return (
            f'<figure style="margin:0 0 1em;max-width:48em">{self._picture()}'
            f'<figcaption><b style="color:{COLOURS[self.decision]}">{self.decision}</b>'
            f"{score} &middot; {escape(self.path)}<ul>{items}</ul></figcaption></figure>"
        )

    def _picture(self) -> str:
        if self.shown is None or self.map is None:
            return ""
        picture = triptych(self.shown.image, self.shown.drawn, self.map, self.shown.scale)
        what = "the image, its normal version if there is one, and the anomaly map over it"
        return f'<img src="{data_uri(picture)}" alt="{what}" style="max-width:100%">'


class Verdicts(list[Verdict]):
    """Verdicts in the order of their images; a notebook shows one below the other."""

    def _repr_html_(self) -> str:
        """All of them, for a notebook."""
        return "".join(verdict._repr_html_() for verdict in self)


@runtime_checkable
class Decider(Protocol):
    """Detector, as far as `judge` asks it."""

    @property
    def scale(self) -> MapScale:
        """Scale of the maps; a region lies above its level."""
        ...

    @property
    def least_region(self) -> float:
        """Smallest region that counts, as a share in [0, 1] of the image."""
        ...

    @property
    def clipped(self) -> float:
        """Largest share of clipped values that normals had."""
        ...

    @property
    def band(self) -> AbstainBand | None:
        """The scores at which a person looks."""
        ...

    def score_statistics(self, statistics: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, " n"]:
        """A score for each row; NaN where there is none."""
        ...

    def decide(self, score: Float64[np.ndarray, " n"]) -> np.ndarray:
        """Decision on each score."""
        ...

    def explain(
        self, statistics: Float[np.ndarray, "n k"], *, inspected: Bool[np.ndarray, "n"] | None
    ) -> list[list[Reason]]:
        """Reasons for each decision."""
        ...


def judge(
    detector: Decider, seen: Sequence[Seen], measured: Measured, *, explain: Explain = True
) -> list[Verdict]:
    """The verdict on each image.

    One that could not be read, has no finite score, or is clipped beyond what normals are, is
    `inspect`. It depends on nothing but the detector and the image's own row.

    Args:
        seen: the images. measured: of the same images, in their order; rows of those that could
            not be read are not looked at.
        explain: True gives reasons for inspected images, ALL for normal ones too, False none.
    """
    read = [row for row, image in enumerate(seen) if image.placement is not None]
    judged = iter(_judge(detector, [seen[row] for row in read], measured.rows(read), explain))
    return [_unread(image) if image.placement is None else next(judged) for image in seen]


def _unread(image: Seen) -> Verdict:
    path, error = printable(image.path), printable(image.error)
    return Verdict(path, ERROR, error, None, INSPECT, None, None, None, (), None)


def _judge(
    detector: Decider, seen: Sequence[Seen], measured: Measured, explain: Explain
) -> list[Verdict]:
    if not seen:
        return []
    scores = detector.score_statistics(measured.statistics)
    people = detector.band.decisions(scores) if detector.band else [None] * len(seen)
    beyond = np.array([image.clipped > detector.clipped for image in seen], bool)
    inspected = beyond | (np.asarray(detector.decide(scores)) == INSPECT)
    reasons = _explained(detector, measured.statistics, inspected, explain)
    columns = (scores.tolist(), inspected, people, reasons)
    maps = (measured.anomaly_map, measured.statistics)
    return [
        Verdict(
            path=printable(image.path),
            status=OK,
            error=None,
            score=score if np.isfinite(score) else None,
            decision=INSPECT if inspect else NORMAL,
            review=None if person is None else PERSON if person == PERSON else NOBODY,
            clipped=image.clipped,
            regions=_regions(detector, anomaly, image.placement),
            reasons=() if why is None else _reasons(detector, image, anomaly, why),
            map=anomaly,
            statistics=row,
        )
        for image, score, inspect, person, why, anomaly, row in zip(
            seen, *columns, *maps, strict=True
        )
    ]


def _explained(
    detector: Decider,
    statistics: Float[np.ndarray, "n k"],
    inspected: Bool[np.ndarray, "n"],
    explain: Explain,
) -> list[list[Reason] | None]:
    """Reasons of each row; None for one of which nobody asked."""
    asked = np.full(len(statistics), True) if explain == ALL else inspected & bool(explain)
    found: list[list[Reason] | None] = [None] * len(statistics)
    if asked.any():
        told = detector.explain(statistics[asked], inspected=inspected[asked])
        for row, reasons in zip(np.flatnonzero(asked), told, strict=True):
            found[row] = reasons
    return found


def _regions(
    detector: Decider, anomaly: Float[np.ndarray, "h w"], placement: Placement | None
) -> list[dict[str, Any]]:
    assert placement is not None  # only images that were read come here
    level, area = detector.scale.level, detector.least_region
    return regions(anomaly, level=level, min_area=area, placement=placement)


def _reasons(
    detector: Decider, image: Seen, anomaly: Float[np.ndarray, "h w"], why: Sequence[Reason]
) -> tuple[Reason, ...]:
    """Reasons in order: clipping that decides first, places where a map tells one."""
    assert image.placement is not None
    place = _peak(anomaly, image.placement)
    told = [reason.at(place) for reason in why]
    if image.clipped > detector.clipped:
        told.insert(0, Reason(CLIPPED, image.clipped, 0.0, detector.clipped, np.nan))
    return tuple(told)


def _peak(anomaly: Float[np.ndarray, "h w"], placement: Placement) -> str:
    """Where a map is highest, in pixels of the file; "" where no value is a number."""
    left, top, right, bottom = placement.content
    shown = np.asarray(anomaly)[top:bottom, left:right]
    if not np.isfinite(shown).any():
        return ""
    y, x = np.unravel_index(np.argmax(np.where(np.isfinite(shown), shown, -np.inf)), shown.shape)
    cell = (left + int(x), top + int(y), left + int(x) + 1, top + int(y) + 1)
    x0, y0, x1, y1 = box_to_file(cell, placement)
    return f"the map is highest at x {(x0 + x1) // 2}, y {(y0 + y1) // 2}"
