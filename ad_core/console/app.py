"""Application of the service: its routes behind the door."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ad_core.console import accounts, line_api, views
from ad_core.console.line import Line
from ad_core.console.security import Door, Endpoint, guarded
from ad_core.console.users import WORKER, Users
from ad_core.errors import UserError

PICTURES_FOR_S = 600  # that a browser may keep one


@dataclass(frozen=True)
class Settings:
    """Settings of the application.

    origins: of the console's own pages, as `security.origins_of` gives them. secure: whether
    people reach it over TLS, here or at a proxy. max_upload_bytes: of an image.
    """

    origins: tuple[str, ...]
    secure: bool = False
    max_upload_bytes: int = 64 * 2**20


def create_app(settings: Settings, line: Line, pages: Sequence[BaseRoute] = ()) -> Starlette:
    """The application around a line that is at work.

    Args:
        pages: routes of the console. An endpoint that no `guarded` has wrapped is one for
            workers: nothing is open by an oversight.
    """
    users, cookie = Users(line.store), accounts.Cookie.of(secure=settings.secure)
    routes: list[BaseRoute] = [
        *line_api.routes(line, users, most_bytes=settings.max_upload_bytes),
        *accounts.routes(users, cookie),
        Route("/v1/pictures/{sha}", guarded()(_view(line, views.picture)), methods=["GET"]),
        Route("/v1/maps/{sha}", guarded()(_map(line)), methods=["GET"]),
        *map(_closed, pages),
    ]
    if not any(getattr(page, "path", "") == accounts.HOME for page in pages):
        routes.append(Route(accounts.HOME, guarded()(_to_accounts), methods=["GET"]))
    door = Middleware(Door, users=users, origins=settings.origins, cookie=cookie.name)
    app = Starlette(routes=routes, middleware=[door])
    app.state.line, app.state.users = line, users
    return app


def _closed(page: BaseRoute) -> BaseRoute:
    """The route of a page with a guard; static files (a Mount) are as they are."""
    if not isinstance(page, Route) or hasattr(page.endpoint, "role"):
        return page
    return Route(
        page.path,
        guarded(WORKER)(page.endpoint),
        methods=sorted(page.methods or ("GET",)),
        name=page.name,
    )


def _view(line: Line, draw: Callable[..., bytes]) -> Endpoint:
    async def view(request: Request) -> Response:
        sha = request.path_params["sha"]
        if line.store.archive.picture(sha) is None:
            return PlainTextResponse("This picture is not kept.", 404)
        try:
            content = await run_in_threadpool(draw, line.store, line.loaded.detector, sha)
        except UserError as error:
            return PlainTextResponse(str(error), 404)
        headers = {"Cache-Control": f"private, max-age={PICTURES_FOR_S}"}
        return Response(content, media_type="image/png", headers=headers)

    return view


def _map(line: Line) -> Endpoint:
    """The map over an image, but for people who are to judge it without."""
    shown = _view(line, views.map_over)

    async def view(request: Request) -> Response:
        sha, user = request.path_params["sha"], request.state.user.name
        for hides in line.blinds:
            if await run_in_threadpool(hides, sha, user):
                return PlainTextResponse("Judge this image first; its map is shown then.", 403)
        return await shown(request)

    return view


async def _to_accounts(request: Request) -> Response:
    return RedirectResponse("/accounts", 303)
