"""A folder or manifest of images -> a row for each, in constant memory."""

import csv
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Float64

from ad_core.data.batches import eval_batches
from ad_core.data.formats.pages import spread
from ad_core.data.formats.resizing import reduced, to_file
from ad_core.data.layouts.files import FileSource
from ad_core.data.layouts.listing import list_images
from ad_core.data.layouts.manifest import TABLES, read_manifest
from ad_core.data.layouts.tfds import PREFIX, open_images
from ad_core.data.source import printable
from ad_core.decision import AbstainBand
from ad_core.errors import UserError
from ad_core.reporting.pictures import overlay, write_png
from ad_core.runtime.progress import Progress
from ad_core.runtime.sealed import write_json
from ad_core.runtime.stop import Stop, Stopped
from ad_core.scoring.detector import INSPECT, Detector, decide, describe, load_detector
from ad_core.scoring.localisation import regions
from ad_core.scoring.measuring import Measured, measure_batches
from ad_core.types import Batch

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
        ("statistics", pa.string()),  # those that pushed the score most, foremost first
        ("reasons", pa.string()),  # the same in words: value, range of normals, signed push
    ]
)
MAP_SIDE = 2048  # pixels
PERSON, NOBODY = "person", "none"
T = TypeVar("T")
# Images whose rows are decided together: a forest takes as long for 32 as for some hundred.
DECIDED = 512
# A spreadsheet would take a cell that begins with one of these for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Stopwatch:
    """Seconds by what they went to; within `decode` only what the device had to wait for."""

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

    OUTPUT gets scores.parquet, scores.csv, summary.json and, with `maps`, maps/PATH.png. An
    image that cannot be read, or whose score is not finite, has the decision `inspect`.

    Raises:
        UserError: no detector, no images, or an output that cannot be written.
        Stopped: `stop` was set; the rows so far are written.
    """
    detector = load_detector(detector_dir, batch_size=batch_size)
    source = open_input(given, detector)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"`--output` (={output}) cannot be made: {error.strerror}.") from error
    stop = Stop() if stop is None else stop  # an unset Stop is false
    watch, counts = (
        Stopwatch(),
        Counter[str](dict.fromkeys(("ok", "error", "normal", "inspect", "person"), 0)),
    )
    with closing(Rows(output)) as rows, closing(Progress(len(source), label="score")) as progress:

        def founds() -> Iterator[list[Found]]:
            for batch, errors, measured in _measured(detector, source, workers, watch, stop):
                with watch("write"):
                    found = _find(detector, source, batch, errors, measured)
                    if maps:
                        _write_maps(output / "maps", detector, source, batch, measured)
                progress.update(len(found))
                yield found

        for block in _blocks(founds(), DECIDED):
            with watch("write"):
                decided = _decide(detector, block)
                rows.write(decided)
            for row in decided:
                counts.update((row["status"], row["decision"]))
                counts["person"] += row["review"] == PERSON
    summary = _summary(detector, counts, watch)
    write_json(output / "summary.json", summary)
    return summary


def open_input(given: Path, detector: Detector) -> FileSource:
    """The images of a folder, a table or a TFDS data set, read as those that trained were.

    Raises:
        UserError: none of the three, or no image in it.
    """
    data = detector.parts.config.data
    if str(given).startswith(PREFIX):
        return open_images(str(given), data)
    if given.is_dir():
        return FileSource(given, spread(given, list_images(given), data), data)
    if given.suffix.lower() in TABLES and given.is_file():
        return FileSource(given.parent, spread(given.parent, read_manifest(given), data), data)
    raise UserError(
        f"`--input` (={given}) must be a folder of images, a table (CSV or Parquet) with "
        "a column `path`, or tfds:NAME."
    )


def _measured(
    detector: Detector, source: FileSource, workers: int, watch: Stopwatch, stop: Stop
) -> Iterator[tuple[Batch, dict[int, str], Measured]]:
    def batches() -> Iterator[tuple[Batch, dict[int, str]]]:
        size, indices = detector.measurer.batch_size, np.arange(len(source))
        read = eval_batches(source, indices, batch_size=size, workers=workers)
        for item in watch.each("decode", read):
            stop.check()
            yield item

    before = 0.0
    for item in watch.each("device", measure_batches(detector.measurer, batches())):
        # Waiting for the device includes the decoding that happened meanwhile.
        watch.seconds["device"] -= watch.seconds["decode"] - before
        before = watch.seconds["decode"]
        yield item


class Found(NamedTuple):
    """An image's row before it is decided, and its statistics, None where it was not read."""

    row: dict[str, Any]
    statistics: Float[np.ndarray, " k"] | None


