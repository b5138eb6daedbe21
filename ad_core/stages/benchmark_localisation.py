"""The figure of localisation of each set of a benchmark that has masks: every method, one picture.

Images are drawn by chance among the test images of the first seed, before any method is looked at.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ad_core.data.source import DataSource, open_source, printable
from ad_core.decision.table import read_table
from ad_core.reporting.localisation_figure import localisation_figure
from ad_core.reporting.localisation_rows import Row, localisation_rows
from ad_core.runtime.workdir import Workdir
from ad_core.scoring import load_detector
from ad_core.scoring.detector import Detector
from ad_core.scoring.pictures import write_png
from ad_core.stages.benchmark_cells import Cell

LOCALISATION = "localisation"  # folder of the pictures, below a benchmark's workdir
ABNORMAL, NORMAL = 3, 1  # images that are shown
BATCH = 4  # images at a time


def draw_localisation(workdir: Path, done: Iterable[Cell]) -> dict[str, str]:
    """Set -> its picture, as a path below `workdir`; a set whose test images have no mask has none.

    A picture that is newer than all of its runs is kept.

    Args:
        done: cells that ran to their end, method by method.
    """
    cells = list(done)
    pictures = {}
    for name in dict.fromkeys(cell.set for cell in cells):
        first = min(cell.seed for cell in cells if cell.set == name)
        own = [cell for cell in cells if (cell.set, cell.seed) == (name, first)]
        relative = f"{LOCALISATION}/{name}.png"
        if _is_newer(workdir / relative, own) or _draw(workdir / relative, own):
            pictures[name] = relative
    return pictures


def source_of(detector: Detector, *, root: str = "") -> DataSource:
    """Set of a detector's configuration; `root`: where it lies now, if not there."""
    data = detector.parts.config.data.copy_and_resolve_references()
    with data.unlocked():
        data.root = root or data.root
    return open_source(data)


def choose_images(
    source: DataSource, among: Iterable[str], *, abnormal: int, normal: int, seed: int
) -> list[str]:
    """Paths drawn by chance of the images `among`, abnormal ones with a mask first."""
    known, rng = set(among), np.random.default_rng(seed)
    chosen: list[str] = []
    for label, count in ((1, abnormal), (0, normal)):
        own = [r.path for r in source.records if r.label == label and (r.has_mask or not label)]
        own = [path for path in own if printable(path) in known]
        chosen += sorted(str(path) for path in rng.permutation(own)[:count])
    return chosen


def rows_of(
    detector: Detector, source: DataSource, paths: Sequence[str], *, method: str = ""
) -> list[Row]:
    """Rows of a detector for images of its set, which it reads at its own size."""
    index_of = {record.path: i for i, record in enumerate(source.records)}
    indices = [index_of[path] for path in paths]
    return localisation_rows(
        detector,
        [source.read(i) for i in indices],
        names=paths,
        abnormal=[source.records[i].label == 1 for i in indices],
        method=method,
    )


def _is_newer(picture: Path, cells: Sequence[Cell]) -> bool:
    if not picture.is_file():
        return False
    return picture.stat().st_mtime > max(
        Workdir(cell.folder).results.stat().st_mtime for cell in cells
    )


def _draw(picture: Path, cells: Sequence[Cell]) -> bool:
    """Tells whether there was anything to draw."""
    judged = [set(_judged(cell)) for cell in cells]
    paths, rows = list[str](), list[Row]()
    for cell in cells:
        detector = load_detector(Workdir(cell.folder).detector, batch_size=BATCH)
        source = source_of(detector)
        if not paths:
            among = set.intersection(*judged)
            counts = {"abnormal": ABNORMAL, "normal": NORMAL}
            paths = choose_images(source, among, **counts, seed=cell.seed)
        if not any(r.has_mask for r in source.records if r.path in paths):
            return False
        rows += rows_of(detector, source, paths, method=cell.entrant.title)
    picture.parent.mkdir(exist_ok=True)
    write_png(picture, localisation_figure(rows))
    return True


def _judged(cell: Cell) -> Iterable[str]:
    """Paths of the images that judged a run, as its table prints them."""
    statistics = Workdir(cell.folder).statistics
    split = next(name for name in ("test", "pool") if statistics(name).is_file())
    return read_table(statistics(split)).path
