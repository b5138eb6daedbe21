"""State of an image: what its events come to."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from ad_core.console.chain import AUDIT, ERROR, RECEIVED, SCORED, UNDO, VERDICT, Event
from ad_core.scoring.verdict import INSPECT

WAITING, OK = "waiting", "ok"  # beside ERROR, the states of scoring


@dataclass(frozen=True, kw_only=True)
class ImageState:
    """Last state of an image, known by the SHA-256 of its file.

    name: that it was last given under. received, time: of its first and its last event. status:
    waiting, ok or error. decision: inspect unless the last scoring says normal. reason: of that
    scoring. verdict, defect, judged_by, judged_at, how: of the last verdict that was not taken
    back, `how` being its origin; "" without one. verdicts: how many stand. audited: it was drawn
    for the audit of normal decisions.
    """

    sha: str
    name: str = ""
    received: str = ""
    time: str = ""
    status: str = WAITING
    decision: str = INSPECT
    score: float | None = None
    threshold: float | None = None
    detector_sha: str = ""
    origin: str = ""
    reason: str = ""
    verdict: str = ""
    defect: str = ""
    judged_by: str = ""
    judged_at: str = ""
    how: str = ""
    verdicts: int = 0
    audited: int = 0


FIELDS = tuple(each.name for each in fields(ImageState))


def state_of(sha: str, events: Iterable[Event]) -> ImageState:
    """The state that the events of one image, in order, come to.

    As long as a `received` has no end, whatever an earlier scoring said does not stand.
    """
    state, verdicts, under_way = ImageState(sha=sha), {}, set()
    for event in events:
        state = replace(state, received=state.received or event.time, time=event.time)
        if event.kind == RECEIVED:
            under_way.add(event.seq)
            name = str(event.detail.get("name", "")) or state.name
            state = replace(state, name=name, origin=event.origin)
        elif event.kind in (SCORED, ERROR):
            under_way.discard(event.about)
            state = _scored(state, event)
        elif event.kind == VERDICT:
            verdicts[event.seq] = event
        elif event.kind == UNDO:
            verdicts.pop(event.about, None)
        elif event.kind == AUDIT:
            state = replace(state, audited=1)
    return _judged(_waiting(state) if under_way else state, list(verdicts.values()))


def _waiting(state: ImageState) -> ImageState:
    kept = ("received", "time", "name", "origin", "audited")
    return ImageState(sha=state.sha, **{field: getattr(state, field) for field in kept})


def _scored(state: ImageState, event: Event) -> ImageState:
    return replace(
        state,
        status=OK if event.kind == SCORED else ERROR,
        decision=event.decision,
        score=event.score,
        threshold=event.threshold,
        detector_sha=event.detector_sha,
        origin=event.origin or state.origin,
        reason=event.reason,
    )


def _judged(state: ImageState, verdicts: list[Event]) -> ImageState:
    if not verdicts:
        return state
    last = verdicts[-1]
    return replace(
        state,
        verdict=last.verdict,
        defect=last.defect,
        judged_by=last.user,
        judged_at=last.time,
        how=last.origin,
        verdicts=len(verdicts),
    )
