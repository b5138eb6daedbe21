"""A table of images, CSV or Parquet: what to train on and judge, or what to score."""

import csv
import math
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ml_collections import ConfigDict

from ad_core.data.formats.pages import find_page, spread
from ad_core.data.layouts.files import LabelledFiles
from ad_core.data.layouts.grouping import group_by_pattern, join_files, plain_name
from ad_core.data.layouts.listing import DIVISIONS, GROUPS, is_inside, refuse_own
from ad_core.data.source import NORMAL, NORMAL_NAMES, Record, means_normal
from ad_core.errors import UserError

TABLES = (".csv", ".parquet")
COLUMNS = ("path", "label", "defect", "mask", "group", "split")
# By label in lower case; a number may have decimals, "0.0" is 0.
LABELS = {"0": 0, "normal": 0, NORMAL: 0, "1": 1, "abnormal": 1} | {
    **dict.fromkeys((*NORMAL_NAMES, "false", "negative"), 0),
    **dict.fromkeys(
        ("ng", "nok", "not ok", "fail", "failed", "bad", "defect", "defective", "faulty", "anomaly",
         "anomalous", "true", "positive"), 1
    ),
}  # fmt: skip
_ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # by the mark at a file's start
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")


def open_source(data: ConfigDict) -> LabelledFiles:
    """The images of the table `data.root`, listed but not yet read.

    Its columns, of which only the first two are needed:
        path: relative to the table's folder; one may name a page. label: 0, normal, good, OK,
            pass, false; or 1, abnormal, NG, fail, true, in whatever case.
        defect: the kind of abnormality. mask: a file, relative as well, white where abnormal.
        group: what no split may separate; rows of one file are of one group in any case.
        split: train, val (counts as train), test, or empty.

    Raises:
        UserError: no such table or column, or a row that cannot be meant; it names the line.
    """
    table = Path(str(data.root))
    if not table.is_file() or table.suffix.lower() not in TABLES:
        kind = "is no CSV or Parquet file" if table.exists() else "no such file"
        raise UserError(
            f"`data.root` (={table}): {kind}; give a table with the columns path and label (and "
            f"optionally {', '.join(COLUMNS[2:])})."
        )
    rows = list(_rows(table, ("path", "label"), optional=COLUMNS[2:]))
    _check_paths(table, rows)
    root = table.resolve().parent
    refuse_own(table.resolve())
    ungrouped = [row["path"] for _, row in rows if not row["group"]]
    groups = group_by_pattern(ungrouped, str(data.group_pattern))
    records = [
        _record(table, line, row, groups)._replace(path=page)
        for line, row in rows
        for page in spread(root, [row["path"]], data)
    ]
    masks = {row["path"]: (row["mask"],) for _, row in rows if row["mask"]}
    source = LabelledFiles(root, join_files(root, records), data, masks=masks)
    source.grouped = bool(groups) or len(ungrouped) < len(rows)
    return source


def read_manifest(path: str | os.PathLike[str]) -> list[str]:
    """The column `path` of a table: images relative to the table's folder, in its order.

    Whether they exist shows when they are read, as with any damaged file.

    Raises:
        UserError: no such column or no row; or a path that is empty, absolute, stands twice, or
            leaves the folder by ".." or a link. The message names the line.
    """
    rows = list(_rows(Path(path), ("path",)))
    _check_paths(path, rows)
    return [row["path"] for _, row in rows]


def manifest_groups(path: str | os.PathLike[str]) -> dict[str, str]:
    """The column `group` of a table, by the file that the row names; empty where it has none."""
    rows = _rows(Path(path), ("path",), optional=("group",))
    root = Path(path).parent
    return {plain_name(root, row["path"]): row["group"] for _, row in rows if row.get("group")}


