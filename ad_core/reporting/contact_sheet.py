"""The page of an inspection: what was found, with pictures, and some images of every class."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ad_core.data.formats.resizing import reduce_area, view_size
from ad_core.errors import UserError
from ad_core.inspection.findings import WARNING, Finding, plural
from ad_core.inspection.inspect import Inspection
from ad_core.reporting.page import document, image, paragraph, section, table
from ad_core.reporting.svg import show
from ad_core.runtime.sealed import write_text
from ad_core.scoring.pictures import outline, to_rgb

EACH = 24  # images shown of a class
PAIRS = 8  # rows of pictures shown of a finding
SIDE = 128  # pixels of a thumbnail, at most
MASK = (255, 140, 0)
_STYLE = """<style>
.thumbs{display:grid;grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:12px;
margin:0 0 22px;
padding:0;list-style:none}
.thumbs img,.pair img{display:block;width:100%;height:auto}
.thumbs code,.pair code{display:block;color:var(--soft);font-size:11px;line-height:1.35;
margin-top:3px;
overflow-wrap:anywhere}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:14px 24px;
margin:8px 0 0;padding:0;list-style:none}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:6px}
.level{display:inline-block;min-width:74px;font-weight:500}
.level.warning,.level.unusable{color:var(--abnormal)}
.found{margin:0 0 26px}.found p{margin-bottom:6px}.found ul.paths{margin:4px 0;padding-left:18px;
font-size:13px}
</style>"""


def write_contact_sheet(path: Path, inspection: Inspection) -> None:
    """Writes the page, whole or not at all; its folder is made."""
    write_text(path, render(inspection))


def render(inspection: Inspection) -> str:
    """The page as text."""
    parts = [
        f'<header><p class="kind">Data set</p><h1>{show(inspection.name)}</h1></header>',
        '<main id="main">',
        section("verdict", "In short", _verdict(inspection)),
        section("findings", "Findings", *(_finding(inspection, f) for f in inspection.findings)),
        section("counts", "Counts", _counts(inspection)),
        section("files", "Files", _files(inspection)),
        section("images", "Images", *_classes(inspection)),
        "</main>",
    ]
    return document(inspection.name, _STYLE + "\n".join(parts), skip="Skip to the findings")


def _verdict(inspection: Inspection) -> str:
    warnings = sum(finding.level == WARNING for finding in inspection.findings)
    records = inspection.subject.records
    groups = len({record.group for record in records})
    words = {
        0: "Nothing stands in the way of using it.",
        2: "It cannot be used as it is configured.",
        3: f"It can be used, and {plural(warnings, 'warning')} should be looked at first.",
    }[inspection.status]
    lines = inspection.lines
    return (
        f'<p class="verdict{" bad" * (inspection.status == 2)}">{show(words)}</p>'
        + paragraph(f"{plural(len(records), 'image')} in {plural(groups, 'group')}.")
        + (
            paragraph("What suits better:") + f"<pre>{show(chr(10).join(lines))}</pre>"
            if lines
            else ""
        )
    )


def _finding(inspection: Inspection, finding: Finding) -> str:
    mark = f'<span class="level {finding.level}">{show(finding.level)}</span>'
    places = {record.path: i for i, record in enumerate(inspection.subject.records)}
    rows = [row for row in finding.paths if all(path in places for path in row)]
    readable = inspection.subject.facts.readable
    shown = [row for row in rows if all(readable[places[path]] for path in row)][:PAIRS]
    pictures = _rows(inspection, [[places[path] for path in row] for row in shown])
    listed = [row for row in finding.paths if row not in shown][:12]
    more = len(finding.paths) - len(shown) - len(listed)
    items = "".join(f"<li><code>{show(' | '.join(row))}</code></li>" for row in listed)
    items += f"<li>and {more} more in findings.json</li>" if more else ""
    return (
        f'<div class="found"><p>{mark}<b>{show(finding.name)}</b>: {show(finding.text)}</p>'
        + (f"<pre>{show(chr(10).join(finding.mends))}</pre>" if finding.mends else "")
        + pictures
        + (f'<ul class="paths">{items}</ul>' if items else "")
        + "</div>"
    )


def _rows(inspection: Inspection, rows: Sequence[Sequence[int]]) -> str:
    """The images of each row side by side."""
    items = (
        f'<li class="pair">{"".join(_thumb(inspection, index) for index in row)}</li>'
        for row in rows
    )
    return f'<ul class="pairs">{"".join(items)}</ul>' if rows else ""


def _counts(inspection: Inspection) -> str:
    names = inspection.splits
    head = ["class", *(name or "in no split" for name in names), "all"]
    rows = []
    for defect, cells in inspection.counts.items():
        total = sum(images for images, _ in cells.values())
        rows.append([defect, *(_cell(*cells[name]) for name in names), str(total)])
    caption = "Images by class and split; in brackets the groups, where they are fewer."
    return table(head, rows, caption=caption)


def _cell(images: int, groups: int) -> str:
    return str(images) if images == groups else f"{images} ({groups})"


def _files(inspection: Inspection) -> str:
    facts, seen = inspection.subject.facts, inspection.subject.facts.readable
    if not seen.any():
        return ""
    size = facts.size[seen]
    values = {
        "width": size[:, 0],
        "height": size[:, 1],
        "channels": facts.channels[seen],
        "bits of a value": facts.bits[seen],
        "lowest value": facts.extent[seen, 0],
        "highest value": facts.extent[seen, 1],
    }
    rows = [
        [name, *(f"{number:g}" for number in (of.min(), np.median(of), of.max()))]
        for name, of in values.items()
    ]
    caption = f"Of the {int(seen.sum())} images that could be read, as they are stored."
    return table(["", "least", "median", "most"], rows, caption=caption, kind="wide narrow")


def _classes(inspection: Inspection) -> Iterable[str]:
    """Some images of each class, evenly spread over the set; masks outlined."""
    records, readable = inspection.subject.records, inspection.subject.facts.readable
    for defect in inspection.counts:
        own = [i for i, record in enumerate(records) if record.defect == defect and readable[i]]
        chosen = [own[round(k)] for k in np.linspace(0, len(own) - 1, min(EACH, len(own)))]
        items = "".join(f"<li>{_thumb(inspection, index)}</li>" for index in chosen)
        yield f"<h3>{show(defect)}: {len(chosen)} of {len(own)}</h3>"
        yield f'<ul class="thumbs">{items}</ul>'


def _thumb(inspection: Inspection, index: int) -> str:
    path = inspection.subject.records[index].path
    try:
        pixels, mask = inspection.thumbnail(index)
    except UserError:
        return f"<div><code>{show(path)}</code></div>"
    return f"<div>{image(_picture(pixels, mask), path)}<code>{show(path)}</code></div>"


def _picture(pixels: np.ndarray, mask: np.ndarray) -> UInt8[np.ndarray, "_ _ 3"]:
    size = view_size(*pixels.shape[:2], longest=SIDE)
    small = np.stack([reduce_area(band, size) for band in np.moveaxis(pixels, -1, 0)], axis=-1)
    picture = to_rgb(small)
    marked = reduce_area(mask.astype(np.float32), size) > 0
    picture[outline(marked)] = MASK
    return picture
