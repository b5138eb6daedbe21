"""AUPRO and AUPIMO of the same maps: this project, a loop over thresholds, and anomalib.

    python benchmarks/aupro.py [--anomalib_python=PATH] [--images=100 --side=256 --rounds=3]

Maps are smooth noise in float32 that rises in made-up defects; half of the images are normal. The
loop looks at --thresholds quantiles of the maps, one after the other, as a first version would:
what it misses is told by the difference. anomalib runs in an interpreter of its own, in turns with
this one. Its AUPIMO takes a grid of 300,000 thresholds, and more than 100,000 normal pixels.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402
from scipy import ndimage  # noqa: E402

from ad_core.metrics import aupimo, aupro  # noqa: E402

MAX_FPR = 0.3


def draw(images, side, seed=0):
    """Masks and maps [n, h, w]; of the first half of the images no pixel is abnormal."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(images, side, side))
    maps = np.stack([ndimage.gaussian_filter(one, side / 64) for one in noise])
    maps /= maps.std()
    masks = np.zeros(maps.shape, bool)
    for mask in masks[images // 2 :]:
        for _ in range(rng.integers(1, 6)):
            y, x = rng.integers(0, side, 2)
            height, width = rng.integers(side // 64 + 1, side // 8 + 2, 2)
            mask[y : y + height, x : x + width] = True
    return masks, (maps + rng.uniform(0.5, 3.0, (images, 1, 1)) * masks).astype(np.float32)


def loop(masks, maps, thresholds):
    """AUPRO by one pass over all maps and regions for each threshold."""
    labelled = [ndimage.label(mask, np.ones((3, 3)))[0] for mask in masks]
    points = [(0.0, 0.0)]
    for threshold in np.quantile(maps, np.linspace(1, 0, thresholds)):
        flagged = maps >= threshold
        overlap = [
            flagged[i][regions == k].mean()
            for i, regions in enumerate(labelled)
            for k in range(1, regions.max() + 1)
        ]
        points.append((flagged[~masks].mean(), np.mean(overlap)))
    fpr, pro = np.array(points).T
    inside = fpr < MAX_FPR
    x = np.append(fpr[inside], MAX_FPR)
    y = np.append(pro[inside], np.interp(MAX_FPR, fpr, pro))
    return float(np.trapezoid(y, x) / MAX_FPR)


class Anomalib:
    """anomalib in another interpreter, asked by lines."""

    def __init__(self, python, folder):
        script = str(ROOT / "benchmarks" / "torch_aupro.py")
        self.process = subprocess.Popen(
            [python, script, str(folder)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.version = self._read()["version"]

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("anomalib's interpreter ended; its message stands above.")
        return json.loads(line)

    def __call__(self, figure):
        """(value, seconds) of "aupro" or "aupimo"."""
        print(figure, file=self.process.stdin, flush=True)
        found = self._read()
        return found["value"], found["seconds"]


def timed(function):
    """(value, seconds) of a call."""
    start = time.perf_counter()
    value = function()
    return value, time.perf_counter() - start


def measure(entries, rounds):
    """Name -> (value, median seconds), the entries in turns; a first turn is not counted."""
    found = {name: [] for name in entries}
    for turn in range(rounds + 1):
        for name, call in entries.items():
            result = call()
            found[name] += [result] if turn else []
    return {
        name: (results[-1][0], float(np.median([seconds for _, seconds in results])))
        for name, results in found.items()
    }


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--anomalib_python", default="")
    for name, value in (("images", 100), ("side", 256), ("rounds", 3), ("thresholds", 200)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    masks, maps = draw(args.images, args.side)
    entries = {
        "AUPRO, ad_core.metrics": lambda: timed(lambda: aupro(masks, maps, max_fpr=MAX_FPR)),
        f"AUPRO, loop over {args.thresholds} thresholds": lambda: timed(
            lambda: loop(masks, maps, args.thresholds)
        ),
        "AUPIMO, ad_core.metrics": lambda: timed(lambda: float(np.nanmean(aupimo(masks, maps)))),
    }
    with tempfile.TemporaryDirectory() as folder:
        if args.anomalib_python:
            np.savez(Path(folder) / "maps.npz", masks=masks, maps=maps)
            other = Anomalib(args.anomalib_python, folder)
            entries[f"AUPRO, anomalib {other.version}"] = lambda: other("aupro")
            entries[f"AUPIMO, anomalib {other.version}"] = lambda: other("aupimo")
        found = measure(entries, args.rounds)
    print(f"{args.images} maps of {args.side} x {args.side} px, NumPy {np.__version__}\n")
    print("| figure | value | seconds (median) |\n| --- | --- | --- |")
    for name, (value, seconds) in sorted(found.items()):
        print(f"| {name} | {value:.6f} | {seconds:.3f} |")


if __name__ == "__main__":
    main()
