"""Verdicts as rows of scores.parquet and scores.csv."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ad_core.errors import UserError
from ad_core.scoring.detector import INSPECT
from ad_core.scoring.localisation import places_in_words
from ad_core.scoring.verdict import Verdict

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("status", pa.string()),  # ok | error
        ("error", pa.string()),  # why the image could not be read
        ("score", pa.float64()),
        ("decision", pa.string()),  # normal | inspect
        ("threshold", pa.float64()),
        ("review", pa.string()),  # person where a person looks, none elsewhere; empty without band
        ("regions", pa.string()),  # JSON, boxes in pixels of the file
        ("places", pa.string()),  # the regions in words; says so where there is none
        ("statistics", pa.string()),  # those that pushed the score most, foremost first
        ("reasons", pa.string()),  # the same in words: value, range of normals, signed push
    ]
)
# A spreadsheet would take a cell that begins with one of these for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Rows:
    """scores.parquet and scores.csv, written as the verdicts come."""

    def __init__(self, output: Path, *, threshold: float):
        """Raises UserError if the files cannot be written."""
        try:
            self._file = (output / "scores.csv").open("w", newline="", encoding="utf-8")
            self._parquet = pq.ParquetWriter(output / "scores.parquet", SCHEMA)
        except OSError as error:
            raise UserError(
                f"`--output` (={output}) cannot be written: {error.strerror}; choose another "
                "folder."
            ) from error
        self._csv = csv.DictWriter(self._file, SCHEMA.names)
        self._csv.writeheader()
        self._threshold = threshold

    def write(self, verdicts: list[Verdict]) -> None:
        """Appends a row for each."""
        rows = [_row(verdict, self._threshold) for verdict in verdicts]
        if rows:
            self._parquet.write_table(pa.Table.from_pylist(rows, SCHEMA))
            self._csv.writerows([{name: _plain(x) for name, x in row.items()} for row in rows])

    def close(self) -> None:
        """Ends both files."""
        self._parquet.close()
        self._file.close()


def _row(verdict: Verdict, threshold: float) -> dict[str, Any]:
    scored = verdict.regions is not None
    return {
        "path": verdict.path,
        "status": verdict.status,
        "error": verdict.error,
        "score": verdict.score,
        "decision": verdict.decision,
        "threshold": threshold,
        "review": verdict.review,
        "regions": json.dumps(verdict.regions) if scored else None,
        "places": _places(verdict),
        "statistics": " ".join(reason.name for reason in verdict.reasons) if scored else None,
        "reasons": "; ".join(map(str, verdict.reasons)) if scored else None,
    }


def _places(verdict: Verdict) -> str | None:
    """The regions in words; None where no map was made of the image."""
    if verdict.regions is None:
        return None
    if verdict.score is None:
        return "the image could not be measured"
    return places_in_words(verdict.regions, inspected=verdict.decision == INSPECT)


def _plain(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
