"""The statistics of a split as a table: a row an image, a column a statistic."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from ad_core.data.source import Record, printable
from ad_core.errors import UserError
from ad_core.runtime.sealed import write_file


class StatisticsTable(NamedTuple):
    """Images in the order of their split; `error` is empty where the image was read.

    values: NaN in the rows of images that could not be read.
    """

    path: tuple[str, ...]
    label: Int[np.ndarray, " n"]
    defect: tuple[str, ...]
    group: tuple[str, ...]
    error: tuple[str, ...]
    names: tuple[str, ...]
    values: Float[np.ndarray, "n k"]

    @property
    def readable(self) -> np.ndarray:
        """True for each row that has values."""
        return np.array([not error for error in self.error], dtype=bool)


def make_table(
    records: Sequence[Record],
    names: tuple[str, ...],
    values: Float[np.ndarray, "n k"],
    errors: Sequence[str],
) -> StatisticsTable:
    """The table of `records`, row by row."""
    return StatisticsTable(
        path=tuple(printable(record.path) for record in records),
        label=np.array([record.label for record in records], np.int64),
        defect=tuple(printable(record.defect) for record in records),
        group=tuple(printable(record.group) for record in records),
        error=tuple(map(printable, errors)),
        names=names,
        values=np.asarray(values, np.float32),
    )


def write_table(path: Path, table: StatisticsTable) -> None:
    """Writes Parquet, whole or not at all; errors as `sealed.write_file`."""
    columns = {
        "path": pa.array(table.path, pa.string()),
        "label": pa.array(table.label),
        "defect": pa.array(table.defect, pa.string()),
        "group": pa.array(table.group, pa.string()),
        "error": pa.array(table.error, pa.string()),
    }
    for k, name in enumerate(table.names):
        columns[name] = pa.array(np.ascontiguousarray(table.values[:, k]))
    write_file(path, lambda partial: pq.write_table(pa.table(columns), partial))


def read_table(path: Path) -> StatisticsTable:
    """The table that `write_table` wrote.

    Raises:
        UserError: there is none yet.
    """
    if not path.is_file():
        raise UserError(f"No statistics at {path}; run launch/train.py on this workdir first.")
    table = pq.read_table(path)
    fixed = ("path", "label", "defect", "group", "error")
    names = tuple(name for name in table.column_names if name not in fixed)
    texts = {name: tuple(table[name].to_pylist()) for name in fixed if name != "label"}
    columns = [table[name].to_numpy() for name in names]
    values = np.stack(columns, axis=1) if columns else np.zeros((table.num_rows, 0), np.float32)
    return StatisticsTable(label=table["label"].to_numpy(), names=names, values=values, **texts)


def select(table: StatisticsTable, rows: np.ndarray) -> StatisticsTable:
    """The table of some rows, given by index or as a mask."""
    indices = np.arange(len(table.path))[rows]

    def take(column: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(column[i] for i in indices)

    return StatisticsTable(
        path=take(table.path),
        label=table.label[indices],
        defect=take(table.defect),
        group=take(table.group),
        error=take(table.error),
        names=table.names,
        values=table.values[indices],
    )


def joined(first: StatisticsTable, second: StatisticsTable) -> StatisticsTable:
    """The rows of two tables with the same statistics, one after the other."""
    return StatisticsTable(
        path=first.path + second.path,
        label=np.concatenate([first.label, second.label]),
        defect=first.defect + second.defect,
        group=first.group + second.group,
        error=first.error + second.error,
        names=first.names,
        values=np.concatenate([first.values, second.values]),
    )
