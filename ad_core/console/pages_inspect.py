"""Inspect: one image, what the detector says of it, and the verdict of a person."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from ad_core.console.chain import SCORED, UNDO, VERDICT, Event
from ad_core.console.image_state import ImageState
from ad_core.console.line import Line
from ad_core.console.lineage import shown_name
from ad_core.console.nearest import NormalPictures
from ad_core.console.pages_queue import Queue
from ad_core.console.pages_render import page, refused
from ad_core.console.pages_strip import strip
from ad_core.console.promise import DEFECT, DOWNSTREAM, VERDICTS
from ad_core.console.sampling import Sampling
from ad_core.console.store import StoreError
from ad_core.console.verdicts import read_standing
from ad_core.console.views import encode
from ad_core.errors import UserError
from ad_core.scoring.localisation import places_in_words
from ad_core.scoring.verdict import INSPECT

LONGEST = 120  # letters of a type of defect
NEAREST_PX = 400  # longer side of the normal image beside it
TYPES = 12  # types of defect that are offered


class Inspect:
    """Pages of one image."""

    def __init__(self, line: Line, sampling: Sampling, queue: Queue, pictures: NormalPictures):
        """Shows images of a line; `queue` says what comes next, `pictures` what is normal."""
        self._line, self._store, self._sampling = line, line.store, sampling
        self._queue, self._pictures = queue, pictures

    async def show(self, request: Request) -> Response:
        """The image."""
        return await run_in_threadpool(self._show, request)

    def _show(self, request: Request) -> Response:
        self._sampling.draw()
        state = self._store.image(request.path_params["sha"])
        if state is None:
            return refused(request, "There is no such image.", status=404)
        user = request.state.user.name
        blind = self._sampling.is_blind(state, user)
        return page(
            request,
            "inspect.html",
            image=state,
            name=shown_name(state),
            blind=blind,
            told=None if blind else self._told(state),
            kept=self._store.archive.picture(state.sha) is not None,
            types=self._types(),
            verdicts=[] if blind else read_standing(self._store, state.sha).get(state.sha, []),
            may_return=not blind,
        )

    def _told(self, state: ImageState) -> Mapping[str, Any]:
        """What the detector says of an image."""
        scored = self._store.events(SCORED, state.sha, newest=True, limit=1)
        detail = scored[0].detail if scored else {}
        parts, nearest = self._line.loaded.detector.parts, str(detail.get("nearest", ""))
        inspected = state.decision == INSPECT
        return {
            "reasons": detail.get("reasons", []),
            "places": places_in_words(detail.get("regions", []), inspected=inspected),
            "nearest": nearest,
            "near": bool(nearest) and self._pictures.has(parts, nearest),
            "map": self._store.archive.map(state.sha) is not None,
            "strip": Markup(strip(parts.facts, state.threshold, state.score)),
            "current": state.detector_sha == self._line.loaded.sha,
        }

    async def nearest(self, request: Request) -> Response:
        """The picture of the normal calibration image that is nearest to an image."""
        return await run_in_threadpool(self._nearest, request.path_params["sha"])

    def _nearest(self, sha: str) -> Response:
        scored = self._store.events(SCORED, sha, newest=True, limit=1)
        path = scored[0].detail.get("nearest", "") if scored else ""
        if not path:
            return PlainTextResponse("No normal image is known to be near.", 404)
        try:
            parts = self._line.loaded.detector.parts
            content = encode(self._pictures.picture(parts, str(path), longest=NEAREST_PX))
        except UserError as error:
            return PlainTextResponse(str(error), 404)
        return Response(content, media_type="image/png")

    def _types(self) -> list[str]:
        """Types of defect that people named lately, then those of the calibration images."""
        last = self._store.events(VERDICT, newest=True, limit=500)
        named = [event.defect for event in last if event.defect]
        known = (self._line.loaded.detector.parts.facts or {}).get("defects", {})
        return list(dict.fromkeys([*named, *known]))[:TYPES]

    async def judge(self, request: Request) -> Response:
        """Takes a verdict and goes on to the next image."""
        form = await request.form(max_files=0)
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        return await run_in_threadpool(self._judge, request, fields)

    def _judge(self, request: Request, fields: Mapping[str, str]) -> Response:
        self._sampling.draw()
        state = self._store.image(request.path_params["sha"])
        verdict = fields.get("verdict", "")
        if state is None:
            return refused(request, "There is no such image.", status=404)
        if verdict not in VERDICTS:
            return refused(request, f"A verdict is one of {', '.join(VERDICTS)}.")
        user = request.state.user.name
        later = fields.get("later") == "1"
        came = self._sampling.came(state, user, verdict=verdict)
        event = Event(
            kind=VERDICT,
            user=user,
            image_sha=state.sha,
            detector_sha=state.detector_sha,
            score=state.score,
            threshold=state.threshold,
            decision=state.decision,
            verdict=DEFECT if later else verdict,
            defect=fields.get("defect", "").strip()[:LONGEST] if verdict == DEFECT else "",
            reason=fields.get("reason", "").strip()[:1000],
            origin=DOWNSTREAM if later else came,
        )
        try:
            self._store.append(event)
        except StoreError as error:
            return refused(request, f"The verdict was not noted: {error}.", status=507)
        following = self._queue.next_image(user, without=state.sha)
        return RedirectResponse(f"/inspect/{following}" if following else "/", 303)

    async def undo(self, request: Request) -> Response:
        """Takes back the last verdict of this person and shows its image again."""
        return await run_in_threadpool(self._undo, request)

    def _undo(self, request: Request) -> Response:
        user = request.state.user.name
        undone = {e.about for e in self._store.events(UNDO, user=user)}
        own = self._store.events(VERDICT, user=user, newest=True)
        last = next((event for event in own if event.seq not in undone), None)
        if last is None:
            return refused(request, "You have given no verdict that could be taken back.")
        told = {"image_sha": last.image_sha, "about": last.seq}
        try:
            self._store.append(
                Event(kind=UNDO, user=user, reason=f"took back {last.verdict!r}", **told)
            )
        except StoreError as error:
            return refused(request, f"The verdict was not taken back: {error}.", status=507)
        return RedirectResponse(f"/inspect/{last.image_sha}", 303)
