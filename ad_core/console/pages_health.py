"""Health: the detector at work, drift of the day, agreement, disk and errors."""

from shutil import disk_usage
from time import monotonic
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
from ad_core.errors import UserError

PEOPLE_S = 60.0  # for which agreement and evidence are told unchanged
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


class People(NamedTuple):
    """Agreement of people, drawn defects that count, drawn parts without a certain verdict.

    fault: why the last two are not known, "" where they are.
    """

    agreement: Agreement
    counted: int = 0
    waiting: int = 0
    fault: str = ""


class Health:
    """Page of the service's health."""

    def __init__(self, line: Line, sampling: Sampling):
        """Looks after a line from now on."""
        self._line, self._store, self._sampling = line, line.store, sampling
        self._drift = DayDrift()
        self._known, self._until = People(agreement([])), 0.0
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
            people=self._people(),
            sampling=self._sampling,
        )

    def _people(self) -> People:
        """Agreement and evidence, read again when they are old: a year has many verdicts."""
        if monotonic() > self._until:
            pairs = repeated_pairs(read_standing(self._store).values())
            self._known = People(agreement(pairs))
            try:
                evidence = weigh(judged_parts(self._store, self._line.loaded))
                counts = {"counted": len(evidence.counted), "waiting": evidence.waiting}
                self._known = self._known._replace(**counts)
            except UserError as error:  # the detector's folder has gone
                self._known = self._known._replace(fault=str(error))
            self._until = monotonic() + PEOPLE_S
        return self._known
