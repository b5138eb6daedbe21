"""Recalibrate: what the line's defects would change, a proposal, a second person, a way back."""

from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ad_core.console import recalibrations
from ad_core.console.line import Line
from ad_core.console.lineage import shown_name
from ad_core.console.pages_render import page, refused
from ad_core.console.recalibrate import LINE, LOWEST, OWN, WAYS
from ad_core.console.sampling import Sampling
from ad_core.console.store import StoreError
from ad_core.decision import Threshold
from ad_core.errors import UserError

_ONE_AT_A_TIME = Lock()
SHOWN = 60  # images whose decision turns
WORDS = {
    OWN: "the detector's own rule, with the line's defects",
    LOWEST: "rule zfn: the lowest score of all defects",
    LINE: "the line's drawn defects alone (proved, takes 59 for 5 %)",
}


class Recalibrate:
    """Pages of recalibration."""

    def __init__(self, line: Line, sampling: Sampling):
        """Changes the detector of a line."""
        self._line, self._store, self._sampling = line, line.store, sampling

    async def show(self, request: Request) -> Response:
        """Change that a recalibration would make, and what waits for a second person."""
        return await run_in_threadpool(self._show, request)

    def _show(self, request: Request) -> Response:
        way = request.query_params.get("way", OWN)
        way = way if way in WAYS else OWN
        preview, refusal = None, ""
        try:
            preview = recalibrations.preview(self._line, self._sampling, way=way)
        except UserError as error:
            refusal = str(error)
        proposal = recalibrations.open_proposal(self._line)
        flips = preview.effect.flips[:SHOWN] if preview else ()
        states = [state for flip in flips if (state := self._store.image(flip.image))]
        user = request.state.user.name
        return page(
            request,
            "recalibrate.html",
            way=way,
            ways=WORDS,
            preview=preview,
            flips=flips,
            names={state.sha: shown_name(state) for state in states},
            hidden={state.sha for state in states if self._sampling.is_blind(state, user)},
            refusal=refusal,
            proposal=proposal,
            proposed=proposal and _thresholds(proposal.detail),
            own=bool(proposal and proposal.user == user),
            former=recalibrations.former(self._line),
            now=self._line.loaded,
        )

    async def propose(self, request: Request) -> Response:
        """Makes the new detector, which waits for a second person."""
        form = await request.form(max_files=0)
        way, reason = str(form.get("way", OWN)), str(form.get("reason", ""))
        user = request.state.user.name
        do = partial(
            recalibrations.propose, self._line, self._sampling, user=user, way=way, reason=reason
        )
        return await _done(request, do)

    async def confirm(self, request: Request) -> Response:
        """Puts the proposed detector to work."""
        seq, user = int(request.path_params["seq"]), request.state.user.name
        return await _done(request, partial(recalibrations.confirm, self._line, seq, user=user))

    async def decline(self, request: Request) -> Response:
        """Closes the proposal without it."""
        seq, user = int(request.path_params["seq"]), request.state.user.name
        return await _done(request, partial(recalibrations.decline, self._line, seq, user=user))

    async def back(self, request: Request) -> Response:
        """Puts the detector before back to work."""
        user = request.state.user.name
        return await _done(request, partial(recalibrations.go_back, self._line, user=user))


async def _done(request: Request, do: Callable[[], object]) -> Response:
    return await run_in_threadpool(_do, request, do)


def _do(request: Request, do: Callable[[], object]) -> Response:
    try:
        with _ONE_AT_A_TIME:
            do()
    except UserError as error:
        return refused(request, error)
    except StoreError as error:
        return refused(request, f"Nothing changed: {error}.", status=507)
    return RedirectResponse("/recalibrate", 303)


def _thresholds(detail: Mapping[str, dict]) -> tuple[Threshold, Threshold]:
    return Threshold.from_dict(detail["before"]), Threshold.from_dict(detail["after"])
