"""Images of many megapixels by tiles: speed, share of decoding, memory and programs compiled.

    python benchmarks/tiling.py [--megapixels=60 --images=4 --tile=256 --canvas=1024]

Trains a one-pass method on tiles of small made-up surfaces, in another process. Then, each in a
process of its own, it scores as score.py does: a folder of twenty sizes, and files of `megapixels`
each. It prints megapixels a second end to end, the share of the time that waited for decoding, the
peak memory, and the number of programs that were compiled.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import jax  # noqa: E402
import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402
from PIL import Image  # noqa: E402

from ad_core.data.layouts.files import FileSource  # noqa: E402
from ad_core.scoring.engines.local import score_files  # noqa: E402
from ad_core.scoring.files import load_detector  # noqa: E402
from ad_core.stages.timing import peak_gb  # noqa: E402

flags.DEFINE_integer("megapixels", 60, "Pixels of each large file, in millions.")
flags.DEFINE_integer("images", 4, "Large files.")
flags.DEFINE_integer("tile", 256, "Side of a tile.")
flags.DEFINE_integer("canvas", 1024, "Side of what one program sees.")
flags.DEFINE_string("method", "baselines_ad.patchcore", "That is trained.")
flags.DEFINE_string("kind", "png", "Of the files: png or jpg.")
flags.DEFINE_string("measure", "", "Detector to measure with: what a process of its own is told.")
flags.DEFINE_string("input", "", "Folder to measure.")
FLAGS = flags.FLAGS
SIZES = 20
WIDTH = 3000  # of a line scan


def surface(rng, height, width):
    """Grey grain with slow stripes, as a line camera sees a web."""
    rows = np.sin(np.arange(height) / 90)[:, None] + np.sin(np.arange(width) / 140)[None]
    grain = rng.normal(0, 5, (height, width))
    return (120 + 20 * rows + grain).clip(0, 255).astype(np.uint8)


def write_training(root):
    """Small surfaces in the layout of a folder: normal ones, and some with a spot."""
    rng = np.random.default_rng(0)
    for number in range(24):
        place = "train/spot" if number % 4 == 3 else "train/good"
        image = surface(rng, 512, 512)
        if place == "train/spot":
            image[100:112, 200:212] = 255
        (root / place).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / place / f"{number}.png")


def write_files(folder, sizes):
    """A surface of each size, height and width."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number, size in enumerate(sizes):
        Image.fromarray(surface(rng, *size)).save(folder / f"{number:03d}.{FLAGS.kind}")


def train(data, workdir):
    """A detector of tiles."""
    command = [
        sys.executable, "launch/train.py", "--config=configs/folder.py:cpu",
        f"--config.data.root={data}", f"--workdir={workdir}", "--until=calibrate",
        f"--config.method={FLAGS.method}", "--config.data.channels=1",
        f"--config.data.image_size={FLAGS.canvas}", "--config.data.resize=own_size",
        f"--config.tiling.tile={FLAGS.tile}", "--config.data.calibration.folds=2",
        "--config.data.synthetic.count=0",
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return workdir / "detector"


def measure(detector_dir, folder):
    """Prints what one scoring of a folder took, as JSON."""
    with tempfile.TemporaryDirectory() as place:
        summary = score_files(detector_dir, folder, Path(place) / "out", batch_size=1, workers=2)
    detector = load_detector(detector_dir, batch_size=1)
    names = sorted(path.name for path in folder.iterdir())
    data = detector.parts.config.data
    pixels = 0
    for number in range(len(names)):
        placement = FileSource(folder, names, data).read(number).placement
        pixels += placement.width * placement.height
    # A second detector in this process measures every size again, to count its programs.
    detector.judge([folder / name for name in names[:SIZES]], explain=False)
    seconds = summary["seconds"]
    found = {
        "megapixels": pixels / 1e6,
        "seconds": seconds["total"],
        "decode": seconds.get("decode", 0.0) / seconds["total"],
        "peak_mb": 1000 * peak_gb(),
        "programs": detector.measurer.compilations(),
    }
    print(json.dumps(found))


def apart(detector_dir, folder):
    """`measure` in a process of its own, so that each has its own peak."""
    command = [sys.executable, __file__, f"--measure={detector_dir}", f"--input={folder}"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(_):
    """Prints a table: a row for the folder of many sizes, and one for the large files."""
    if FLAGS.measure:
        measure(Path(FLAGS.measure), Path(FLAGS.input))
        return
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    print(" ".join(["benchmarks/tiling.py", *sys.argv[1:]]))
    print(f"{os.cpu_count()} cores, load average {load}, Python {platform.python_version()}, ")
    print(f"jax {jax.__version__} on {jax.local_devices()[0].device_kind}", flush=True)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_training(root / "data")
        detector = train(root / "data", root / "run")
        rng = np.random.default_rng(2)
        sizes = rng.integers(300, 2 * FLAGS.canvas, (SIZES, 2)).tolist()
        write_files(root / "sizes", sizes)
        large = (FLAGS.megapixels * 10**6 // WIDTH, WIDTH)
        write_files(root / "large", [large] * FLAGS.images)
        print("| files | megapixels | MP/s | waiting for decoding | peak MB | programs |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name in ("sizes", "large"):
            found = apart(detector, root / name)
            speed = found["megapixels"] / found["seconds"]
            print(
                f"| {name} | {found['megapixels']:.0f} | {speed:.2f} | {found['decode']:.0%} | "
                f"{found['peak_mb']:.0f} | {found['programs']} |",
                flush=True,
            )


if __name__ == "__main__":
    app.run(main)
