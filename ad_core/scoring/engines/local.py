"""Batch scoring on this machine: every image of an input to a row, in constant memory."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ad_core.data.batches import Reading, eval_batches
from ad_core.data.formats.resizing import reduced, to_file
from ad_core.data.layouts.files import FileSource
from ad_core.errors import UserError
from ad_core.runtime.progress import Progress
from ad_core.runtime.sealed import write_json
from ad_core.runtime.stop import Stop, Stopped
from ad_core.scoring.detector import Detector
from ad_core.scoring.files import load_detector
from ad_core.scoring.heat import HeatScale
from ad_core.scoring.inputs import open_input
from ad_core.scoring.measuring import Measured, join_rows, measure_batches
from ad_core.scoring.pictures import overlay, write_png
from ad_core.scoring.rows import Rows
from ad_core.scoring.verdict import PERSON, Seen, Verdict, judge

MAP_SIDE = 2048  # pixels
# Images that are judged together: a forest takes as long for 32 as for some hundred.
BLOCK = 512
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

    def each(self, what: str, items: Iterator[T]) -> Iterator[T]:
        """`items`, with the time spent waiting for each added to `what`."""
        while True:
            with self(what):
                item = next(items, None)
            if item is None:
                return
            yield item


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
    batch_size: int = 32,
    workers: int = 2,
    stop: Stop | None = None,
) -> dict[str, Any]:
    """Scores every image of a folder, of a table with a column `path`, or of tfds:NAME.

    OUTPUT gets scores.parquet, scores.csv, summary.json and, with `maps`, maps/PATH.png and
    maps/PATH.heat.png, the raw map. An image that cannot be read, or whose score is not finite, has
    the decision `inspect`.

    Raises:
        UserError: no detector, no images, or an output that cannot be written.
        Stopped: `stop` was set; the rows so far are written.
    """
    detector = load_detector(detector_dir, batch_size=batch_size)
    source = open_input(given, detector.parts.config.data)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"`--output` (={output}) cannot be made: {error.strerror}; choose another folder."
        ) from error
    stop = Stop() if stop is None else stop  # an unset Stop is false
    kinds = ("ok", "error", "normal", "inspect", "person")
    watch, counts = Stopwatch(), Counter[str](dict.fromkeys(kinds, 0))
    measured = _measured(detector, source, workers, watch, stop)
    with closing(Rows(output, threshold=detector.threshold.value)) as rows:
        for block in _blocks(measured, BLOCK):
            with watch("write"):
                verdicts = judge(detector, block.seen, block.measured)
                if maps:
                    _write_maps(output / "maps", detector, source, block, verdicts)
                rows.write(verdicts)
            for verdict in verdicts:
                counts.update((verdict.status, verdict.decision))
                counts["person"] += verdict.review == PERSON
    summary = _summary(detector, counts, watch)
    if maps:
        summary["heat"] = HeatScale.of(detector.parts.scale).to_dict(longest_px=MAP_SIDE)
    write_json(output / "summary.json", summary)
    return summary


def _measured(
    detector: Detector, source: FileSource, workers: int, watch: Stopwatch, stop: Stop
) -> Iterator[Block]:
    """Yields the measurements of each batch, padding left out."""
    measurer = detector.measurer

    def readings() -> Iterator[Reading]:
        indices = np.arange(len(source))
        read = eval_batches(source, indices, batch_size=measurer.batch_size, workers=workers)
        for item in watch.each("decode", read):
            stop.check()
            yield item

    before = 0.0
    with closing(Progress(len(source), label="score")) as progress:
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
        )
        for number, sample in zip(index, reading.samples, strict=False)
    ]
    # The normal version is not needed, and it is the larger part.
    return Block(index, seen, measured._replace(drawn=None).rows(rows))


def _blocks(parts: Iterator[Block], size: int) -> Iterator[Block]:
    """Yields blocks of at least `size` images, and the rest at the end or before a stop."""
    held: list[Block] = []
    try:
        for part in parts:
            held.append(part)
            if sum(len(each.index) for each in held) >= size:
                yield _together(held)
                held = []
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


def _write_maps(
    folder: Path,
    detector: Detector,
    source: FileSource,
    block: Block,
    verdicts: list[Verdict],
) -> None:
    """The map over each image that was read, in the detector's one colour scale, and the raw map.

    In the pixels of the file, or fewer: no side is longer than MAP_SIDE. What the detector does not
    look at is darkened, and 0 in the raw map. No image is called NAME.heat, so no two names meet.
    """
    scale, heat = detector.parts.scale, HeatScale.of(detector.parts.scale)
    for index, seen, verdict in zip(block.index, block.seen, verdicts, strict=True):
        if verdict.map is None or seen.placement is None:
            continue
        path = folder / f"{seen.path}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        placement = reduced(seen.placement, MAP_SIDE)
        anomaly = to_file(verdict.map, placement, unseen=scale.low)
        picture = overlay(source.view(index, MAP_SIDE), anomaly, scale)
        left, top, right, bottom = placement.shown
        dark = picture // 3
        dark[top:bottom, left:right] = picture[top:bottom, left:right]
        write_png(path, dark)
        raw = to_file(verdict.map, placement, unseen=heat.zero)
        write_png(path.with_suffix(".heat.png"), heat.grey(raw))


def _summary(detector: Detector, counts: Counter[str], watch: Stopwatch) -> dict[str, Any]:
    total = counts["ok"] + counts["error"]
    seconds = time.monotonic() - watch.began
    return {
        "detector": detector.describe(),
        "counts": {"images": total, **counts},
        "inspect_rate": counts["inspect"] / total,
        "images_per_s": total / seconds,
        "seconds": {"total": seconds, **watch.seconds},
    }