def read_groups(root: Path, images: Mapping[str, Any]) -> dict[str, str]:
    """The groups that `groups.csv` below a root names, by path; empty without that file.

    Raises:
        UserError: a row that names no image or no group, or an image in two groups.
    """
    path = root / GROUPS
    groups: dict[str, str] = {}
    if not os.path.lexists(path):
        return groups
    for line, row in _rows(path, ("path", "group")):
        where = f"{path}, line {line}: `path` (={row['path']!r})"
        name, group = posixpath.normpath(row["path"]), row["group"]
        if name not in images:
            raise UserError(f"{where} is no image of {root}; correct it or remove the line.")
        if not group:
            raise UserError(f"{where} has no group; name one or remove the line.")
        if groups.setdefault(name, group) != group:
            raise UserError(f"{where} is in two groups, {groups[name]!r} and {group!r}; keep one.")
    return groups


def _record(table: Path, line: int, row: dict[str, str], groups: Mapping[str, str]) -> Record:
    where = f"{table}, line {line}"
    label = _label(row["label"])
    if label is None:
        known = ", ".join(LABELS)
        raise UserError(f"{where}: `label` (={row['label']!r}) must be one of {known}.")
    defect = row["defect"] or ("defect" if label else NORMAL)
    if means_normal(defect) != (label == 0):
        raise UserError(
            f"{where}: `label` (={row['label']!r}) contradicts `defect` (={row['defect']!r}); only "
            f"normal images have the defect {NORMAL!r} (or {', '.join(NORMAL_NAMES[1:])}) or none."
        )
    if row["split"].lower() not in ("", *DIVISIONS):
        known = ", ".join(DIVISIONS)
        raise UserError(f"{where}: `split` (={row['split']!r}) must be empty or one of {known}.")
    if row["mask"]:
        _check_path(f"{where}: `mask` (={row['mask']!r})", row["mask"], table.resolve().parent)
        root = table.resolve().parent
        if not os.path.isfile(root / find_page(root, row["mask"])[0]):
            raise UserError(f"{where}: `mask` (={row['mask']!r}): no such file; correct the row.")
    return Record(
        path=row["path"],
        label=label,
        defect=defect if label else NORMAL,
        group=row["group"]
        or groups.get(row["path"])
        or plain_name(table.resolve().parent, row["path"]),
        folder=DIVISIONS.get(row["split"].lower(), ""),
        has_mask=label == 0 or bool(row["mask"]),
    )


def _label(text: str) -> int | None:
    """0 normal, 1 abnormal; None where it is neither."""
    try:
        return {0.0: 0, 1.0: 1}.get(float(text))
    except ValueError:
        return LABELS.get(text.strip().lower())


def _check_paths(table: str | os.PathLike[str], rows: Sequence[tuple[int, dict[str, str]]]) -> None:
    root = Path(table).resolve().parent
    seen: dict[object, int] = {}
    for line, row in rows:
        name = row["path"]
        where = f"{table}, line {line}: `path` (={name!r})"
        _check_path(where, name, root)
        page = find_page(root, name)[1]
        place = (plain_name(root, name), *page.items())
        if place in seen:
            raise UserError(f"{where} stands in line {seen[place]} too; leave one.")
        seen[place] = line
    if not seen:
        raise UserError(f"{table}: holds no row; give one path a line below the header.")


def _check_path(where: str, name: str, root: Path) -> None:
    parts = Path(name).parts
    if not parts or "\0" in name or _ABSOLUTE.match(name):
        raise UserError(f"{where} must be relative to {root}.")
    file = root / find_page(root, name)[0]
    if ".." in parts or not is_inside(file, root):
        raise UserError(f"{where} leads out of {root}; copy the image there.")
    turned = name.replace("\\", "/")
    if (
        turned != name
        and not os.path.exists(file)
        and os.path.exists(root / find_page(root, turned)[0])
    ):
        raise UserError(f"{where}: no such file; write {turned!r}, with slashes, as its path.")
    refuse_own(file)


