"""Verdicts as rows: sealed parts while a lot runs, scores.parquet and scores.csv at its end."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from ad_core.runtime.sealed import write_file
from ad_core.scoring.localisation import places_in_words
from ad_core.scoring.verdict import ERROR, INSPECT, NORMAL, OK, PERSON, Verdict

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("status", pa.string()),  # ok | error
        ("error", pa.string()),  # why the image could not be read, or its map not be written
        ("score", pa.float64()),
        ("decision", pa.string()),  # normal | inspect
        ("threshold", pa.float64()),
        ("review", pa.string()),  # person where a person looks, none elsewhere; empty without band
        ("clipped", pa.float64()),  # share of values beyond the detector's range
        ("regions", pa.string()),  # JSON, boxes in pixels of the file
        ("places", pa.string()),  # the regions in words; says so where there is none
        ("statistics", pa.string()),  # those that pushed towards the decision, foremost first
        ("reasons", pa.string()),  # the same in words: value, range of normals, signed push
    ]
)
COUNTS = (OK, ERROR, NORMAL, INSPECT, PERSON, "without_map")
INDEX = "index"  # of a part: the place of each row in the lot's listing
STATISTICS = "values"  # of a part: the statistics of a row that was drawn, null in others
PART_SCHEMA = SCHEMA.insert(0, pa.field(INDEX, pa.int64())).append(
    pa.field(STATISTICS, pa.list_(pa.float32()))
)
# A spreadsheet would take a cell that begins with one of these for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def row_of(verdict: Verdict, threshold: float, *, without_map: str = "") -> dict[str, Any]:
    """The row of a verdict. without_map: why its map could not be written."""
    scored = verdict.regions is not None
    return {
        "path": verdict.path,
        "status": verdict.status,
        "error": verdict.error or without_map or None,
        "score": verdict.score,
        "decision": verdict.decision,
        "threshold": threshold,
        "review": verdict.review,
        "clipped": verdict.clipped,
        "regions": json.dumps(verdict.regions) if scored else None,
        "places": _places(verdict),
        "statistics": " ".join(reason.name for reason in verdict.reasons) if scored else None,
        "reasons": "; ".join(map(str, verdict.reasons)) if scored else None,
    }


def write_part(folder: Path, index: Sequence[int], rows: Sequence[dict[str, Any]]) -> None:
    """Seals rows as a part, named by the place of its first row; errors as `write_file`.

    Args:
        index: the place of each row in the lot's listing, ascending. rows: as `row_of`; with
            STATISTICS where they are kept until the lot ends.
    """
    numbered = [{INDEX: place, **row} for place, row in zip(index, rows, strict=True)]
    table = pa.Table.from_pylist(numbered, PART_SCHEMA)
    write_file(folder / f"{index[0]:08d}.parquet", lambda path: pq.write_table(table, path))


def list_parts(folder: Path) -> list[Path]:
    """The sealed parts in a folder, in the order of the listing."""
    return sorted(folder.glob("[0-9]*.parquet"), key=lambda path: int(path.stem))


def read_index(part: Path) -> list[int] | None:
    """Places of the rows of a part; None where it is no part."""
    try:
        return pq.read_table(part, columns=[INDEX])[INDEX].to_pylist()
    except (OSError, KeyError, pa.ArrowException):
        return None


def read_paths(part: Path) -> list[str]:
    """Paths of the rows of a part."""
    return pq.read_table(part, columns=["path"])["path"].to_pylist()


def read_mapped(parts: Iterable[Path]) -> Iterator[int]:
    """Yields places of the rows whose image was read and whose map was not told as missing."""
    for row in _rows(parts, [INDEX, "status", "error"]):
        if row["status"] == OK and row["error"] is None:
            yield row[INDEX]


def read_statistics(parts: Sequence[Path]) -> tuple[list[int], Float[np.ndarray, "n k"]]:
    """Places and statistics of the rows that kept them."""
    kept = [row for row in _rows(parts, [INDEX, STATISTICS]) if row[STATISTICS] is not None]
    values = np.array([row[STATISTICS] for row in kept], np.float32)
    return [row[INDEX] for row in kept], values


def join_parts(parts: Sequence[Path], path: Path) -> None:
    """Writes one part of all, with what only parts hold; errors as `write_file`."""
    write_file(path, lambda partial: _write_parquet(parts, partial, PART_SCHEMA))


def merge_parts(parts: Sequence[Path], output: Path) -> None:
    """Writes scores.parquet and scores.csv of all parts, each in one move; errors as `write_file`.

    Memory holds one part at a time.
    """
    write_file(output / "scores.parquet", lambda path: _write_parquet(parts, path))
    write_file(output / "scores.csv", lambda path: _write_csv(parts, path))


def _write_parquet(parts: Iterable[Path], path: Path, schema: pa.Schema = SCHEMA) -> None:
    with pq.ParquetWriter(path, schema) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part, columns=schema.names))


def _write_csv(parts: Iterable[Path], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, SCHEMA.names)
        writer.writeheader()
        for row in _rows(parts, SCHEMA.names):
            writer.writerow({name: plain(cell) for name, cell in row.items()})


def count_rows(
    parts: Iterable[Path], *, clipped: float
) -> tuple[Counter[str], dict[str, float | int]]:
    """Counts by status, decision and review, and what is clipped.

    Args:
        clipped: the largest share that normals had.

    Returns:
        Counts by the names of COUNTS; and of clipped values: `images` that have some, those
        `beyond` the normals, the `largest` share and the normals' `normals`.
    """
    counts = Counter[str](dict.fromkeys(COUNTS, 0))
    found: dict[str, float | int] = {"images": 0, "beyond": 0, "largest": 0.0, "normals": clipped}
    for row in _rows(parts, ["status", "error", "decision", "review", "clipped"]):
        counts.update((row["status"], row["decision"]))
        counts[PERSON] += row["review"] == PERSON
        counts["without_map"] += row["status"] == OK and row["error"] is not None
        share = row["clipped"] or 0.0
        found["images"] += share > 0
        found["beyond"] += share > clipped
        found["largest"] = max(found["largest"], share)
    return counts, found


def _rows(parts: Iterable[Path], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for part in parts:
        yield from pq.read_table(part, columns=list(columns)).to_pylist()


def _places(verdict: Verdict) -> str | None:
    """The regions in words; None where no map was made of the image."""
    if verdict.regions is None:
        return None
    if verdict.score is None:
        return "the image could not be measured"
    return places_in_words(verdict.regions, inspected=verdict.decision == INSPECT)


def plain(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
