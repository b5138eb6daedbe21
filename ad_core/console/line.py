"""Line: images come in, each gets one answer, and what happened is on the disk before it is told.

    slot ─► picture on disk ─► `received` ─► worker ─► `scored` or `error` ─► answer

Whatever goes wrong on the way is answered `inspect`. A detector alone says `normal`.
"""

import hashlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from ad_core.console.active import find_active, note_start, note_switch
from ad_core.console.answer import SCORED as OUTCOME_SCORED
from ad_core.console.answer import Answer, decided, refusal, worst
from ad_core.console.chain import ERROR, RECEIVED, SCORED, Event
from ad_core.console.metrics import Metrics
from ad_core.console.store import Store, StoreError
from ad_core.console.views import encode
from ad_core.console.worker import Loaded, Task, Worker, load
from ad_core.data.source import printable
from ad_core.errors import UserError
from ad_core.scoring.heat import HeatScale
from ad_core.scoring.verdict import INSPECT, OK, Verdict

TOLD_REGIONS = 20  # the strongest, in the store
INTERRUPTED = "interrupted"  # outcome of an image that nobody was answered on
LONGEST_NAME = 200  # letters


class Arrival(NamedTuple):
    """An image that came: its name, how it came, who sent it, and `monotonic` at its first byte.

    more: plain values that stand in its `received`.
    """

    name: str
    origin: str
    user: str
    began: float
    more: Mapping[str, Any] = {}


