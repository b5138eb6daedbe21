"""A table of images, CSV or Parquet: what to train on and judge, or what to score."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ml_collections import ConfigDict

from ad_core.data.formats.pages import split_page, spread
from ad_core.data.layouts.files import LabelledFiles, group_by_pattern
from ad_core.data.layouts.listing import DIVISIONS, GROUPS, is_inside
from ad_core.data.source import NORMAL, Record
from ad_core.errors import UserError

TABLES = (".csv", ".parquet")
COLUMNS = ("path", "label", "defect", "mask", "group", "split")
LABELS = {"0": 0, "normal": 0, NORMAL: 0, "1": 1, "abnormal": 1}


def open_source(data: ConfigDict) -> LabelledFiles:
    """The images of the table `data.root`, listed but not yet read.

    Its columns, of which only the first two are needed:
        path: relative to the table's folder. label: 0, normal, good; or 1, abnormal.
        defect: the kind of abnormality. mask: a file, relative as well, white where abnormal.
        group: what no split may separate. split: train, val (counts as train), test, or empty.

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
    ungrouped = [row["path"] for _, row in rows if not row["group"]]
    groups = group_by_pattern(ungrouped, str(data.group_pattern))
    records = [
        _record(table, line, row, groups)._replace(path=page)
        for line, row in rows
        for page in spread(root, [row["path"]], data)
    ]
    masks = {split_page(row["path"])[0]: (row["mask"],) for _, row in rows if row["mask"]}
    return LabelledFiles(root, records, data, masks=masks)


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
        name, group = row["path"], row["group"]
        where = f"{path}, line {line}: `path` (={name!r})"
        if name not in images:
            raise UserError(f"{where} is no image of {root}; correct it or remove the line.")
        if not group:
            raise UserError(f"{where} has no group; name one or remove the line.")
        if groups.setdefault(name, group) != group:
            raise UserError(f"{where} is in two groups, {groups[name]!r} and {group!r}; keep one.")
    return groups


def _record(table: Path, line: int, row: dict[str, str], groups: Mapping[str, str]) -> Record:
    where = f"{table}, line {line}"
    label = LABELS.get(row["label"].strip().lower())
    if label is None:
        known = ", ".join(LABELS)
        raise UserError(f"{where}: `label` (={row['label']!r}) must be one of {known}.")
    defect = row["defect"] or ("defect" if label else NORMAL)
    if (defect == NORMAL) != (label == 0):
        raise UserError(
            f"{where}: `label` (={row['label']!r}) contradicts `defect` (={row['defect']!r}); only "
            f"normal images have the defect {NORMAL!r} or none."
        )
    if row["split"].lower() not in ("", *DIVISIONS):
        known = ", ".join(DIVISIONS)
        raise UserError(f"{where}: `split` (={row['split']!r}) must be empty or one of {known}.")
    if row["mask"]:
        _check_path(f"{where}: `mask` (={row['mask']!r})", row["mask"], table.resolve().parent)
        if not (table.parent / row["mask"]).is_file():
            raise UserError(f"{where}: `mask` (={row['mask']!r}): no such file; correct the row.")
    return Record(
        path=row["path"],
        label=label,
        defect=defect,
        group=row["group"] or groups.get(row["path"], row["path"]),
        folder=DIVISIONS.get(row["split"].lower(), ""),
        has_mask=label == 0 or bool(row["mask"]),
    )


def _check_paths(table: str | os.PathLike[str], rows: Sequence[tuple[int, dict[str, str]]]) -> None:
    root = Path(table).resolve().parent
    seen: dict[str, int] = {}
    for line, row in rows:
        name = row["path"]
        where = f"{table}, line {line}: `path` (={name!r})"
        _check_path(where, name, root)
        if name in seen:
            raise UserError(f"{where} stands in line {seen[name]} too; leave one.")
        seen[name] = line
    if not seen:
        raise UserError(f"{table}: holds no row; give one path a line below the header.")


def _check_path(where: str, name: str, root: Path) -> None:
    parts = Path(name).parts
    if not parts or "\0" in name or name.startswith(("/", "\\")) or Path(name).is_absolute():
        raise UserError(f"{where} must be relative to {root}.")
    if ".." in parts or not is_inside(root / split_page(name)[0], root):
        raise UserError(f"{where} leads out of {root}; copy the image there.")


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
            f"file the first line) and has {', '.join(found) or 'nothing'}."
        )
    yield from rows


def _read_csv(
    path: Path, columns: Sequence[str]
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            found = list(reader.fieldnames or [])
            rows = [
                (reader.line_num, {name: row.get(name, "") for name in columns}) for row in reader
            ]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check it.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is no CSV file in UTF-8 ({error}); save it as one.") from error
    return found, rows


def _read_parquet(
    path: Path, columns: Sequence[str]
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    try:
        found = pq.read_schema(path).names
        wanted = [name for name in columns if name in found]
        table = pq.read_table(path, columns=wanted).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: is no Parquet file ({error}); write it again.") from error
    rows = [{name: _text(row.get(name)) for name in columns} for row in table]
    return list(found), list(enumerate(rows, start=2))


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool | int | float):
        return f"{int(cell)}" if cell == int(cell) else f"{cell}"
    return str(cell)
