"""Batch scoring on this machine: every image of an input to a row, in constant memory."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ad_core.data.batches import Reading, eval_batches
from ad_core.data.formats.resizing import reduced, to_file
from ad_core.data.layouts.files import FileSource
from ad_core.data.source import printable
from ad_core.decision.drift import Drift
from ad_core.errors import UserError
from ad_core.runtime.progress import Progress
from ad_core.runtime.sealed import write_file
from ad_core.runtime.stop import Stop, Stopped
from ad_core.scoring.detector import Detector
from ad_core.scoring.drift import drift_of, group_names, unfinished
from ad_core.scoring.files import load_detector
from ad_core.scoring.heat import HeatScale
from ad_core.scoring.inputs import open_input
from ad_core.scoring.lot import MAPS, Lot, identify, open_lot
from ad_core.scoring.measuring import Measured, join_rows, measure_batches
from ad_core.scoring.pictures import overlay, write_png
from ad_core.scoring.rows import STATISTICS, row_of
from ad_core.scoring.verdict import Explain, Seen, Verdict, judge

MAP_SIDE = 2048  # pixels
# Images that are judged and sealed together: a forest takes as long for 32 as for some hundred.
BLOCK = 512
SEAL_S = 10.0  # a kill costs no more than the work of these seconds
T = TypeVar("T")


class Stopwatch:
    """Seconds by the work they went to; `decode` counts only the time that the device waited."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.began = time.monotonic()

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Adds the time of a block to `what`."""
        start = time.monotonic()
        yield
        self.seconds[what] += time.monotonic() - start

    def total(self) -> dict[str, float]:
        """Seconds since it began, as `total`, and by the work they went to."""
        return {"total": time.monotonic() - self.began, **self.seconds}

    def each(self, what: str, items: Iterator[T]) -> Iterator[T]:
        """`items`, with the time spent waiting for each added to `what`."""
        while True:
            with self(what):
                item = next(items, None)
            if item is None:
                return
            yield item


class Task(NamedTuple):
    """Work that an engine shares out: a detector, images, and what is asked for.

    maps: whether maps are written. explain: as `judge` takes it. workers: threads that decode.
    """

    detector: Detector
    source: FileSource
    maps: bool
    explain: Explain
    workers: int


class Block(NamedTuple):
    """Measured images: places in the source, what they are, measurements, row by row."""

    index: list[int]
    seen: list[Seen]
    measured: Measured


def score_files(
    detector_dir: Path,
    given: Path,
    output: Path,
    *,
    maps: bool = False,
    explain: Explain = True,
    batch_size: int = 32,
    workers: int = 2,
    stop: Stop | None = None,
) -> dict[str, Any]:
    """Scores every image of a folder, of a table with a column `path`, or of tfds:NAME.

    OUTPUT gets scores.parquet, scores.csv, summary.json and, with `maps`, maps/PATH.png and
    maps/PATH.heat.png, the raw map. An image that cannot be read, whose score is not finite, or
    that is clipped beyond what normals are, has the decision `inspect`. A lot that was cut short
    goes on where it stopped (`scoring.lot`).

    Args:
        explain: as `judge` takes it.

    Raises:
        UserError: no detector, no images, or an output that cannot be written; rows so far stay.
        Stopped: `stop` was set; the rows so far are written.
    """
    detector = load_detector(detector_dir, batch_size=batch_size)
    source = open_input(given, detector.parts.config.data)
    task = Task(detector, source, maps, explain, workers)
    stop, watch = Stop() if stop is None else stop, Stopwatch()  # an unset Stop is false
    identity = identify(detector_dir, source, input=str(given), maps=maps, explain=explain)
    with open_lot(output, identity, count=len(source)) as lot:
        try:
            score_lot(task, lot, watch, stop)
        except Stopped:
            lot.finish(summarise(task, lot, watch.total(), resumed=lot.before))
            raise
        summary = summarise(task, lot, watch.total(), resumed=lot.before)
        lot.finish(summary)
    return summary


def score_lot(task: Task, lot: Lot, watch: Stopwatch, stop: Stop) -> None:
    """Scores what of a lot has no row yet: the one way from images to rows and maps.

    Raises:
        UserError: rows cannot be written; those so far stay.
        Stopped: `stop` was set; the rows so far are written.
    """
    for block in _blocks(_measured(task, lot, watch, stop)):
        with watch("write"):
            _seal(task, lot, block)


def _seal(task: Task, lot: Lot, block: Block) -> None:
    """Judges a block, writes its maps, then its rows: a row stands for a map that is there."""
    detector = task.detector
    verdicts = judge(detector, block.seen, block.measured, explain=task.explain)
    threshold = detector.threshold.value
    rows = []
    for index, seen, verdict in zip(block.index, block.seen, verdicts, strict=True):
        failed = _write_map(lot, task, index, seen, verdict) if task.maps else ""
        row = row_of(verdict, threshold, without_map=failed)
        rows.append(row | {STATISTICS: verdict.statistics if index in lot.drawn else None})
    lot.seal(block.index, rows)


def _measured(task: Task, lot: Lot, watch: Stopwatch, stop: Stop) -> Iterator[Block]:
    """Yields the measurements of each batch of what has no row yet, padding left out."""
    indices = lot.remaining
    if not len(indices):
        return
    source, measurer = task.source, task.detector.measurer

    def readings() -> Iterator[Reading]:
        size = measurer.batch_size
        read = eval_batches(source, indices, batch_size=size, workers=task.workers)
        for item in watch.each("decode", read):
            stop.check()
            yield item

    before = 0.0
    with closing(Progress(len(lot.within), label="score", done=lot.before)) as progress:
        for reading, measured in watch.each("device", measure_batches(measurer, readings())):
            # Waiting for the device includes the decoding that happened meanwhile.
            watch.seconds["device"] -= watch.seconds["decode"] - before
            before = watch.seconds["decode"]
            block = _block(source, reading, measured)
            progress.update(len(block.index))
            yield block


def _block(source: FileSource, reading: Reading, measured: Measured) -> Block:
    rows = np.flatnonzero(np.asarray(reading.batch.index) >= 0)
    index = np.asarray(reading.batch.index)[rows].tolist()
    seen = [
        Seen(
            source.paths[number],
            None if sample is None else sample.placement,
            reading.errors.get(number, ""),
            0.0 if sample is None else sample.clipped,
        )
        for number, sample in zip(index, reading.samples, strict=False)
    ]
    # The normal version is not needed, and it is the larger part.
    return Block(index, seen, measured._replace(drawn=None).rows(rows))


def _blocks(parts: Iterator[Block]) -> Iterator[Block]:
    """Yields blocks of BLOCK images or of SEAL_S seconds, and the rest at the end or a stop."""
    held: list[Block] = []
    began = time.monotonic()
    try:
        for part in parts:
            held.append(part)
            count = sum(len(each.index) for each in held)
            if count >= BLOCK or time.monotonic() - began >= SEAL_S:
                yield _together(held)
                held, began = [], time.monotonic()
    except Stopped:
        if held:
            yield _together(held)
        raise
    if held:
        yield _together(held)


def _together(blocks: list[Block]) -> Block:
    index = [number for block in blocks for number in block.index]
    seen = [image for block in blocks for image in block.seen]
    return Block(index, seen, join_rows([block.measured for block in blocks]))


def _write_map(lot: Lot, task: Task, index: int, seen: Seen, verdict: Verdict) -> str:
    """Writes the map over an image that was read, in the one colour scale, and the raw map.

    In the pixels of the file, or fewer: no side is longer than MAP_SIDE. What the detector does not
    look at is darkened, and 0 in the raw map. No image is called NAME.heat, so no two names meet.

    Returns:
        Why it could not be written, "" where it was: the image keeps its row either way.
    """
    if verdict.map is None or seen.placement is None:
        return ""
    detector = task.detector
    scale, heat = detector.scale, HeatScale.of(detector.scale)
    placement = reduced(seen.placement, MAP_SIDE)
    anomaly = to_file(verdict.map, placement, unseen=scale.low)
    try:
        image = task.source.view(index, MAP_SIDE)
        picture = overlay(image, anomaly, scale, min_area=detector.least_region)
        left, top, right, bottom = placement.shown
        dark = picture // 3
        dark[top:bottom, left:right] = picture[top:bottom, left:right]
        path, raw_path = (lot.output / MAPS / name for name in map_names(seen.path))
        write_file(path, lambda partial: write_png(partial, dark))
        raw = heat.grey(to_file(verdict.map, placement, unseen=heat.zero))
        write_file(raw_path, lambda partial: write_png(partial, raw))
    except UserError as error:
        return f"no map: {printable(str(error))}"
    return ""


def map_names(path: str) -> tuple[str, str]:
    """Names of the files of an image's map below MAPS: over the image, and raw."""
    return f"{path}.png", f"{path}.heat.png"


