"""Verdicts of people on an image: what they come to, and where two of them differ."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ad_core.console.chain import UNDO, VERDICT, Event
from ad_core.console.promise import DEFECT, DOWNSTREAM, REPEAT, UNSURE
from ad_core.console.store import Store


class Settled(NamedTuple):
    """Result of the verdicts on an image; "" without one. downstream: found later."""

    verdict: str = ""
    defect: str = ""
    downstream: bool = False


def standing(events: Iterable[Event]) -> dict[str, list[Event]]:
    """SHA-256 of an image -> its verdicts that nobody took back, in order."""
    found: dict[str, dict[int, Event]] = {}
    for event in events:
        of_image = found.setdefault(event.image_sha, {})
        if event.kind == VERDICT:
            of_image[event.seq] = event
        elif event.kind == UNDO and event.about is not None:
            of_image.pop(event.about, None)
    return {sha: list(verdicts.values()) for sha, verdicts in found.items() if verdicts}


def read_standing(store: Store, image: str | None = None) -> dict[str, list[Event]]:
    """`standing` of all images of a store, or of one."""
    return standing(store.events((VERDICT, UNDO), image))


def settle(verdicts: Sequence[Event]) -> Settled:
    """Result of the standing verdicts on one image.

    The last one counts. Where a repetition after it differs, the image is a defect if one of both
    says so, else of an unsure kind: until somebody judges it openly again.
    """
    openly = [event for event in verdicts if event.origin != REPEAT]
    if not openly:
        return Settled()
    last = openly[-1]
    later = verdicts[verdicts.index(last) + 1 :]
    said = [last, *(event for event in later if event.verdict != last.verdict)]
    defect = next((event.defect for event in said if event.verdict == DEFECT), "")
    verdict = last.verdict
    if len(said) > 1:
        verdict = DEFECT if any(event.verdict == DEFECT for event in said) else UNSURE
    came_back = any(event.origin == DOWNSTREAM for event in verdicts)
    return Settled(verdict, defect, came_back and verdict == DEFECT)


def repeated_pairs(verdicts: Iterable[Sequence[Event]]) -> list[tuple[str, str]]:
    """First and second verdict on each image that was shown twice.

    Args:
        verdicts: the standing ones of each image.
    """
    return [
        (of_image[place - 1].verdict, event.verdict)
        for of_image in verdicts
        for place, event in enumerate(of_image)
        if place and event.origin == REPEAT
    ]
