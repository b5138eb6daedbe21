"""Verdict on an image, and the one function that gives it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ad_core.data.source import printable
from ad_core.decision import Reason
from ad_core.scoring.detector import INSPECT, Detector
from ad_core.scoring.localisation import regions
from ad_core.scoring.measuring import Measured
from ad_core.types import Placement

OK, ERROR = "ok", "error"
PERSON, NOBODY = "person", "none"


class Seen(NamedTuple):
    """An image that was given: its path, and where it lies in the network's square.

    placement: None where the image could not be read. error: then why not.
    """

    path: str
    placement: Placement | None
    error: str = ""


class Verdict(NamedTuple):
    """Verdict on one image.

    path: as it may stand in a table. status: OK or ERROR. error: why it could not be read.
    score: rises with abnormality; None where there is none. decision: normal or inspect.
    review: PERSON where a person looks, NOBODY elsewhere; None without a rule of review.
    regions: boxes in pixels of the file, the strongest first; None where it could not be read.
    reasons: what pushed the score most, foremost first; empty where nobody asked.
    map: at the network's size.
    """

    path: str
    status: str
    error: str | None
    score: float | None
    decision: str
    review: str | None
    regions: list[dict[str, Any]] | None
    reasons: tuple[Reason, ...]
    map: Float[np.ndarray, "h w"] | None


def judge(
    detector: Detector, seen: Sequence[Seen], measured: Measured, *, explain: bool = True
) -> list[Verdict]:
    """The verdict on each image; one that could not be read, or has no finite score, is `inspect`.

    It depends on nothing but the detector and the image's own row.

    Args:
        seen: the images. measured: of the same images, in their order; rows of those that could
            not be read are not looked at.
        explain: whether to give reasons.
    """
    read = [row for row, image in enumerate(seen) if image.placement is not None]
    judged = iter(_judge(detector, [seen[row] for row in read], measured.rows(read), explain))
    return [_unread(image) if image.placement is None else next(judged) for image in seen]


def _unread(image: Seen) -> Verdict:
    path, error = printable(image.path), printable(image.error)
    return Verdict(path, ERROR, error, None, INSPECT, None, None, (), None)


def _judge(
    detector: Detector, seen: Sequence[Seen], measured: Measured, explain: bool
) -> list[Verdict]:
    if not seen:
        return []
    scores = detector.score_statistics(measured.statistics)
    band, statistics = detector.band, measured.statistics
    people = band.decisions(scores) if band else [None] * len(seen)
    reasons = detector.explain(statistics) if explain else [[]] * len(seen)
    columns = (scores.tolist(), detector.decide(scores), people, reasons, measured.anomaly_map)
    return [
        Verdict(
            path=printable(image.path),
            status=OK,
            error=None,
            score=score if np.isfinite(score) else None,
            decision=str(decision),
            review=None if person is None else PERSON if person == PERSON else NOBODY,
            regions=_regions(detector, anomaly, image.placement),
            reasons=tuple(why),
            map=anomaly,
        )
        for image, score, decision, person, why, anomaly in zip(seen, *columns, strict=True)
    ]


def _regions(
    detector: Detector, anomaly: Float[np.ndarray, "h w"], placement: Placement | None
) -> list[dict[str, Any]]:
    assert placement is not None  # only images that were read come here
    level, area = detector.parts.scale.level, detector.parts.config.localisation.min_area
    return regions(anomaly, level=level, min_area=area, placement=placement)
