"""Measurement of a split by a detector's methods."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from ad_core.data.batches import Reading
from ad_core.decision.table import StatisticsTable, make_table
from ad_core.runtime.progress import Progress
from ad_core.scoring.measuring import Measured, Measurer, measure_batches
from ad_core.stages.job import Job


class Turn(NamedTuple):
    """Images of a split, and what measures them."""

    indices: Int[np.ndarray, " n"]
    measurer: Measurer


def measure_split(
    job: Job,
    split: str,
    turns: Iterable[Turn],
    names: tuple[str, ...],
    *,
    each: Callable[[Reading, Measured], None],
) -> StatisticsTable:
    """The statistics of a split, in its order; images that cannot be read get an error instead.

    Args:
        turns: every image of the split in one of them.
        names: of the columns.
        each: called with the batches as they pass by, padding and what could not be read included.
    """
    indices = job.splits[split]
    values = np.full((len(indices), len(names)), np.nan, np.float32)
    row_of = {int(index): row for row, index in enumerate(indices)}
    errors: dict[int, str] = {}
    progress = Progress(len(indices), label=f"measure {split}", first="compiling")
    for own, measurer in turns:
        readings = job.read(own, measurer.batch_size)
        for reading, measured in measure_batches(measurer, readings):
            valid = np.asarray(reading.batch.valid)
            found = np.asarray(reading.batch.index)[valid]
            values[[row_of[int(index)] for index in found]] = measured.statistics[valid]
            errors |= {row_of[index]: message for index, message in reading.errors.items()}
            each(reading, measured)
            progress.update(len(found) + len(reading.errors))
    progress.close()
    records = [job.source.records[i] for i in indices]
    messages = [errors.get(row, "") for row in range(len(indices))]
    return make_table(records, names, values, messages)
