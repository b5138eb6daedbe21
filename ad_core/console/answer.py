"""Answer to a line: `normal` only where the detector said so, else `inspect` with the reason."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ad_core.console.chain import Event
from ad_core.scoring.verdict import INSPECT, NORMAL, OK, Verdict

SCORED = "scored"
# What went wrong -> HTTP status. Each of them is `inspect`.
STATUS = {
    SCORED: 200,
    "unreadable": 422,  # the bytes are no image, or one beyond a limit
    "broken_off": 400,  # the upload ended before its end
    "malformed": 400,  # the request holds no image
    "too_large": 413,
    "queue_full": 503,
    "stopping": 503,
    "timeout": 504,
    "failed": 500,  # the detector raised
    "not_stored": 507,  # the disk is full, or the store refused
}


class Answer(NamedTuple):
    """Answer on one image.

    outcome: a key of STATUS. event: what stands in the store; None where it refused even that.
    sha: of the file, "" where it did not arrive. verdict: None where none was made.
    """

    outcome: str
    decision: str
    reason: str
    sha: str
    detector_sha: str
    threshold: float | None
    event: Event | None
    verdict: Verdict | None = None
    pages: int = 1

    @property
    def status(self) -> int:
        """HTTP status."""
        return STATUS[self.outcome]

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain values for JSON; the same keys whatever happened."""
        verdict = self.verdict
        return {
            "decision": self.decision,
            "score": verdict.score if verdict else None,
            "threshold": self.threshold,
            "outcome": self.outcome,
            "reason": self.reason or None,
            "regions": (verdict.regions or []) if verdict else [],
            "reasons": [str(reason) for reason in verdict.reasons] if verdict else [],
            "review": verdict.review if verdict else None,
            "pages": self.pages,
            "image": self.sha or None,
            "detector": self.detector_sha,
            "event": self.event.seq if self.event else None,
            "picture_url": f"/v1/pictures/{self.sha}" if verdict else None,
            "map_url": f"/v1/maps/{self.sha}" if verdict and verdict.map is not None else None,
        }


def refusal(
    outcome: str, reason: str, *, sha: str, detector_sha: str, threshold: float | None
) -> Answer:
    """The answer `inspect` on an image that has no verdict; it has no event yet."""
    return Answer(outcome, INSPECT, reason, sha, detector_sha, threshold, None)


def decided(verdict: Verdict) -> str:
    """The decision to tell: normal only of a verdict that is sound in every part."""
    sound = verdict.status == OK and verdict.score is not None and np.isfinite(verdict.score)
    return NORMAL if sound and verdict.decision == NORMAL else INSPECT


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict that stands for a file of several pages: unread, then inspected, then highest."""
    return max(
        verdicts,
        key=lambda each: (
            each.status != OK or each.score is None,
            each.decision == INSPECT,
            0.0 if each.score is None else each.score,
        ),
    )
