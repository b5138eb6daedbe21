"""Self-contained HTML pages, made of the templates of this room.

Nothing is fetched: pictures are data addresses, fonts are the system's, and a page's own content
policy forbids every other origin and every script but the page's own, which it names by its hash.
Whatever a template is given is escaped.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ad_core.inspection.findings import plural
from ad_core.reporting.svg import percent, visible
from ad_core.scoring.pictures import data_uri

TEMPLATES = Path(__file__).parent / "templates"


class Table(NamedTuple):
    """Plain cells, the first of each row its heading; a second and last one spans the rest.

    chosen: the row to mark. narrow: as wide as it needs to be, not as the page.
    """

    head: Sequence[object]
    rows: Sequence[Sequence[object]]
    caption: str
    chosen: int | None = None
    narrow: bool = False


class Figure(NamedTuple):
    """A drawn figure and what to see in it; a large one has a row for itself.

    svg: made by figures.py, which escapes what it is given.
    """

    svg: str
    caption: str = ""
    large: bool = False


class Script(NamedTuple):
    """A program of a page, and how the page's policy names it."""

    text: Markup
    source: str


def read_script(name: str) -> Script:
    """A program among the templates."""
    text = (TEMPLATES / name).read_text("utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return Script(Markup(text), f"'sha256-{digest}'")


def make_page(template: str, **content: Any) -> str:
    """The page as text; `content` holds what the template names."""
    return _ENVIRONMENT.get_template(template).render(content)


def _as_data(value: object) -> Markup:
    """Plain data as JSON that cannot end the element it stands in."""
    text = json.dumps(value, allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _shown(value: object) -> object:
    """Text from outside with nothing invisible in it; markup as it is."""
    return value if isinstance(value, Markup) else visible(value)


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {
    "as_data": _as_data,
    "data_uri": data_uri,
    "percent": percent,
    "plural": plural,
}
