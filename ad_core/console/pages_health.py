"""Health: the detector at work, drift of the day, agreement, disk and errors."""

from shutil import disk_usage
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from ad_core.console.chain import ACTIVATED, ERROR, RECEIVED
from ad_core.console.day_drift import DayDrift
from ad_core.console.line import Line
from ad_core.console.lineage import judged_parts
from ad_core.console.pages_render import midnight, page
from ad_core.console.promise import Agreement, agreement, weigh
from ad_core.console.sampling import Sampling
from ad_core.console.verdicts import read_standing, repeated_pairs

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
        """Looks after a line from now on."""
        self._line, self._store, self._sampling = line, line.store, sampling
        self._drift = DayDrift()
        line.watchers.append(self._drift.see)

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
            drift=self._drift.found(line.loaded),
            agreement=self._agreement(),
            evidence=weigh(judged_parts(store, line.loaded)),
            sampling=self._sampling,
        )

    def _agreement(self) -> Agreement:
        return agreement(repeated_pairs(read_standing(self._store).values()))
