"""Door of the service: where it listens, who may come in, what every answer says to a browser."""

from collections.abc import Awaitable, Callable
from functools import wraps
from hmac import compare_digest
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ad_core.console.users import WORKER, Users
from ad_core.errors import UserError

MOST_BYTES = 2**20  # of a form
SAFE = ("GET", "HEAD", "OPTIONS")
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf"
# Open to all, or guarded by tokens of devices, which no browser sends by itself.
API = ("/v1/score", "/v1/health", "/v1/openapi.json", "/metrics")
OPEN = ("/login", "/setup", "/static/")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
NO_STORE = {"Cache-Control": "no-store"}


def is_loopback(host: str) -> bool:
    """Tells whether a host is this machine alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def check_binding(
    host: str, *, certificate: Path | None, key: Path | None, behind_proxy: bool
) -> None:
    """Refuses to be heard from other machines without encryption.

    Raises:
        UserError: naming the flag that is missing, or the file that is not there.
    """
    if (certificate is None) != (key is None):
        raise UserError("`--certificate` and `--key` go together; give both or none.")
    for flag, path in (("certificate", certificate), ("key", key)):
        if path is not None and not path.is_file():
            raise UserError(f"`--{flag}` (={path}): no such file; give a file in PEM format.")
    if not (is_loopback(host) or certificate or behind_proxy):
        raise UserError(
            f"`--host` (={host}) can be reached from other machines, and passwords would pass in "
            "the clear; give --certificate and --key, or --behind_proxy if a proxy on the way "
            "encrypts."
        )


def origins_of(
    host: str, port: int, *, encrypted: bool, trusted: tuple[str, ...]
) -> tuple[str, ...]:
    """Origins of the console's own pages, as browsers name them.

    Args:
        trusted: others, such as https://console.example, under which it is reached.

    Raises:
        UserError: one of them is no origin.
    """
    for origin in trusted:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}":
            raise UserError(
                f"`--trusted_origin` (={origin}) must be like https://console.example[:PORT]."
            )
    scheme = "https" if encrypted else "http"
    names = ["localhost", "127.0.0.1", "[::1]"] if is_loopback(host) else [host]
    plain = {"http": 80, "https": 443}[scheme] == port
    own = [f"{scheme}://{name}{'' if plain else f':{port}'}" for name in names]
    return (*own, *trusted)


class Door:
    """Middleware that lets in who may, and seals every answer.

    `request.state.user` and `.session` are those of the log-in, or None. A request without one
    sees nothing but OPEN and API. One from a page of another origin changes nothing, and a
    request under a name that is not the service's is refused (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, users: Users, origins: tuple[str, ...], cookie: str):
        """Around an application; `cookie` is the name of that of sessions."""
        self._app, self._users, self._cookie = app, users, cookie
        self._origins = frozenset(origins)
        self._hosts = frozenset(urlsplit(origin).netloc for origin in origins)
        self._encrypted = all(origin.startswith("https:") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or hands it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope, receive)
        request.state.user = request.state.session = None
        answer = None if scope["path"] in API else await self._refuse(request)
        await (answer or self._app)(scope, receive, self._sealing(send, request))

    async def _refuse(self, request: Request) -> Response | None:
        """The answer to a request that may not pass; None to one that may."""
        if request.headers.get("host", "") not in self._hosts:
            return PlainTextResponse("Unknown host; see --trusted_origin.", 421)
        if request.method not in SAFE and request.headers.get("origin") not in self._origins:
            return PlainTextResponse("Refused: the request is from a page of another site.", 403)
        if request.method not in SAFE and not 0 <= _length(request) <= MOST_BYTES:
            return PlainTextResponse("Refused: a form is smaller, and tells its length.", 413)
        token = request.cookies.get(self._cookie, "")
        if token:
            request.state.session = await run_in_threadpool(self._users.session, token)
        if request.state.session:
            request.state.user = request.state.session.user
            return None
        if any(_is_under(request.url.path, path) for path in OPEN):
            return None
        if request.method in SAFE and not request.url.path.startswith("/v1/"):
            return RedirectResponse("/login", 303)
        return JSONResponse({"error": "log in first"}, 401)

    def _sealing(self, send: Send, request: Request) -> Send:
        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                told = HEADERS | ({} if "cache-control" in headers else NO_STORE)
                if self._encrypted:
                    told |= {"Strict-Transport-Security": "max-age=31536000"}
                for name, value in told.items():
                    headers[name] = value
            await send(message)

        return sealed


def _length(request: Request) -> int:
    """Bytes of the body as the header tells; -1 where it does not."""
    told = request.headers.get("content-length", "")
    return int(told) if told.isascii() and told.isdecimal() else -1


def _is_under(path: str, place: str) -> bool:
    return path.startswith(place) if place.endswith("/") else path == place


Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(role: str = WORKER) -> Callable[[Endpoint], Endpoint]:
    """Decorator of an endpoint: for people of a role or above; what changes bears the form's token.

    The token is the header X-CSRF-Token or the field `csrf`, as `request.state.session.csrf`.
    """

    def decorate(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def guard(request: Request) -> Response:
            user, session = request.state.user, request.state.session
            if user is None:
                return JSONResponse({"error": "log in first"}, 401)
            if not user.may(role):
                return PlainTextResponse(f"Refused: this needs the role {role}.", 403)
            if request.method not in SAFE and not await has_token(request, session.csrf):
                return PlainTextResponse("Refused: load the page again, then repeat.", 403)
            return await endpoint(request)

        guard.role = role  # type: ignore[attr-defined]
        return guard

    return decorate


async def has_token(request: Request, csrf: str) -> bool:
    """Tells whether a request bears the token of its session's forms."""
    given: Any = request.headers.get(CSRF_HEADER)
    if given is None:
        given = (await request.form(max_files=0)).get(CSRF_FIELD)
    return isinstance(given, str) and compare_digest(given.encode(), csrf.encode())


def bearer(headers: Headers) -> str:
    """The token of a device; "" without one."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
