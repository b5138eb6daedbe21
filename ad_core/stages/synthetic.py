"""Made-up defects beside the images that calibrate: made, measured and kept as a table."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Int

from ad_core.data.batches import eval_batches
from ad_core.data.synthetic.defects import MISSING
from ad_core.data.synthetic.source import SyntheticSource
from ad_core.decision.calibration import asks_for_synthetic
from ad_core.decision.table import StatisticsTable, make_table, read_table
from ad_core.scoring.measuring import Measurer, measure_batches
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
        self._errors: dict[int, str] = {}

    def following(self, turns: Iterable[Turn]) -> Iterator[Turn]:
        """The turns; behind each its measurer takes the defects in its images too.

        So each is measured by states that have learnt neither its normal image nor one of its
        group.
        """
        for turn in turns:
            yield turn
            self._measure(turn)

    def _measure(self, turn: Turn) -> None:
        """Measures the defects of a turn; missing parts again, as its methods would fill them."""
        own = np.flatnonzero(np.isin(self._source.bases, turn.indices))
        drawn = self._take(turn.measurer, self._source, own)
        again = self._source.with_normal_versions(drawn)
        self._take(turn.measurer, again, np.array(sorted(drawn), int))

    def _take(
        self, measurer: Measurer, source: SyntheticSource, indices: Int[np.ndarray, " n"]
    ) -> dict[int, np.ndarray]:
        """Keeps what is measured; index -> the normal version, where one is drawn of a hole."""
        drawn: dict[int, np.ndarray] = {}
        readings = eval_batches(
            source, indices, batch_size=measurer.batch_size, workers=self._job.config.score.workers
        )
        for reading, measured in measure_batches(measurer, readings):
            self._job.stop.check()
            valid = np.asarray(reading.batch.valid)
            found = np.asarray(reading.batch.index)[valid]
            self._values[found] = measured.statistics[valid]
            self._errors |= reading.errors
            if measured.drawn is not None:
                normal = zip(found.tolist(), measured.drawn[valid], strict=True)
                drawn |= {n: one for n, one in normal if source.kinds[n] == MISSING}
        return drawn

    def table(self) -> StatisticsTable:
        """Measures so far: a row a defect."""
        numbers = range(len(self._values))
        records = [self._source.record(number) for number in numbers]
        errors = [self._errors.get(number, "") for number in numbers]
        return make_table(records, self._names, self._values, errors)


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
