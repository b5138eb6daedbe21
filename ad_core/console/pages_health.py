"""Health: the detector at work, drift of the day's scores, agreement, disk and errors."""

from shutil import disk_usage
from typing import NamedTuple

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from ad_core.console.chain import ACTIVATED, ERROR, RECEIVED, SCORED
from ad_core.console.line import Line
from ad_core.console.lineage import alike, judged_parts
from ad_core.console.pages_render import midnight, page
from ad_core.console.promise import Agreement, agreement, weigh
from ad_core.console.sampling import Sampling
from ad_core.console.verdicts import read_standing, repeated_pairs
from ad_core.decision.drift import Drift, Normals, Watch
from ad_core.decision.facts import read_scored
from ad_core.errors import UserError
from ad_core.scoring.detector import Parts

LATEST = 5_000  # scores of the day that the watch over drift sees
ERRORS = 5  # that are shown
LITTLE = 0.05  # share of the disk below which it is nearly full


class Disk(NamedTuple):
    """Disk of the store in bytes, and of it what the pictures take."""

    free: int
    total: int
    pictures: int
    limit: int | None

    @property
    def low(self) -> bool:
        """Tells whether the disk is nearly full."""
        return self.free < LITTLE * self.total


class Health:
    """Page of the service's health."""

    def __init__(self, line: Line, sampling: Sampling):
        """Of a line."""
        self._line, self._store, self._sampling = line, line.store, sampling

    async def show(self, request: Request) -> Response:
        """The page."""
        return await run_in_threadpool(self._show, request)

    def _show(self, request: Request) -> Response:
        self._sampling.draw()
        line, store = self._line, self._store
        errors = store.events(ERROR, newest=True, limit=500)
        today = midnight()
        usage = disk_usage(store.path)
        return page(
            request,
            "health.html",
            line=line,
            activated=store.last(ACTIVATED),
            received=store.last(RECEIVED),
            errors=errors[:ERRORS],
            errors_today=sum(event.time >= today for event in errors),
            disk=Disk(usage.free, usage.total, store.archive.used, store.archive.limit),
            drift=self._drift(today),
            agreement=self._agreement(),
            evidence=weigh(judged_parts(store, self._sampling, line.loaded)),
            sampling=self._sampling,
        )

    def _drift(self, since: str) -> Drift:
        known = alike(self._store, self._line.loaded)
        latest = self._store.events(SCORED, newest=True, limit=LATEST)
        scores = [
            event.score
            for event in reversed(latest)
            if event.time >= since and event.detector_sha in known and event.score is not None
        ]
        return drift_of_scores(self._line.loaded.detector.parts, scores)

    def _agreement(self) -> Agreement:
        return agreement(repeated_pairs(read_standing(self._store).values()))


def drift_of_scores(parts: Parts, scores: list[float]) -> Drift:
    """Drift of scores in the order in which they came, against those of calibration normals.

    The watch looks again and again, and warns of a day without drift with at most the level of
    `compare_lot`; scores of calibration are out-of-fold.
    """
    try:
        table, known = read_scored(parts.facts or {})
    except UserError as error:
        return Drift(None, why=str(error))
    normal = (table.label == 0) & np.isfinite(known)
    groups = np.unique(np.array(table.group)[normal], return_inverse=True)[1]
    both = np.ones(1, bool)
    normals = Normals(("score",), known[normal][:, None], groups, both, both, ~both)
    return Watch(normals).add(np.array(scores, np.float64).reshape(-1, 1))
