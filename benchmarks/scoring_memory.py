"""Speed and memory of batch scoring: does a long folder need more memory than a short one?

    python benchmarks/scoring_memory.py [--images=10000 --early=1000 --detector=DIR --maps]

Draws `images` PNG files into a temporary folder, scores them as score.py does and prints a table
of images per second and of resident memory: now and at its peak, along the way. Without
`--detector` a small one is trained on phantoms first, in another process, so that its memory does
not count.
"""

import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from absl import app, flags  # noqa: E402

from ad_core.data.phantoms.worlds import open_source  # noqa: E402
from ad_core.scoring.engines.local import score_files  # noqa: E402
from ad_core.scoring.files import load_parts  # noqa: E402
from ad_core.scoring.pictures import to_rgb, write_png  # noqa: E402

flags.DEFINE_integer("images", 10_000, "PNG files to score.")
flags.DEFINE_integer("early", 1_000, "Images after which memory is looked at first.")
flags.DEFINE_string("detector", None, "Folder of a detector; none: one is trained on phantoms.")
flags.DEFINE_integer("batch", 32, "Images in a batch.")
flags.DEFINE_bool("maps", False, "Also write the maps.")
FLAGS = flags.FLAGS
DIFFERENT = 64  # pictures that are drawn; their files differ by noise
LOOK_S = 0.5  # between looks at the memory
TRAINING = (
    "--config=configs/retina_oct.py:phantom,cpu",
    "--until=calibrate",
    "--config.train.steps=10",
    "--config.train.batch_size=4",
    "--config.reconstructor.width=4",
    "--config.reconstructor.disc_width=4",
    "--config.reconstructor.kmeans_at=2",
    "--config.data.phantom.normal=60",
    "--config.data.phantom.abnormal=30",
    "--config.statistics.names=('default',)",
)


def train_detector(workdir):
    """A detector of phantoms, barely trained: its scores mean nothing, its work is the usual."""
    command = [sys.executable, "launch/train.py", f"--workdir={workdir}", *TRAINING]
    subprocess.run(command, cwd=ROOT, check=True)
    return workdir / "detector"


def write_images(folder, config, count):
    """`count` PNG files of the detector's size and number of channels, each a different one."""
    source = open_source(config.data)
    drawn = [to_rgb(source.read(i).image) for i in range(min(DIFFERENT, len(source.records)))]
    rng = np.random.default_rng(0)
    for number in range(count):
        picture = drawn[number % len(drawn)].astype(np.int16)
        noise = rng.integers(-8, 9, picture.shape[:2])[..., None]
        noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
        write_png(folder / f"{number:06d}.png", noisy)


def resident_mb():
    """Resident memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_mb():
    """The highest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


class Watch(threading.Thread):
    """Looks at memory and at the number of rows written, every LOOK_S seconds."""

    def __init__(self, output):
        super().__init__(daemon=True)
        self.output, self.ended, self.seen = output, threading.Event(), []
        self.began = time.perf_counter()

    def run(self):
        """Looks again and again until `ended` is set."""
        while not self.ended.wait(LOOK_S):
            self.look()

    def look(self):
        """Appends (images, seconds, resident MB, peak MB)."""
        seconds = time.perf_counter() - self.began
        self.seen.append((self._count(), seconds, resident_mb(), peak_mb()))

    def _count(self):
        # Rows are sealed in parts, so that the count lags by one of them.
        whole = self.output / "scores.parquet"
        parts = [whole] if whole.exists() else (self.output / "parts").glob("*.parquet")
        return sum(pq.read_metadata(part).num_rows for part in parts)


def table(seen, early):
    """Lines at `early` images, at each tenth of the rest, and at the end."""
    last = seen[-1][0]
    marks = [early, *np.linspace(early, last, 10)[1:]]
    print("| images | seconds | resident MB | peak MB |\n| --- | --- | --- | --- |")
    for mark in marks:
        row = next(row for row in seen if row[0] >= mark)
        print(f"| {row[0]} | {row[1]:.0f} | {row[2]:.0f} | {row[3]:.0f} |")


def main(_):
    """Prints the table and the summary."""
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{' '.join(['benchmarks/scoring_memory.py', *sys.argv[1:]])}")
    print(f"{os.cpu_count()} cores, load average {load}, Python {platform.python_version()}, ")
    print(f"jax {jax.__version__} on {jax.local_devices()[0].device_kind}", flush=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        detector = FLAGS.detector and Path(FLAGS.detector)
        detector = detector or train_detector(folder / "workdir")
        config = load_parts(detector).config
        (folder / "images").mkdir()
        write_images(folder / "images", config, FLAGS.images)
        watch = Watch(folder / "scores")
        watch.start()
        summary = score_files(
            detector, folder / "images", folder / "scores", maps=FLAGS.maps, batch_size=FLAGS.batch
        )
        watch.ended.set()
        watch.join()
        watch.look()
        bytes_in = sum(x.stat().st_size for x in (folder / "images").iterdir())
        table(watch.seen, min(FLAGS.early, FLAGS.images))
    print(f"{bytes_in / 1e6:.0f} MB of PNG, {summary['counts']}")
    print(f"{summary['images_per_s']:.1f} images/s; seconds: {summary['seconds']}")


if __name__ == "__main__":
    app.run(main)
