"""Pages of accounts: log-in, log-out, the first set-up, people and devices."""

from collections.abc import Mapping
from functools import partial
from html import escape
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ad_core.console.security import guarded
from ad_core.console.users import ADMIN, ROLES, SCOPES, WORKER, Refused, Session, User, Users
from ad_core.errors import UserError

HOME = "/"


class Cookie(NamedTuple):
    """Cookie of sessions: its name, and whether only encrypted requests bear it."""

    name: str
    secure: bool

    @classmethod
    def of(cls, *, secure: bool) -> "Cookie":
        """The cookie, under a name that binds an encrypted one to this host."""
        return cls("__Host-zfn" if secure else "zfn", secure)

    def put(self, response: Response, session: Session) -> None:
        """Gives a browser the session; no script of a page can read it."""
        response.set_cookie(
            self.name, session.token, httponly=True, samesite="strict", secure=self.secure, path="/"
        )


def routes(users: Users, cookie: Cookie) -> list[BaseRoute]:
    """Routes of these pages."""
    people = _Accounts(users)
    doors = _Doors(users, cookie)
    return [
        Route("/setup", doors.set_up, methods=["GET", "POST"]),
        Route("/login", doors.log_in, methods=["GET", "POST"]),
        Route("/logout", guarded(WORKER)(doors.log_out), methods=["POST"]),
        Route("/password", guarded(WORKER)(people.own_password), methods=["GET", "POST"]),
        Route("/accounts", guarded(ADMIN)(people.all), methods=["GET"]),
        Route("/accounts/{what}", guarded(ADMIN)(people.change), methods=["POST"]),
    ]


class _Doors:
    def __init__(self, users: Users, cookie: Cookie):
        self._users, self._cookie = users, cookie

    async def log_in(self, request: Request) -> Response:
        """Form and its answer."""
        fields = {"name": "text", "password": "password"}
        if request.method != "POST":
            return _page("Log in", _form("/login", fields, button="log in"))
        form = await _texts(request)
        address = request.client.host if request.client else ""
        attempt = partial(self._users.log_in, form("name"), form("password"), address)
        try:
            session = await run_in_threadpool(attempt)
        except Refused as error:
            body = _told(str(error)) + _form("/login", fields, button="log in")
            response = _page("Log in", body, 429 if error.retry_s else 403)
            if error.retry_s:
                response.headers["Retry-After"] = str(int(error.retry_s) + 1)
            return response
        response = RedirectResponse(HOME, 303)
        self._cookie.put(response, session)
        return response

    async def set_up(self, request: Request) -> Response:
        """Form that the one-time link opens, and its answer: the first admin."""
        code = request.query_params.get("code", "")
        if request.method != "POST":
            return _page("First admin", self._set_up_form(code))
        form = await _texts(request)
        make = partial(self._users.set_up, form("code"), form("name"), form("password"))
        try:
            await run_in_threadpool(make)
        except UserError as error:
            return _page("First admin", _told(str(error)) + self._set_up_form(form("code")), 400)
        return RedirectResponse("/login", 303)

    def _set_up_form(self, code: str) -> str:
        fields = {"name": "text", "password": "password"}
        return _form("/setup", fields, {"code": code}, button="make this account")

    async def log_out(self, request: Request) -> Response:
        """End of the session, wherever a copy of its cookie may be."""
        token = request.cookies.get(self._cookie.name, "")
        await run_in_threadpool(self._users.log_out, token)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(self._cookie.name, path="/", secure=self._cookie.secure)
        return response


