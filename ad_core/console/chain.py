"""Events of the audit trail, each sealed by a hash that covers the one before."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

RECEIVED, SCORED, ERROR = "received", "scored", "error"
VERDICT, UNDO, AUDIT = "verdict", "undo", "audit"
RECALIBRATED, ACTIVATED = "recalibrated", "activated"
LOGIN, LOGOUT, REFUSED, ACCOUNT = "login", "logout", "refused", "account"
KINDS = (
    RECEIVED, SCORED, ERROR, VERDICT, UNDO, AUDIT, RECALIBRATED, ACTIVATED,
    LOGIN, LOGOUT, REFUSED, ACCOUNT,
)  # fmt: skip
START = "0" * 64  # stands for the hash before the first event


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened, as it stands in the store; never changed, never removed.

    kind: one of KINDS. user: a person, a line device, or "" for the service itself. image_sha,
    detector_sha: SHA-256 of the file and of the detector's manifest. decision: normal or inspect,
    of `scored` and `error`. verdict, defect: of a person. reason: in words. origin: how the image
    came. about: seq of an earlier event that this one answers: of `scored` and `error` the
    `received`, of `undo` the verdict that it takes back. detail: plain values for JSON.

    The store gives seq (from 1, without a gap), time (UTC, to the millisecond) and both hashes.
    """

    seq: int = 0
    time: str = ""
    kind: str
    user: str = ""
    image_sha: str = ""
    detector_sha: str = ""
    score: float | None = None
    threshold: float | None = None
    decision: str = ""
    verdict: str = ""
    defect: str = ""
    reason: str = ""
    origin: str = ""
    about: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    prev_hash: str = ""
    hash: str = ""


COLUMNS = tuple(each.name for each in fields(Event))


def now() -> str:
    """Time of now in UTC, as an event bears it; such texts sort as their times do."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seal(event: Event, *, seq: int, prev_hash: str) -> Event:
    """The event as it is stored: numbered, dated and hashed.

    Raises:
        ValueError: an unknown kind, or a number that is not finite.
    """
    if event.kind not in KINDS:
        raise ValueError(f"`kind` (={event.kind!r}) must be one of {', '.join(KINDS)}.")
    numbered = replace(
        event,
        score=None if event.score is None else float(event.score),
        threshold=None if event.threshold is None else float(event.threshold),
        detail=json.loads(canonical(event.detail)),
        seq=seq,
        time=now(),
        prev_hash=prev_hash,
        hash="",
    )
    return replace(numbered, hash=digest(numbered))


def digest(event: Event) -> str:
    """SHA-256 of all that an event says, the hash of the one before included."""
    told = asdict(event)
    del told["hash"]
    return hashlib.sha256(canonical(told).encode()).hexdigest()


def canonical(content: Any) -> str:
    """JSON of which equal content has one spelling. Raises ValueError for NaN and infinities."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def first_broken(events: Iterable[Event], *, seq: int = 1, prev_hash: str = START) -> int | None:
    """Number of the first event that is missing or not what was written; None where all are whole.

    Args:
        events: in order. seq, prev_hash: of the first: its number, and the hash before it.
    """
    for event in events:
        if event.seq != seq or event.prev_hash != prev_hash or event.hash != digest(event):
            return seq
        seq, prev_hash = seq + 1, event.hash
    return None
