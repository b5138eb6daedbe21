"""Recalibrations of a line: one person proposes, another confirms, either goes back."""

from pathlib import Path
from typing import NamedTuple

from ad_core.console.chain import ACTIVATED, RECALIBRATED, Event
from ad_core.console.line import Line
from ad_core.console.lineage import judged_parts, new_place, newest_parts
from ad_core.console.promise import Evidence, weigh
from ad_core.console.recalibrate import OWN, Effect, Refitted, effect, refit
from ad_core.console.sampling import Sampling
from ad_core.decision import Threshold
from ad_core.errors import UserError
from ad_core.scoring.files import save_decided

PROPOSED, CONFIRMED, DECLINED = "proposed", "confirmed", "declined"


class Preview(NamedTuple):
    """A recalibration before it is proposed. before, after: thresholds that decide."""

    evidence: Evidence
    before: Threshold
    after: Threshold
    effect: Effect
    refitted: Refitted


def preview(line: Line, sampling: Sampling, *, way: str = OWN) -> Preview:
    """Change that a recalibration would make now; errors as `refit`."""
    sampling.draw()
    loaded = line.loaded
    evidence = weigh(judged_parts(line.store, loaded))
    refitted = refit(loaded.detector.parts, evidence, way=way)
    before = loaded.detector.threshold
    seen = newest_parts(line.store, loaded)
    return Preview(
        evidence, before, refitted.threshold, effect(seen, before, refitted.threshold), refitted
    )


def open_proposal(line: Line) -> Event | None:
    """The proposal that awaits a second person; None without one.

    One that was made of a detector no longer at work is void.
    """
    proposals: dict[int, Event] = {}
    for event in line.store.events(RECALIBRATED):
        if event.origin == PROPOSED:
            proposals[event.seq] = event
        elif event.about is not None:
            proposals.pop(event.about, None)
    now = line.loaded.sha
    return next((one for one in reversed(proposals.values()) if one.detector_sha == now), None)


def propose(line: Line, sampling: Sampling, *, user: str, way: str, reason: str) -> Event:
    """Writes a new detector, which nothing uses yet, and notes it as a proposal.

    Raises:
        UserError: no reason, another proposal waits, nothing would change, or as `refit`.
    """
    reason = reason.strip()
    if not reason:
        raise UserError("`reason` is missing: a recalibration is logged with it.")
    if open_proposal(line) is not None:
        raise UserError("Another proposal waits for a second person; confirm or decline it first.")
    found, loaded = preview(line, sampling, way=way), line.loaded
    refitted, place = found.refitted, new_place(line.store)
    if found.before == found.after:
        raise UserError("Nothing would change: the line has found nothing that may count.")
    facts = refitted.facts | {"recalibrated": {"from": loaded.sha, "by": user, "why": reason}}
    parts = loaded.detector.parts
    save_decided(
        place,
        loaded.directory,
        parts._replace(thresholds=refitted.thresholds, rule=refitted.rule, facts=facts),
    )
    detail = {
        "directory": str(place.absolute()),
        "way": way,
        "before": found.before.to_dict(),
        "after": found.after.to_dict(),
        "counted": len(found.evidence.counted),
        "lowering": len(found.evidence.lowering),
        "waiting": found.evidence.waiting,
        "images": found.effect.images,
        "alarms": found.effect.alarms,
        "flips": [[flip.image, flip.decision] for flip in found.effect.flips],
    }
    return line.store.append(
        Event(
            kind=RECALIBRATED,
            user=user,
            detector_sha=loaded.sha,
            threshold=found.after.value,
            reason=reason,
            origin=PROPOSED,
            detail=detail,
        )
    )


def _proposal(line: Line, seq: int) -> Event:
    proposal = open_proposal(line)
    if proposal is None or proposal.seq != seq:
        raise UserError("This proposal is not open any more; load the page again.")
    return proposal


def confirm(line: Line, seq: int, *, user: str) -> Event:
    """Lets the line score by the proposed detector from the next image on.

    Raises:
        UserError: the proposal is not open, or by the same person.
    """
    proposal = _proposal(line, seq)
    if proposal.user == user:
        raise UserError("A second person confirms: you made this proposal yourself.")
    place = Path(str(proposal.detail["directory"]))
    told = f"{proposal.reason} (proposed by {proposal.user})"
    activated = line.switch(place, user=user, reason=told)
    line.store.append(_answer(proposal, user, CONFIRMED, detector=activated.detector_sha))
    return activated


def decline(line: Line, seq: int, *, user: str, reason: str = "") -> Event:
    """Closes a proposal without using it; whoever made it may do so too. Errors as `confirm`."""
    proposal = _proposal(line, seq)
    return line.store.append(_answer(proposal, user, DECLINED, reason=reason))


def _answer(
    proposal: Event, user: str, origin: str, *, detector: str = "", reason: str = ""
) -> Event:
    return Event(
        kind=RECALIBRATED,
        user=user,
        detector_sha=detector or proposal.detector_sha,
        threshold=proposal.threshold,
        reason=reason or proposal.reason,
        origin=origin,
        about=proposal.seq,
    )


def former(line: Line) -> Event | None:
    """The activation of the detector that was at work before this one; None: there was none."""
    now = line.loaded.sha
    earlier = (one for one in line.store.events(ACTIVATED, newest=True) if one.detector_sha != now)
    return next(earlier, None)


def go_back(line: Line, *, user: str) -> Event:
    """Lets the line score by the detector that was at work before, from the next image on.

    Raises:
        UserError: there was none, or it is gone.
    """
    before = former(line)
    if before is None:
        raise UserError("There is no earlier detector to go back to.")
    directory = Path(str(before.detail["directory"]))
    return line.switch(directory, user=user, reason="back to the detector before")