class _Accounts:
    def __init__(self, users: Users):
        self._users = users

    async def own_password(self, request: Request) -> Response:
        """Form for a password of one's own, and its answer."""
        own = {"csrf": request.state.session.csrf}
        form_of = _form("/password", {"password": "password"}, own, button="change it")
        if request.method != "POST":
            return _page("New password", form_of)
        form, name = await _texts(request), request.state.user.name
        change = partial(self._users.change, name, by=name, password=form("password"))
        try:
            await run_in_threadpool(change)
        except UserError as error:
            return _page("New password", _told(str(error)) + form_of, 400)
        return RedirectResponse("/login", 303)

    async def all(self, request: Request) -> Response:
        """People and devices."""
        return await self._shown(request)

    async def change(self, request: Request) -> Response:
        """Answer to one of the forms: it is done, or why not."""
        form, by = await _texts(request), request.state.user.name
        name = form("name")
        calls = {
            "add": partial(self._users.add, name, form("password"), form("role"), by=by),
            "role": partial(self._users.change, name, by=by, role=form("role")),
            "password": partial(self._users.change, name, by=by, password=form("password")),
            "close": partial(self._users.change, name, by=by, active=False),
            "open": partial(self._users.change, name, by=by, active=True),
            "device": partial(self._users.add_device, name, form("scope"), by=by),
            "remove": partial(self._users.remove_device, name, by=by),
        }
        what = request.path_params["what"]
        if what not in calls:
            return await self._shown(request, "There is no such form.", 404)
        try:
            made = await run_in_threadpool(calls[what])
        except UserError as error:
            return await self._shown(request, str(error), 400)
        if isinstance(made, str):
            return await self._shown(request, f"Token of {name}, told this once: {made}")
        return RedirectResponse("/accounts", 303)

    async def _shown(self, request: Request, told: str = "", status: int = 200) -> Response:
        people = await run_in_threadpool(self._users.all)
        devices = await run_in_threadpool(self._users.devices)
        return _page("Accounts", _told(told) + _lists(people, devices, request), status)


def _lists(people: list[User], devices: Mapping[str, str], request: Request) -> str:
    csrf = {"csrf": request.state.session.csrf}
    rows = []
    for user in people:
        own = csrf | {"name": user.name}
        turn = "close" if user.active else "open"
        cells = [
            f"{escape(user.name)} ({'may log in' if user.active else 'closed'})",
            _form("/accounts/role", {"role": ROLES}, own, chosen=user.role, button="set role"),
            _form("/accounts/password", {"password": "password"}, own, button="set password"),
            _form(f"/accounts/{turn}", {}, own, button=f"{turn} account"),
        ]
        rows.append(_row(cells))
    for name, scope in devices.items():
        own = csrf | {"name": name}
        remove = _form("/accounts/remove", {}, own, button="remove")
        rows.append(_row([f"device {escape(name)}: {scope}", "", "", remove]))
    fields = {"name": "text", "password": "password", "role": ROLES}
    add = _form("/accounts/add", fields, csrf, button="add a person")
    scopes = {"name": "text", "scope": SCOPES}
    device = _form("/accounts/device", scopes, csrf, button="add a device")
    return f"<p><a href={HOME}>Console</a></p><table>{''.join(rows)}</table>{add}{device}"


def _row(cells: list[str]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _form(
    action: str,
    fields: Mapping[str, str | tuple[str, ...]],
    hidden: Mapping[str, str] | None = None,
    *,
    button: str,
    chosen: str = "",
) -> str:
    """A form; a field is of a kind (text, password), or has choices."""
    parts = [
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in (hidden or {}).items()
    ]
    for name, kind in fields.items():
        if isinstance(kind, str):
            parts.append(f'<label>{name} <input type="{kind}" name="{name}" required></label>')
            continue
        options = "".join(
            f"<option{' selected' if choice == chosen else ''}>{choice}</option>" for choice in kind
        )
        parts.append(f'<label>{name} <select name="{name}">{options}</select></label>')
    return f'<form method="post" action="{action}">{"".join(parts)}<button>{button}</button></form>'


def _told(text: str) -> str:
    return f'<p role="alert">{escape(text)}</p>' if text else ""


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    head = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<meta name="color-scheme" content="light dark">'
        '<link rel="icon" href="data:,"><link rel="stylesheet" href="/static/console.css">'
    )
    main = f'<main class="account"><h1>{title}</h1>{body}</main>'
    return HTMLResponse(f"{head}<title>{title}</title>{main}", status)


class _Form:
    def __init__(self, fields: Mapping[str, object]):
        self._fields = fields

    def __call__(self, name: str) -> str:
        """Text of a field; "" where there is none."""
        value = self._fields.get(name, "")
        return value if isinstance(value, str) else ""


async def _texts(request: Request) -> _Form:
    return _Form(await request.form(max_files=0))
