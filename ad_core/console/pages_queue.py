"""Queue: the images that wait for a person, and the counts of the day."""

import sqlite3
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ad_core.console.chain import ERROR, SCORED, VERDICT
from ad_core.console.image_state import ImageState
from ad_core.console.line import Line
from ad_core.console.lineage import shown_name
from ad_core.console.pages_render import midnight, page
from ad_core.console.promise import AUDIT, REPEAT
from ad_core.console.sampling import Sampling
from ad_core.scoring.verdict import INSPECT

SHOWN = 60  # images on a page
SHOW = {"open": "to judge", "judged": "judged", "all": "all"}
EVERY = 5  # one of so many verdicts of a person is a blind one, while some wait


class Counts(NamedTuple):
    """Counts of the day; alarms: inspected images of 1,000, None before the first."""

    images: int
    inspected: int
    judged: int
    alarms: float | None


class Queue:
    """Pages of the queue."""

    def __init__(self, line: Line, sampling: Sampling):
        """Shows the images of a line."""
        self._line, self._store, self._sampling = line, line.store, sampling
        self._day = ("", 0)  # midnight, and the first event since

    async def show(self, request: Request) -> Response:
        """The queue, filtered as the address says: show, origin, page."""
        return await run_in_threadpool(self._show, request)

    def _show(self, request: Request) -> Response:
        self._sampling.draw()
        asked, user = request.query_params, request.state.user.name
        show = asked.get("show", "open") if asked.get("show") in SHOW else "open"
        since = midnight() if asked.get("day") == "today" else ""
        number = int(asked["page"]) if asked.get("page", "").isdecimal() else 0
        offset = min(number, 10**6) * SHOWN
        images = self._images(show, since, offset)
        hidden = {i.sha for i in images if self._sampling.is_blind(i, user)}
        shown = images[:SHOWN]
        if show == "open":  # their place in the order would tell their score
            shown = [image for image in shown if image.sha not in hidden]
        return page(
            request,
            "queue.html",
            counts=self.counts(),
            images=shown,
            more=len(images) > SHOWN,
            number=number,
            show=show,
            shows=SHOW,
            day="today" if since else "",
            waiting=self._waiting(),
            blind=self._sampling.blind(user),
            hidden=hidden,
            names={image.sha: shown_name(image) for image in shown},
        )

    def _images(self, show: str, since: str, offset: int) -> list[ImageState]:
        """A page of images and one more: of the open ones the worst first, else the newest."""
        return self._store.images(
            decision=INSPECT if show == "open" else None,
            judged={"open": False, "judged": True}.get(show),
            since=since,
            order="worst" if show == "open" else "newest",
            limit=SHOWN + 1,
            offset=offset,
        )

    def _waiting(self) -> int:
        """Number of flagged images without a verdict, but for those of the blind audit."""
        query = "SELECT count(*) FROM images WHERE decision = ? AND verdict = '' AND NOT audited"
        with self._store.reading() as connection:
            return int(connection.execute(query, [INSPECT]).fetchone()[0])

    def counts(self) -> Counts:
        """Counts since midnight."""
        scored = (
            "SELECT count(*), coalesce(sum(decision = 'inspect'), 0) FROM events "
            "WHERE kind IN (?, ?) AND seq >= ?"
        )
        judged = "SELECT count(*) FROM events WHERE kind = ? AND seq >= ?"
        with self._store.reading() as connection:
            first = self._first_of_day(connection)
            images, inspected = connection.execute(scored, [SCORED, ERROR, first]).fetchone()
            verdicts = connection.execute(judged, [VERDICT, first]).fetchone()[0]
        alarms = 1000 * inspected / images if images else None
        return Counts(images, inspected, verdicts, alarms)

    def _first_of_day(self, connection: sqlite3.Connection) -> int:
        """Number of the first event since midnight; looked for once a day."""
        since = midnight()
        if self._day[0] != since:
            query = "SELECT coalesce(min(seq), 0) FROM events WHERE time >= ?"
            first = int(connection.execute(query, [since]).fetchone()[0])
            if not first:
                return 2**62  # none yet
            self._day = (since, first)
        return self._day[1]

    async def next(self, request: Request) -> Response:
        """The image that this person should look at next."""
        sha = await run_in_threadpool(self.next_image, request.state.user.name)
        return RedirectResponse(f"/inspect/{sha}" if sha else "/", 303)

    def next_image(self, user: str, *, without: str = "") -> str:
        """SHA-256 of the next image for a person, "" where none waits.

        The worst first; each EVERY-th is a blind one, so that the audit never starves.
        """
        self._sampling.draw()
        blind = [sha for sha in self._sampling.blind(user) if sha != without]
        last = self._store.events(VERDICT, user=user, newest=True, limit=EVERY - 1)
        lately = len(last) < EVERY - 1 or any(one.origin in (AUDIT, REPEAT) for one in last)
        if blind and not lately:
            return blind[0]
        for state in self._store.images(decision=INSPECT, judged=False, limit=len(blind) + 2):
            if state.sha != without and state.sha not in blind:
                return state.sha
        return blind[0] if blind else ""
