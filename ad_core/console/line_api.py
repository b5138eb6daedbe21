"""Interface for the line: an image comes as bytes, an answer goes as JSON."""

import sys
import traceback
from collections.abc import Callable
from functools import partial
from shutil import disk_usage
from time import monotonic
from typing import Any

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ad_core.console.answer import Answer
from ad_core.console.line import Arrival, Line
from ad_core.console.metrics import CONTENT_TYPE
from ad_core.console.openapi import describe
from ad_core.console.security import bearer
from ad_core.console.store import StoreError
from ad_core.console.upload import BadUpload, drain, read_upload
from ad_core.console.users import METRICS, SCORE, Users
from ad_core.scoring.verdict import INSPECT


def routes(line: Line, users: Users, *, most_bytes: int) -> list[BaseRoute]:
    """Routes of the interface.

    Args:
        most_bytes: of an image.
    """
    scoring = _Scoring(line, users, most_bytes)
    return [
        Route("/v1/score", scoring.answer, methods=["POST"]),
        Route("/v1/health", partial(_health, line), methods=["GET"]),
        Route("/v1/openapi.json", _openapi, methods=["GET"]),
        Route("/metrics", partial(_metrics, line, users), methods=["GET"]),
    ]


class _Scoring:
    """Answers of POST /v1/score: whatever happens, one with a decision."""

    def __init__(self, line: Line, users: Users, most_bytes: int):
        self._line, self._users, self._most_bytes = line, users, most_bytes
        # A thread for each slot, and some for refusals: none waits for another's image.
        self._threads = anyio.CapacityLimiter(line.queue_limit + 8)

    async def answer(self, request: Request) -> Response:
        """The answer to a request."""
        began = monotonic()
        try:
            device = await self._run(partial(self._users.device, bearer(request.headers), SCORE))
            if device is None:
                return _without_event(
                    self._line, "not_authorised", "no device has this token", began
                )
            return JSONResponse(*_told(await self._answer(request, device, began)))
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            reason = f"the service failed ({type(error).__name__})"
            return _without_event(self._line, "failed", reason, began)

    async def _answer(self, request: Request, device: str, began: float) -> Answer:
        line, name = self._line, ""
        arrival = Arrival("", "http", device, began)
        if not line.enter():
            sha = await drain(request, most_bytes=self._most_bytes, timeout_s=line.timeout_s)
            return await self._run(partial(line.refuse, *line.why_not(), arrival, sha=sha))
        try:
            limits: dict[str, Any] = {"most_bytes": self._most_bytes, "timeout_s": line.timeout_s}
            content, name = await read_upload(request, **limits)
            told: dict[str, Any] = {"user": device, "began": began, "entered": True}
            return await self._run(partial(line.score, content, name, "http", **told))
        except BadUpload as error:
            refuse = partial(line.refuse, error.outcome, str(error), arrival, sha=error.sha)
            return await self._run(refuse)
        finally:
            line.leave()

    async def _run(self, call: Callable[[], Any]) -> Any:
        return await anyio.to_thread.run_sync(call, limiter=self._threads)


def _told(answer: Answer) -> tuple[dict[str, Any], int]:
    return answer.to_dict(), answer.status


def _without_event(line: Line, outcome: str, reason: str, began: float) -> Response:
    line.metrics.answered(INSPECT, outcome, monotonic() - began)
    return inspect_response(outcome, reason, {"not_authorised": 401}.get(outcome, 500))


def inspect_response(outcome: str, reason: str, status: int) -> Response:
    """The answer `inspect` to what never became an image of the line."""
    told = {"decision": INSPECT, "score": None, "outcome": outcome, "reason": reason}
    return JSONResponse(told, status)


async def _health(line: Line, request: Request) -> Response:
    ok = not (line.stuck or line.stopping)
    status = "ok" if ok else "stopping" if line.stopping else "stuck"
    told = {
        "status": status,
        "detector": line.loaded.sha,
        "under_way": line.waiting,
        "limit": line.queue_limit,
    }
    return JSONResponse(told, 200 if ok else 503)


async def _openapi(request: Request) -> Response:
    return JSONResponse(describe())


async def _metrics(line: Line, users: Users, request: Request) -> Response:
    device = await run_in_threadpool(users.device, bearer(request.headers), METRICS)
    if device is None:
        return PlainTextResponse("A token of a device that may read the metrics is needed.", 401)
    text = await run_in_threadpool(lambda: line.metrics.to_text(gauges(line)))
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


def gauges(line: Line) -> dict[str, tuple[str, float | int]]:
    """Name -> (what it is, its value now), for Prometheus and the page on health."""
    store = line.store
    try:
        last = store.last()
    except StoreError:
        last = None
    return {
        "zfn_under_way": ("Images that are under way.", line.waiting),
        "zfn_under_way_limit": ("Images that may be under way.", line.queue_limit),
        "zfn_worker_stuck": ("1 where the worker is at one image too long.", float(line.stuck)),
        "zfn_events": ("Number of the last event.", float("nan") if last is None else last.seq),
        "zfn_pictures_bytes": ("Bytes of pictures and maps.", store.archive.used),
        "zfn_disk_free_bytes": ("Bytes that are free.", disk_usage(store.path).free),
    }
