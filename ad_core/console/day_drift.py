"""Drift of a day's images against the normal images that calibrated."""

import threading
from collections import deque
from datetime import date
from typing import Any

import numpy as np
from jaxtyping import Float

from ad_core.console.worker import Loaded
from ad_core.decision.drift import Drift, Watch
from ad_core.scoring.verdict import Verdict

MOST = 2_000  # images that wait to be compared, at most; beyond, the oldest go
_Row = tuple[date, str, Float[np.ndarray, " k"]]


class DayDrift:
    """Watch over what the detector measures of a day's images, in the order in which they come.

    A day, or a detector, is one lot of `Watch`: at most one in a hundred of those without drift is
    warned of. Images are compared when somebody asks, so that no image waits for it. Nothing is
    kept across a restart.
    """

    def __init__(self) -> None:
        self._pending: deque[_Row] = deque(maxlen=MOST)
        self._lock = threading.Lock()
        self._lot: tuple[Any, ...] = ()
        self._watch: Watch | None = None

    def see(self, verdict: Verdict, by: Loaded) -> None:
        """Takes the statistics of an image; quick, from any thread."""
        if verdict.statistics is not None:
            self._pending.append((date.today(), by.sha, np.asarray(verdict.statistics)))

    def found(self, loaded: Loaded) -> Drift:
        """Result of comparing today's images of the detector at work, so far."""
        normals = loaded.detector.normals
        if normals is None:
            return Drift(None, why="the detector does not hold what it is compared with")
        with self._lock:
            lot = (date.today(), loaded.sha)
            if self._watch is None or lot != self._lot:
                self._lot, self._watch = lot, Watch(normals)
            rows = [self._pending.popleft() for _ in range(len(self._pending))]
            own = [row for *of, row in rows if tuple(of) == lot]
            if own:
                self._watch.add(np.stack(own))
            return self._watch.found
