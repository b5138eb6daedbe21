"""Exported programs beside their detectors: decisions on every image, size, milliseconds.

    python benchmarks/exported.py WORKDIR [WORKDIR ...] [--formats=onnx,openvino,stablehlo]

For three sets, as they are measured: train each with the default method, e.g.

    python launch/train.py --config=configs/mvtec.py:screw --config.data.root=DIR \
        --config.data.protocol=folders --workdir=runs/screw

Decisions: of all calibration and test images of a workdir, by `Detector.judge` and by the program
that launch/export.py has written, which is reloaded from disk. Flipped: decisions that differ.
Size: of the program's files beside the detector's folder. Milliseconds: of a call for one image,
median over the test images after a call that compiles, resizing included. Run it on an idle
machine where times count.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ad_core.errors import UserError  # noqa: E402
from ad_core.exporting.export import export  # noqa: E402
from ad_core.exporting.formats import FORMATS  # noqa: E402
from ad_core.exporting.golden import Golden, read_golden, split_images  # noqa: E402
from ad_core.runtime.compilation import compilation_cache  # noqa: E402
from ad_core.runtime.workdir import Workdir  # noqa: E402
from ad_core.scoring import load_detector  # noqa: E402

SPLITS = ("calibration", "test")


def images_of(workdir: Path, split: str) -> Iterator[Golden]:
    """Yields the images of a split that a program can take."""
    source, indices = split_images(workdir, split)
    for index in indices:
        found = read_golden(source, index)
        if isinstance(found, Golden):
            yield found


def timed(call: Callable[[Any], Any], given: Any) -> tuple[Any, float]:
    """What a call returns, and its milliseconds."""
    start = time.perf_counter()
    found = call(given)
    return found, 1000 * (time.perf_counter() - start)


def size_mb(folder: Path) -> float:
    """Megabytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def judged(workdir: Path) -> dict[str, tuple[np.ndarray, float]]:
    """Split -> decisions by the detector (True: inspect), and median milliseconds of an image."""
    detector = load_detector(workdir / "detector", batch_size=1)
    return {
        split: measured(
            lambda one: detector.judge(one.values, explain=False)[0].decision == "inspect",
            images_of(workdir, split),
        )
        for split in SPLITS
    }


def measured(call: Callable[[Golden], bool], images: Iterator[Golden]) -> tuple[np.ndarray, float]:
    """Decisions of a call, and its median milliseconds but for the first."""
    pairs = [timed(call, one) for one in images]
    spent = [milliseconds for _, milliseconds in pairs]
    return np.array([found for found, _ in pairs], bool), float(np.median(spent[1:] or spent))


def set_of(workdir: Path) -> str:
    """Name of a workdir's images: of the folder that they lie in."""
    config = json.loads(Workdir(workdir).config.read_text("utf-8"))
    return Path(config["data"].get("root") or workdir).name


def row(workdir: Path, name: str, expected: dict[str, tuple[np.ndarray, float]]) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "exported"
        try:
            parity = export(workdir / "detector", output, format=name)
        except UserError as error:
            return f"| {set_of(workdir)} | {name} | {error} |"
        run, size = FORMATS[name].load(output), size_mb(output)
        found = {
            s: measured(lambda g: run(g.pixels).inspect, images_of(workdir, s)) for s in SPLITS
        }
    told = []
    for split in SPLITS:
        ours, theirs = found[split][0], expected[split][0]
        told.append(f"{int((ours != theirs).sum())} of {len(theirs)}")
    own = size_mb(workdir / "detector")
    apart = parity["largest_score_difference"]
    return (
        f"| {set_of(workdir)} | {name} | {told[0]} | {told[1]} | {apart:.1e} "
        f"| {size:.0f} ({own:.0f}) | {found['test'][1]:.0f} ({expected['test'][1]:.0f}) |"
    )


def main() -> None:
    """Prints a table of all workdirs and formats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdirs", type=Path, nargs="+")
    parser.add_argument("--formats", default=",".join(FORMATS))
    given = parser.parse_args()
    compilation_cache()
    print(
        "| set | format | flipped, calibration | flipped, test | score apart | MB (detector) "
        "| ms (JAX) |\n|" + " --- |" * 7
    )
    for workdir in given.workdirs:
        expected = judged(workdir)
        for name in given.formats.split(","):
            print(row(workdir, name, expected), flush=True)


if __name__ == "__main__":
    main()