def _rows(
    path: Path, columns: Sequence[str], *, optional: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows as text, "" where empty, with the line on which each ends (Parquet: as if CSV).

    Columns beyond are left out.
    """
    read = _read_parquet if path.suffix.lower() == ".parquet" else _read_csv
    found, rows = read(path, (*columns, *optional))
    missing = [name for name in columns if name not in found]
    if missing:
        raise UserError(
            f"{path}: lacks the column {', '.join(missing)}; it must name its columns (in a CSV "
            f"file the first line) and has {', '.join(found) or 'nothing'}.{_hint(found)}"
        )
    yield from rows


def _hint(found: Sequence[str]) -> str:
    """What a header of no column that is known may come from, and the mend; else ""."""
    header = "".join(found)
    if "\0" in header:
        return " It is written in UTF-16; save it in UTF-8."
    for mark, name in ((";", "semicolons"), ("\t", "tabulators"), ("|", "bars")):
        if len(found) == 1 and mark in header:
            return f" Its columns are separated by {name}; save it with commas."
    lower = sorted(name for name in found if name.strip().lower() in COLUMNS)
    return f" Write {lower[0].strip().lower()!r} in place of {lower[0]!r}." if lower else ""


def _read_csv(
    path: Path, columns: Sequence[str]
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    try:
        with open(path, "rb") as raw:
            encoding = _ENCODINGS.get(raw.read(2), "utf-8-sig")
        with open(path, newline="", encoding=encoding) as file:
            reader = csv.reader(file)
            found = next(reader, [])
            _check_header(path, found, columns)
            rows = [(reader.line_num, _cells(found, cells, columns)) for cells in _filled(reader)]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check it.") from error
    except (UnicodeError, csv.Error) as error:
        raise UserError(f"{path}: is no CSV file in UTF-8 ({error}); save it as one.") from error
    return found, rows


def _check_header(path: Path, found: Sequence[str], columns: Sequence[str]) -> None:
    twice = [name for name in columns if found.count(name) > 1]
    if twice:
        raise UserError(f"{path}: names the column {twice[0]} twice; leave one.")


def _filled(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    """Yields the rows but those of empty cells alone, such as spreadsheets leave at the end."""
    for cells in reader:
        if cells and (len(cells) == 1 or any(cell.strip() for cell in cells)):
            yield cells


def _cells(found: Sequence[str], cells: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
    row = dict(zip(found, cells, strict=False))
    return {name: _known(name, row.get(name, "")) for name in columns}


def _known(name: str, text: str) -> str:
    """A cell; one that is not a number is empty, but as a file's name."""
    return "" if name != "path" and text.strip().lower() == "nan" else text


def _read_parquet(
    path: Path, columns: Sequence[str]
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    try:
        found = pq.read_schema(path).names
        wanted = [name for name in columns if name in found]
        table = pq.read_table(path, columns=wanted).to_pylist()
        blank = [all(_is_blank(cell) for cell in row.values()) for row in table]
        if any(blank) and len(found) > len(wanted):
            whole = pq.read_table(path).to_pylist()
            blank = [all(_is_blank(cell) for cell in row.values()) for row in whole]
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: is no Parquet file ({error}); write it again.") from error
    rows = []
    for line, (row, empty) in enumerate(zip(table, blank, strict=True), start=2):
        where = f"{path}, line {line}"
        if len(found) < 2 or not empty:
            rows.append((line, {name: _text(where, name, row.get(name)) for name in columns}))
    return list(found), rows


def _is_blank(cell: Any) -> bool:
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())


def _text(where: str, name: str, cell: Any) -> str:
    """A cell as a CSV file would hold it. Raises UserError for one that no CSV file holds."""
    if _is_blank(cell):
        return ""
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", "surrogateescape")
    if isinstance(cell, list | dict):
        raise UserError(f"{where}: `{name}` (={cell!r}) must be a text or a number.")
    if isinstance(cell, bool | int | float) and not math.isinf(cell):
        return f"{int(cell)}" if cell == int(cell) else f"{cell}"
    return _known(name, str(cell))
