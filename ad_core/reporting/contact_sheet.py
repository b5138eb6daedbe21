"""The page of an inspection: what was found, with pictures, and some images of every class."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ad_core.data.formats.resizing import reduce_area, view_size
from ad_core.errors import UserError
from ad_core.inspection.findings import WARNING, Finding
from ad_core.inspection.inspect import Inspection
from ad_core.reporting.page import Table, make_page
from ad_core.runtime.sealed import write_text
from ad_core.scoring.pictures import outline, to_rgb

EACH = 24  # images shown of a class
PAIRS = 8  # rows of pictures shown of a finding
LISTED = 12  # rows of a finding that are given as paths alone
SIDE = 128  # pixels of a thumbnail, at most
MASK = (255, 140, 0)


class Thumbnail(NamedTuple):
    """An image, small, its mask outlined; no picture where it cannot be read."""

    path: str
    picture: UInt8[np.ndarray, "_ _ 3"] | None


class Found(NamedTuple):
    """A finding as it is shown. rows: images side by side; listed: paths of others.

    more: how many rows beyond both stand in findings.json alone.
    """

    finding: Finding
    rows: Sequence[Sequence[Thumbnail]]
    listed: Sequence[Sequence[str]]
    more: int


class Shown(NamedTuple):
    """Some images of a class. readable: of how many."""

    defect: str
    thumbnails: Sequence[Thumbnail]
    readable: int


def write_contact_sheet(path: Path, inspection: Inspection) -> None:
    """Writes the page, whole or not at all; its folder is made."""
    write_text(path, render(inspection))


def render(inspection: Inspection) -> str:
    """The page as text."""
    records = inspection.subject.records
    return make_page(
        "inspection.html",
        title=inspection.name,
        status=inspection.status,
        warnings=sum(finding.level == WARNING for finding in inspection.findings),
        images=len(records),
        groups=len({record.group for record in records}),
        lines=inspection.lines,
        findings=[_found(inspection, finding) for finding in inspection.findings],
        counts=_counts(inspection),
        files=_files(inspection),
        classes=list(_classes(inspection)),
    )


def _found(inspection: Inspection, finding: Finding) -> Found:
    readable = inspection.subject.facts.readable
    places = {
        record.path: place
        for place, record in enumerate(inspection.subject.records)
        if readable[place]
    }
    shown = [row for row in finding.paths if all(path in places for path in row)][:PAIRS]
    listed = [row for row in finding.paths if row not in shown][:LISTED]
    return Found(
        finding=finding,
        rows=[[_thumbnail(inspection, places[path]) for path in row] for row in shown],
        listed=listed,
        more=len(finding.paths) - len(shown) - len(listed),
    )


def _counts(inspection: Inspection) -> Table:
    names = inspection.splits
    head = ["class", *(name or "in no split" for name in names), "all"]
    rows = []
    for defect, cells in inspection.counts.items():
        total = sum(images for images, _ in cells.values())
        rows.append([defect, *(_cell(*cells[name]) for name in names), total])
    caption = "Images by class and split; in brackets the groups, where they are fewer."
    return Table(head, rows, caption)


def _cell(images: int, groups: int) -> str:
    return str(images) if images == groups else f"{images} ({groups})"


def _files(inspection: Inspection) -> Table | None:
    facts, seen = inspection.subject.facts, inspection.subject.facts.readable
    if not seen.any():
        return None
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
    return Table(["", "least", "median", "most"], rows, caption, narrow=True)


def _classes(inspection: Inspection) -> Iterable[Shown]:
    """Some images of each class, evenly spread over the set."""
    records, readable = inspection.subject.records, inspection.subject.facts.readable
    for defect in inspection.counts:
        own = [i for i, record in enumerate(records) if record.defect == defect and readable[i]]
        chosen = [own[round(k)] for k in np.linspace(0, len(own) - 1, min(EACH, len(own)))]
        yield Shown(defect, [_thumbnail(inspection, index) for index in chosen], len(own))


def _thumbnail(inspection: Inspection, index: int) -> Thumbnail:
    path = inspection.subject.records[index].path
    try:
        pixels, mask = inspection.thumbnail(index)
    except UserError:
        return Thumbnail(path, None)
    return Thumbnail(path, _picture(pixels, mask))


def _picture(pixels: np.ndarray, mask: np.ndarray) -> UInt8[np.ndarray, "_ _ 3"]:
    size = view_size(*pixels.shape[:2], longest=SIDE)
    small = np.stack([reduce_area(band, size) for band in np.moveaxis(pixels, -1, 0)], axis=-1)
    picture = to_rgb(small)
    marked = reduce_area(mask.astype(np.float32), size) > 0
    picture[outline(marked)] = MASK
    return picture