class Line:
    """Images of the line through one worker, one detector at a time, into one store.

    Every method may be called from any thread.

    Attributes:
        store, metrics, queue_limit, timeout_s: as given.
        watchers: are given each verdict that stands in the store, and its detector; they are
            quick and raise nothing.
        blinds: tell of an image, by its hash, and a person whether the map is kept from them.
    """

    def __init__(
        self,
        detector_dir: Path,
        store: Store,
        *,
        queue_limit: int = 16,
        timeout_s: float = 10.0,
    ):
        """Loads the detector that is active, compiles it, and starts the worker.

        Images that an earlier process accepted and did not answer get an `error`.

        Args:
            detector_dir: used unless a detector was activated since this one was first given.
            queue_limit: images that are under way at most. timeout_s: from the first byte of an
                image to its answer.

        Raises:
            UserError: no detector there.
        """
        self.store, self.metrics = store, Metrics()
        self.queue_limit, self.timeout_s = queue_limit, timeout_s
        self.watchers: list[Callable[[Verdict, Loaded], object]] = []
        self.blinds: list[Callable[[str, str], bool]] = []
        self._count, self._counting = 0, threading.Condition()
        self._stopping, self._switching = False, threading.Lock()
        loaded = load(find_active(store, detector_dir))
        note_start(store, loaded, detector_dir)
        self._end_unanswered(loaded)
        self._worker = Worker(loaded)

    @property
    def loaded(self) -> Loaded:
        """The detector of the moment."""
        return self._worker.loaded

    @property
    def waiting(self) -> int:
        """Images that are under way."""
        return self._count

    @property
    def stuck(self) -> bool:
        """Tells whether the worker has died, or is at one image beyond the time-out."""
        return not self._worker.alive or self._worker.busy_s > self.timeout_s

    @property
    def stopping(self) -> bool:
        """Tells whether no image is accepted any more."""
        return self._stopping

    def enter(self, wait_s: float = 0.0) -> bool:
        """Takes a slot, which `leave` gives back; False where all are taken, or the line stops."""
        with self._counting:
            free = self._counting.wait_for(self._may_enter, timeout=wait_s)
            if not free or self._stopping:
                return False
            self._count += 1
            return True

    def _may_enter(self) -> bool:
        return self._stopping or self._count < self.queue_limit

    def leave(self) -> None:
        """Gives a slot back."""
        with self._counting:
            self._count -= 1
            self._counting.notify_all()

    def score(
        self,
        content: bytes,
        name: str,
        origin: str,
        *,
        user: str = "",
        began: float | None = None,
        entered: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> Answer:
        """The answer on the bytes of one image; it stands in the store.

        Args:
            name: of the file, as the line calls it. origin: how it came. user: who sent it.
            began: `time.monotonic` at its first byte. entered: `enter` has taken a slot for it,
                which the caller gives back. more: plain values that stand in its `received`.
        """
        began = monotonic() if began is None else began
        arrival = Arrival(name, origin, user, began, more or {})
        if not entered and not self.enter():
            return self.refuse(*self.why_not(), arrival)
        try:
            return self._score(content, arrival)
        finally:
            if not entered:
                self.leave()

    def why_not(self) -> tuple[str, str]:
        """Outcome and reason of an image for which there is no slot."""
        if self._stopping:
            return "stopping", "the service is ending"
        return "queue_full", f"{self.queue_limit} images are under way already"

    def refuse(
        self,
        outcome: str,
        reason: str,
        arrival: Arrival,
        *,
        sha: str = "",
        about: int | None = None,
        by: Loaded | None = None,
    ) -> Answer:
        """The answer `inspect` for an image without a verdict, noted in the store.

        Args:
            outcome: a key of `answer.STATUS`. about: seq of its `received`. by: the detector that
                was to judge.
        """
        by = by or self.loaded
        answer = refusal(outcome, reason, sha=sha, detector_sha=by.sha, threshold=by.threshold)
        event = Event(
            kind=ERROR,
            user=arrival.user,
            image_sha=sha,
            detector_sha=by.sha,
            threshold=by.threshold,
            decision=INSPECT,
            reason=reason,
            origin=arrival.origin,
            about=about,
            detail={"outcome": outcome, "name": shown_name(arrival.name)},
        )
        try:
            answer = answer._replace(event=self.store.append(event))
        except StoreError as error:
            answer = answer._replace(outcome="not_stored", reason=f"{reason}; {error}")
        return self._counted(answer, arrival)

    def switch(self, detector_dir: Path, *, user: str = "", reason: str = "") -> Event:
        """Makes another detector judge from the next image on, now and after a restart.

        It is loaded and compiled beside the one at work.

        Raises:
            UserError: no detector there; the one at work goes on.
            StoreError: the store refused; the one at work goes on.
        """
        with self._switching:
            loaded = load(detector_dir)
            event = note_switch(self.store, loaded, user=user, reason=reason)
            self._worker.loaded = loaded
            return event

    def stop(self) -> None:
        """Accepts no image any more and returns when all that are under way are answered."""
        self._stopping = True
        with self._counting:
            self._counting.wait_for(lambda: self._count == 0, timeout=self.timeout_s + 5)
        self._worker.stop(self.timeout_s)

    def _score(self, content: bytes, arrival: Arrival) -> Answer:
        sha = hashlib.sha256(content).hexdigest()
        try:
            self.store.archive.keep(content)
            received = self.store.append(
                Event(
                    kind=RECEIVED,
                    user=arrival.user,
                    image_sha=sha,
                    origin=arrival.origin,
                    detail={
                        **arrival.more,
                        "name": shown_name(arrival.name),
                        "bytes": len(content),
                    },
                )
            )
        except (UserError, StoreError) as error:
            return self.refuse("not_stored", f"the image is not kept: {error}", arrival, sha=sha)
        path = self.store.archive.picture(sha)
        if path is None:
            reason = "the picture was removed before it could be judged"
            return self.refuse("not_stored", reason, arrival, sha=sha, about=received.seq)
        try:
            return self._judged(self._worker.put(path), received, arrival)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            reason = f"the service failed ({type(error).__name__})"
            return self.refuse("failed", reason, arrival, sha=sha, about=received.seq)

    def _judged(self, task: Task, received: Event, arrival: Arrival) -> Answer:
        sha, about = received.image_sha, received.seq
        if not task.wait(arrival.began + self.timeout_s - monotonic()):
            reason = f"no verdict within {self.timeout_s:g} s"
            return self.refuse("timeout", reason, arrival, sha=sha, about=about, by=task.by)
        assert task.by is not None  # it has ended
        if task.error is not None or not task.verdicts:
            kind = type(task.error).__name__ if task.error else "no verdict"
            reason = f"the detector failed ({kind})"
            return self.refuse("failed", reason, arrival, sha=sha, about=about, by=task.by)
        verdict = worst(task.verdicts)
        if verdict.status != OK:
            reason = _renamed(str(verdict.error), task.path, arrival.name)
            return self.refuse("unreadable", reason, arrival, sha=sha, about=about, by=task.by)
        return self._told(verdict, task, received, arrival)

    def _told(self, verdict: Verdict, task: Task, received: Event, arrival: Arrival) -> Answer:
        """The answer of a verdict, once its map and then its event are on the disk."""
        by, sha = task.by, received.image_sha
        assert by is not None and task.verdicts is not None
        without_map = self._keep_map(sha, verdict, by)
        decision = decided(verdict)
        event = Event(
            kind=SCORED,
            user=arrival.user,
            image_sha=sha,
            detector_sha=by.sha,
            score=verdict.score,
            threshold=by.threshold,
            decision=decision,
            reason="; ".join(map(str, verdict.reasons)),
            origin=arrival.origin,
            about=received.seq,
            detail=_detail(verdict, len(task.verdicts), without_map, arrival.began)
            | {
                "scale": by.detector.scale.to_dict(),
                "nearest": by.nearest.path(verdict.statistics) if by.nearest else "",
            },
        )
        try:
            event = self.store.append(event)
        except StoreError as error:
            about = received.seq
            return self.refuse("not_stored", str(error), arrival, sha=sha, about=about, by=by)
        answer = Answer(
            OUTCOME_SCORED, decision, "", sha, by.sha, by.threshold, event, verdict,
            len(task.verdicts),
        )  # fmt: skip
        for watcher in self.watchers:
            watcher(verdict, by)
        return self._counted(answer, arrival)

    def _keep_map(self, sha: str, verdict: Verdict, by: Loaded) -> str:
        """Keeps the raw map at the network's size; returns why not, "" where it is kept."""
        if verdict.map is None:
            return "the image has no map"
        heat = HeatScale.of(by.detector.scale)
        try:
            self.store.archive.keep_map(sha, encode(heat.grey(verdict.map)))
        except UserError as error:
            return f"the map is not kept: {printable(str(error))}"
        return ""

    def _counted(self, answer: Answer, arrival: Arrival) -> Answer:
        self.metrics.answered(answer.decision, answer.outcome, monotonic() - arrival.began)
        return answer

    def _end_unanswered(self, loaded: Loaded) -> None:
        ended = "the service ended before this image was answered"
        events = [
            Event(
                kind=ERROR,
                image_sha=received.image_sha,
                detector_sha=loaded.sha,
                threshold=loaded.threshold,
                decision=INSPECT,
                reason=ended,
                origin=received.origin,
                about=received.seq,
                detail={"outcome": INTERRUPTED, "name": received.detail.get("name", "")},
            )
            for received in self.store.unanswered()
        ]
        if events:
            self.store.append_all(events)


def shown_name(name: str) -> str:
    """A name as a table and a page may show it: one line, not too long."""
    told = "".join(letter if letter.isprintable() else "?" for letter in printable(name))
    return told[:LONGEST_NAME]


def _renamed(told: str, path: Path, name: str) -> str:
    """A message about a kept file, as one about the image that came."""
    for known in (os.path.realpath(path), str(path)):
        told = told.replace(known, shown_name(name) or "the image")
    return told


def _detail(verdict: Verdict, pages: int, without_map: str, began: float) -> dict[str, Any]:
    return {
        "regions": (verdict.regions or [])[:TOLD_REGIONS],
        "reasons": [str(reason) for reason in verdict.reasons],
        "names": [reason.name for reason in verdict.reasons],
        "review": verdict.review,
        "clipped": verdict.clipped,
        "pages": pages,
        "page": verdict.path.partition("#")[2],
        "without_map": without_map,
        "ms": round(1000 * (monotonic() - began), 1),
    }
