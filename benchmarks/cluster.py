"""Scoring by shards and by Ray beside one process: images a second, and are the tables equal?

    python benchmarks/cluster.py --detector=DIR [--images=2000 --processes=3 --shards=40]

Draws `images` PNG files into a temporary folder and scores them four times: in one process; by
`processes` of them with shards of their own, and merged; by Ray with as many actors; and by Ray
again with an actor killed, then the driver, then given again. Images a second are of the whole
command, from its start; of the last there are none. Run it on an idle machine.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
LOOK_S = 0.05  # between two looks at what is finished


def draw(folder: Path, count: int) -> None:
    """Noise of 128 x 128 pixels, another one in each file."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (128, 128), np.uint8)).save(
            folder / f"{number:06}.png"
        )


class Runs:
    """Commands on the same images, each with an output of its own."""

    def __init__(self, detector: Path, root: Path, shards: int):
        self._files = [f"--detector={detector}", f"--input={root / 'images'}"]
        self.root, self.shards = root, shards

    def start(self, name: str, *flags: str) -> subprocess.Popen[bytes]:
        """Starts score.py with these flags."""
        command = [sys.executable, str(ROOT / "launch" / "score.py"), *self._files, *flags]
        command.append(f"--output={self.root / name}")
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def run(self, name: str, *flags: str) -> None:
        """Runs score.py to its end."""
        if status := self.start(name, *flags).wait():
            raise SystemExit(f"score.py {' '.join(flags)} ended with status {status}")

    def table(self, name: str) -> list[dict[str, object]]:
        """Rows of a finished run."""
        return pq.read_table(self.root / name / "scores.parquet").to_pylist()

    def finished(self, name: str) -> int:
        """Number of shards of a run that are finished."""
        return len(list((self.root / name / "shards").glob("*[0-9]")))

    def wait_for(self, name: str, shards: int) -> None:
        """Returns when so many shards are finished."""
        while self.finished(name) < shards:
            time.sleep(LOOK_S)


def by_processes(runs: Runs, count: int) -> None:
    """Each process takes every `count`th shard; then they are merged."""
    running = []
    for first in range(count):
        numbers = ",".join(map(str, range(first, runs.shards, count)))
        running.append(runs.start("shards", f"--shards={runs.shards}", f"--shard={numbers}"))
    if any(process.wait() for process in running):
        raise SystemExit("a process of the shards failed")
    runs.run("shards", "--merge")


def killed(runs: Runs, flags: list[str]) -> None:
    """Kills an actor of Ray, then its driver, and gives the command again."""
    driver = runs.start("killed", *flags)
    runs.wait_for("killed", runs.shards // 4)
    actors = (
        child
        for child in psutil.Process(driver.pid).children(recursive=True)
        if "ray::_Scorer" in " ".join(child.cmdline())
    )
    next(actors).send_signal(signal.SIGKILL)
    runs.wait_for("killed", runs.shards // 2)
    driver.kill()
    driver.wait()
    print(f"driver killed after {runs.finished('killed')} of {runs.shards} shards")
    runs.run("killed", *flags)


def main() -> None:
    """Prints a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--shards", type=int, default=40)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(given.detector.resolve(), Path(folder), given.shards)
        draw(runs.root / "images", given.images)
        ray = ["--engine=ray", f"--actors={given.processes}", f"--shards={given.shards}"]
        runs.run("warm", "--explain=none")  # fills the cache of compiled programs
        ways = {
            "local": lambda: runs.run("local"),
            "shards": lambda: by_processes(runs, given.processes),
            "ray": lambda: runs.run("ray", *ray),
            "killed": lambda: killed(runs, ray),
        }
        for name, score in ways.items():
            start = time.perf_counter()
            score()
            seconds = time.perf_counter() - start
            speed = "" if name == "killed" else f"{given.images / seconds:8.1f} images/s"
            equal = runs.table(name) == runs.table("local")
            print(f"{name:8} {len(runs.table(name))} rows, equal to local: {equal} {speed}")


if __name__ == "__main__":
    main()
