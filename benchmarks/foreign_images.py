"""Images of something else: how many of them a detector lets pass.

    python benchmarks/foreign_images.py --detectors RUN/detector ... --data=DIR [--count=3]

DIR holds a folder a set, with normal images in test/good, as launch/benchmark.py takes them. Each
detector judges the first images of every set but the one that it was trained on, and drawn ones:
black, white, grey, noise, checks and a ramp. Of its own set it judges negatives, and images whose
right half is black. None of them is a part or a scan as it should be. Prints Markdown.
"""

import argparse
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from ad_core.scoring import load_detector  # noqa: E402
from ad_core.scoring.files import read_configs  # noqa: E402

GOOD = Path("test") / "good"
SIDE = 256
SPOILT = ("negative", "half black")


def main():
    """Judges and prints a row a detector."""
    parser = argparse.ArgumentParser(description="Judges images of something else.")
    parser.add_argument("--detectors", type=Path, nargs="+", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=3)
    given = parser.parse_args()
    print("| detector of | classifier | other images that pass | negatives and half images |")
    print("| --- | --- | --- | --- |")
    for path in given.detectors:
        own = Path(str(read_configs(path)[0].data.root)).name
        images = [*foreign(given.data, own, given.count), *drawn()]
        images += spoilt(given.data / own, given.count)
        detector = load_detector(path, batch_size=8)
        verdicts = detector.judge([image for _, image in images], explain=False)
        names = np.array([name for name, _ in images])
        passed = np.array([verdict.decision == "normal" for verdict in verdicts])
        other = ~np.isin(names, SPOILT)
        told = [
            f"{int((passed & of).sum())} of {int(of.sum())}{which(names[passed & of])}"
            for of in (other, ~other)
        ]
        classifier = detector.parts.classifier.steps[-1][0]
        print(f"| {own} | {classifier} | {' | '.join(told)} |", flush=True)


def which(names):
    """The names, each once, in brackets; nothing of none."""
    return f" ({', '.join(sorted(set(names.tolist())))})" if names.size else ""


def foreign(data, own, count):
    """The first normal test images of every other set; sets of the same parts are left out."""
    for folder in sorted(path.parents[1] for path in data.glob(f"*/{GOOD}")):
        if folder.name.startswith(own) or own.startswith(folder.name):
            continue
        for file in sorted((folder / GOOD).iterdir())[:count]:
            yield folder.name, opened(file)


def drawn():
    """Images that show nothing."""
    rng = np.random.default_rng(0)
    places = np.indices((SIDE, SIDE))
    pixels = {
        "black": np.zeros((SIDE, SIDE)),
        "white": np.full((SIDE, SIDE), 255),
        "grey": np.full((SIDE, SIDE), 128),
        "noise": rng.integers(0, 256, (SIDE, SIDE)),
        "soft noise": np.clip(rng.normal(128, 20, (SIDE, SIDE)), 0, 255),
        "checks": 255 * (places.sum(axis=0) // 16 % 2),
        "ramp": places[1] * 255 // (SIDE - 1),
    }
    return [(name, Image.fromarray(of.astype(np.uint8))) for name, of in pixels.items()]


def spoilt(folder, count):
    """Negatives of the first normal test images, and images whose right half is black."""
    for file in sorted((folder / GOOD).iterdir())[:count]:
        pixels = np.asarray(opened(file).convert("L"))
        yield SPOILT[0], Image.fromarray(255 - pixels)
        half = pixels.copy()
        half[:, half.shape[1] // 2 :] = 0
        yield SPOILT[1], Image.fromarray(half)


def opened(file):
    """The image, read."""
    with Image.open(file) as image:
        image.load()
        return image.copy()


if __name__ == "__main__":
    main()
