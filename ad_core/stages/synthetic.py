"""Made-up defects beside the images that calibrate: made, measured and kept as a table."""

from collections.abc import Iterable, Iterator

import numpy as np

from ad_core.data.batches import eval_batches
from ad_core.data.synthetic.source import SyntheticSource
from ad_core.decision.calibration import asks_for_synthetic
from ad_core.decision.table import StatisticsTable, make_table, read_table
from ad_core.scoring.measuring import measure_batches
from ad_core.stages.job import Job
from ad_core.stages.measure import Turn

SYNTHETIC = "synthetic"  # the name of their table


class MadeUp:
    """Made-up defects of a job, and what was measured of them so far."""

    def __init__(self, job: Job, source: SyntheticSource, names: tuple[str, ...]):
        """Nothing is measured yet. `names` of the columns."""
        self._job, self._source, self._names = job, source, names
        count = len(source.bases)
        self._values = np.full((count, len(names)), np.nan, np.float32)
        self._errors = [""] * count

    def following(self, turns: Iterable[Turn]) -> Iterator[Turn]:
        """The turns; behind each its measurer takes the defects in its images too.

        So each is measured by states that have learnt neither its normal image nor one of its
        group.
        """
        for turn in turns:
            yield turn
            self._measure(turn)

    def _measure(self, turn: Turn) -> None:
        own = np.flatnonzero(np.isin(self._source.bases, turn.indices))
        if not own.size:
            return
        size, workers = turn.measurer.batch_size, self._job.config.score.workers
        readings = eval_batches(self._source, own, batch_size=size, workers=workers)
        for reading, measured in measure_batches(turn.measurer, readings):
            self._job.stop.check()
            valid = np.asarray(reading.batch.valid)
            self._values[np.asarray(reading.batch.index)[valid]] = measured.statistics[valid]
            for index, message in reading.errors.items():
                self._errors[index] = message

    def table(self) -> StatisticsTable:
        """Measures so far: a row a defect."""
        records = [self._source.record(index) for index in range(len(self._errors))]
        return make_table(records, self._names, self._values, self._errors)


def make_up(job: Job, names: tuple[str, ...]) -> MadeUp | None:
    """Made-up defects in the normal images that calibrate; None where none are asked for.

    Where an abnormal image calibrates they have nothing to choose, and a rule must ask for them.

    Raises:
        UserError: an unknown kind.
    """
    wanted, labels = job.config.data.synthetic, job.labels(job.calibration_split)
    if not wanted.count or (labels.any() and not asks_for_synthetic(job.config.decision)):
        return None
    source = SyntheticSource(
        job.source,
        job.splits[job.calibration_split][labels == 0],
        count=int(wanted.count),
        kinds=tuple(wanted.kinds),
        seed=int(job.config.seed),
    )
    return MadeUp(job, source, names)


def read_made_up(job: Job) -> StatisticsTable | None:
    """The table of made-up defects that a workdir holds; None where it holds none."""
    path = job.workdir.statistics(SYNTHETIC)
    return read_table(path) if path.is_file() else None
