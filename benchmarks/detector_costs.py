"""What detectors cost in use: parameters, and milliseconds an image, alone and in batches.

    python benchmarks/detector_costs.py runs/generators/cells/SET/*/SEED [--batch=32] [--calls=9]

Each workdir's detector is loaded alone; all are timed in turns, so that what else the machine does
weighs on all alike: the median of `calls` rounds after one that compiles. Milliseconds are of
`Detector.score` on noise of the detector's size: the network, statistics, score and map, without
reading a file. Parameters: the numbers that the methods' networks and memories hold, and apart
those of the pretrained network that measures deep statistics. The table is Markdown. Run it on an
idle machine.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ad_core.runtime.compilation import compilation_cache  # noqa: E402
from ad_core.runtime.workdir import Workdir  # noqa: E402
from ad_core.scoring import load_detector  # noqa: E402
from ad_core.scoring.detector import Detector  # noqa: E402


class Cost(NamedTuple):
    """Of a detector: numbers that it holds, and milliseconds an image."""

    parameters: int
    measuring: int
    alone_ms: float
    batch_ms: float


def numbers_in(trees: Iterable[object]) -> int:
    """How many numbers the arrays of trees hold; an array that stands twice counts once."""
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(list(trees))]
    once = {(array.shape, array.dtype.str, array.tobytes()): array.size for array in arrays}
    return sum(once.values())


def milliseconds(call: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def costs_of(detectors: Sequence[Detector], *, batch: int, calls: int) -> list[Cost]:
    """Of detectors that are timed in turns.

    Args:
        batch: images in a batch, the size of the detectors' programs. calls: rounds that count.
    """
    rng = np.random.default_rng(0)
    spent: list[list[tuple[float, float]]] = [[] for _ in detectors]
    for number in range(calls + 1):
        for detector, times in zip(detectors, spent, strict=True):
            shape = (batch, *detector.image_shape)
            images = rng.uniform(-1, 1, shape).astype(np.float32)
            one = milliseconds(lambda of=detector, image=images[:1]: of.score(image))
            many = milliseconds(lambda of=detector, images=images: of.score(images)) / batch
            if number:  # the first round compiles
                times.append((one, many))
    return [
        Cost(
            numbers_in(part.state.params for part in detector.parts.methods),
            numbers_in(part.context.backbone for part in detector.parts.methods),
            float(np.median([one for one, _ in times])),
            float(np.median([many for _, many in times])),
        )
        for detector, times in zip(detectors, spent, strict=True)
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdirs", nargs="+", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--calls", type=int, default=9)
    given = parser.parse_args()
    compilation_cache()
    detectors = [
        load_detector(Workdir(folder).detector, batch_size=given.batch) for folder in given.workdirs
    ]
    found = costs_of(detectors, batch=given.batch, calls=given.calls)
    device = jax.local_devices()[0]
    print(f"{device.platform} ({device.device_kind}), JAX {jax.__version__}\n")
    print(
        "| workdir | parameters, million | measuring network, million | ms, alone "
        f"| ms, in batches of {given.batch} |"
    )
    print("| --- | --- | --- | --- | --- |")
    for folder, cost in zip(given.workdirs, found, strict=True):
        own, measuring = (f"{number / 1e6:.2f}" for number in (cost.parameters, cost.measuring))
        print(f"| {folder} | {own} | {measuring} | {cost.alone_ms:.1f} | {cost.batch_ms:.1f} |")


if __name__ == "__main__":
    main()
