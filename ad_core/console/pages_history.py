"""History: the events of the store, their export, and the check of their chain."""

from collections.abc import Iterator, Sequence
from tempfile import TemporaryFile

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ad_core.console.chain import AUDIT, KINDS, LOGIN, LOGOUT, Event
from ad_core.console.pages_render import page
from ad_core.console.sampling import Sampling
from ad_core.console.store import Store

PART = 2**16  # letters of the export that are sent at once
SHOWN = 100  # events on a page

WORDS = {AUDIT: "drawn for the blind audit", LOGIN: "logged in", LOGOUT: "logged out"}


class History:
    """Pages of the events."""

    def __init__(self, store: Store, sampling: Sampling):
        """Shows a store; `sampling` says what a person may not know yet."""
        self._store, self._sampling = store, sampling

    async def show(self, request: Request) -> Response:
        """The newest events, filtered as the address says: kind, user, page."""
        return await run_in_threadpool(self._show, request, "")

    async def check(self, request: Request) -> Response:
        """The same, with the result of checking every hash."""
        return await run_in_threadpool(self._checked, request)

    def _checked(self, request: Request) -> Response:
        last, broken = self._store.last(), self._store.verify()
        if broken is not None:
            return self._show(request, f"Event {broken} is missing or not what was written.")
        told = "There is no event yet."
        if last is not None:
            told = f"All {last.seq} events are whole. The last one has the hash {last.hash}."
        return self._show(request, told, whole=True)

    def _show(self, request: Request, told: str, whole: bool = False) -> Response:
        asked = request.query_params
        kind = asked.get("kind", "") if asked.get("kind") in KINDS else ""
        number = min(int(asked["page"]), 1000) if asked.get("page", "").isdecimal() else 0
        who = asked.get("user", "")
        limit = (number + 1) * SHOWN + 1
        events = self._store.events(kind or None, user=who or None, newest=True, limit=limit)
        events = events[number * SHOWN :]
        return page(
            request,
            "history.html",
            events=events[:SHOWN],
            hidden=self._hidden(events[:SHOWN], request.state.user.name),
            more=len(events) > SHOWN,
            number=number,
            kind=kind,
            kinds=KINDS,
            words=WORDS,
            who=who,
            told=told,
            whole=whole,
        )

    def _hidden(self, events: Sequence[Event], user: str) -> set[str]:
        """Images of these events that a person is still to judge without their scores."""
        states = map(self._store.image, {one.image_sha for one in events if one.image_sha})
        return {s.sha for s in states if s and self._sampling.is_blind(s, user)}

    async def export(self, request: Request) -> Response:
        """Every event as CSV."""
        headers = {"Content-Disposition": 'attachment; filename="events.csv"'}
        return StreamingResponse(self._csv(), media_type="text/csv", headers=headers)

    def _csv(self) -> Iterator[str]:
        """Parts of the table, by way of the disk: a year of events is large."""
        with TemporaryFile("w+", newline="", encoding="utf-8") as file:
            self._store.export(file)
            file.seek(0)
            while part := file.read(PART):
                yield part
