"""Rendering of the console's pages: templates, and what every page has."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ad_core.console.users import ADMIN, LEAD
from ad_core.inspection.findings import plural
from ad_core.reporting.svg import number, percent, visible

ROOT = Path(__file__).parent
TEMPLATES, STATIC = ROOT / "templates", ROOT / "static"
SCREENS = (
    ("/", "Queue"),
    ("/recalibrate", "Recalibrate"),
    ("/history", "History"),
    ("/health", "Health"),
)


def page(request: Request, template: str, *, status: int = 200, **content: Any) -> Response:
    """The page of a template for the person who asks.

    Args:
        content: what the template names, beside what all have: `user`, `csrf`, `path`, `screens`,
            and whether the person `leads` or `rules`.
    """
    session = request.state.session
    told = {
        "user": request.state.user,
        "csrf": session.csrf,
        "path": request.url.path,
        "screens": SCREENS,
        "leads": request.state.user.may(LEAD),
        "rules": request.state.user.may(ADMIN),
    }
    return HTMLResponse(_ENVIRONMENT.get_template(template).render(told | content), status)


def refused(request: Request, message: object, *, status: int = 400) -> Response:
    """The page that says why something was not done."""
    return page(request, "refused.html", status=status, message=message)


def clock(time: str) -> str:
    """A time of an event on this machine's clock: 09:41 today, else with its date."""
    if not time:
        return "\u2013"
    local = datetime.fromisoformat(time).astimezone()
    today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def midnight() -> str:
    """The beginning of this machine's day, as events bear times."""
    local = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    return local.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(value: object) -> object:
    """Text from outside with nothing invisible in it; markup as it is."""
    return value if isinstance(value, Markup) else visible(value)


def _score(value: float | None) -> str:
    return "none" if value is None else number(value)


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"clock": clock, "number": _score, "percent": percent, "plural": plural}
