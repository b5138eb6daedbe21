"""Self-contained HTML pages, made of the templates of this room.

Nothing is fetched: pictures are data addresses, fonts are the system's, and a page's own content
policy forbids scripts and every other origin. Whatever a template is given is escaped.
"""

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


def make_page(template: str, **content: Any) -> str:
    """The page as text; `content` holds what the template names."""
    return _ENVIRONMENT.get_template(template).render(content)


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
_ENVIRONMENT.filters |= {"data_uri": data_uri, "percent": percent, "plural": plural}