def _drift(detector: Detector, source: FileSource, lot: Lot) -> Drift:
    """Comparison of the lot with the calibration normals, made once, of the whole lot."""
    if lot.done < lot.count:
        return unfinished()
    places, values = lot.statistics()
    if not places:
        values = np.zeros((0, len(detector.names)), np.float32)
    return drift_of(detector.normals, values, group_names(source, places))


def summarise(
    task: Task, lot: Lot, seconds: Mapping[str, float], *, resumed: int
) -> dict[str, Any]:
    """Content of summary.json, with the rows so far and the look at the whole lot.

    Args:
        seconds: `total`, and by the work they went to, of the rows but those `resumed`.
    """
    detector, source = task.detector, task.source
    counts, clipped = lot.count_rows(clipped=detector.clipped)
    total = counts["ok"] + counts["error"]
    drift = _drift(detector, source, lot)
    heat = HeatScale.of(detector.scale).to_dict(longest_px=MAP_SIDE) if task.maps else None
    return {
        "detector": detector.describe(),
        "counts": {"images": total, **counts},
        "inspect_rate": counts["inspect"] / total if total else None,
        "clipped": clipped,
        "drift": drift.to_dict(),
        **({"heat": heat} if heat else {}),
        "left_out": [printable(name) for name in source.left_out],
        "resumed": resumed,
        "images_per_s": (total - resumed) / seconds["total"],
        "seconds": dict(seconds),
    }