def _find(
    detector: Detector, source: FileSource, batch: Batch, errors: dict[int, str], measured: Measured
) -> list[Found]:
    """One for each image of the batch, read or not; none for padding."""
    localisation, scale = detector.parts.config.localisation, detector.parts.scale
    found = []
    for place, index in enumerate(np.asarray(batch.index).tolist()):
        if index < 0:
            continue
        row = dict.fromkeys(SCHEMA.names, None) | {
            "path": printable(source.paths[index]),
            "threshold": detector.threshold.value,
        }
        if index in errors:
            row |= {"status": "error", "error": printable(errors[index]), "decision": INSPECT}
            found.append(Found(row, None))
            continue
        areas = regions(
            measured.anomaly_map[place],
            level=scale.level,
            min_area=localisation.min_area,
            placement=source.placement(index),
        )
        row |= {"status": "ok", "regions": json.dumps(areas)}
        found.append(Found(row, measured.statistics[place]))
    return found


def _blocks(founds: Iterator[list[Found]], size: int) -> Iterator[list[Found]]:
    """At least `size` together; what there is at the end, and before a stop goes on its way."""
    block: list[Found] = []
    try:
        for found in founds:
            block += found
            if len(block) >= size:
                yield block
                block = []
    except Stopped:
        yield block
        raise
    yield block


def _decide(detector: Detector, block: list[Found]) -> list[dict[str, Any]]:
    """The rows of a block with score, decision and reasons."""
    measured = [found for found in block if found.statistics is not None]
    if measured:
        statistics = np.stack([np.asarray(found.statistics) for found in measured])
        scores = detector.score_statistics(statistics)
        reviews = _reviews(detector.band, scores)
        decisions = decide(scores, detector.threshold)
        reasons_of = detector.explain(statistics)
        for found, score, decision, review, reasons in zip(
            measured, scores.tolist(), decisions, reviews, reasons_of, strict=True
        ):
            found.row["score"] = score if np.isfinite(score) else None
            found.row["decision"] = str(decision)
            found.row["review"] = review
            found.row["statistics"] = " ".join(reason.name for reason in reasons)
            found.row["reasons"] = "; ".join(map(str, reasons))
    return [found.row for found in block]


def _reviews(band: AbstainBand | None, scores: Float64[np.ndarray, " n"]) -> list[str | None]:
    """Where a person looks. It adds to the decision, which stays `inspect` throughout the band."""
    if band is None:
        return [None] * len(scores)
    return [PERSON if name == PERSON else NOBODY for name in band.decisions(scores)]


def _write_maps(
    folder: Path, detector: Detector, source: FileSource, batch: Batch, measured: Measured
) -> None:
    """The map over each image that was read, in the detector's one colour scale.

    In the pixels of the file, or fewer: no side is longer than MAP_SIDE. What the detector does not
    look at is darkened.
    """
    scale = detector.parts.scale
    for place in np.flatnonzero(np.asarray(batch.valid)):
        index = int(batch.index[place])
        path = folder / f"{source.paths[index]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        placement = reduced(source.placement(index), MAP_SIDE)
        anomaly = to_file(measured.anomaly_map[place], placement, unseen=scale.low)
        picture = overlay(source.view(index, MAP_SIDE), anomaly, scale)
        left, top, right, bottom = placement.shown
        dark = picture // 3
        dark[top:bottom, left:right] = picture[top:bottom, left:right]
        write_png(path, dark)


class Rows:
    """scores.parquet and scores.csv, written as the rows come."""

    def __init__(self, output: Path):
        """Raises UserError if the files cannot be written."""
        try:
            self._file = (output / "scores.csv").open("w", newline="", encoding="utf-8")
            self._parquet = pq.ParquetWriter(output / "scores.parquet", SCHEMA)
        except OSError as error:
            raise UserError(
                f"`--output` (={output}) cannot be written: {error.strerror}."
            ) from error
        self._csv = csv.DictWriter(self._file, SCHEMA.names)
        self._csv.writeheader()

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Appends rows with the columns of SCHEMA."""
        if not rows:
            return
        self._parquet.write_table(pa.Table.from_pylist(rows, SCHEMA))
        self._csv.writerows([{name: _plain(cell) for name, cell in row.items()} for row in rows])

    def close(self) -> None:
        """Ends both files."""
        self._parquet.close()
        self._file.close()


def _plain(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def _summary(detector: Detector, counts: Counter[str], watch: Stopwatch) -> dict[str, Any]:
    total = counts["ok"] + counts["error"]
    seconds = time.monotonic() - watch.began
    return {
        "detector": describe(detector.parts),
        "counts": {"images": total, **counts},
        "inspect_rate": counts["inspect"] / total,
        "images_per_s": total / seconds,
        "seconds": {"total": seconds, **watch.seconds},
    }
