"""Worker that owns the device: one thread, one image after the other, in the order they came."""

import hashlib
import queue
import sys
import threading
import traceback
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import numpy as np

from ad_core.console.nearest import Nearest
from ad_core.runtime.sealed import MANIFEST, find_folder
from ad_core.scoring.detector import Detector
from ad_core.scoring.files import load_detector
from ad_core.scoring.verdict import ALL, Verdict


class Loaded(NamedTuple):
    """A detector that is ready to judge, its folder, and the SHA-256 of its manifest.

    nearest: its normal calibration images; None where it does not name them.
    """

    detector: Detector
    directory: Path
    sha: str
    nearest: Nearest | None = None

    @property
    def threshold(self) -> float | None:
        """Threshold that decides; None where it is not finite."""
        value = float(self.detector.threshold.value)
        return value if np.isfinite(value) else None

    @property
    def can_recalibrate(self) -> bool:
        """Tells whether it holds the scores of its calibration images."""
        return "scored" in (self.detector.parts.facts or {})


def load(directory: Path) -> Loaded:
    """The detector of a folder, its programs compiled.

    Raises:
        UserError: as `load_detector`.
    """
    sha = detector_sha(directory)
    # Images come alone, and on an accelerator each call measures as many as the batch holds.
    detector = load_detector(directory, batch_size=1)
    detector.judge(np.zeros(detector.image_shape, np.uint8), explain=ALL)
    return Loaded(detector, directory, sha, Nearest.of(detector.parts))


def detector_sha(directory: Path) -> str:
    """SHA-256 of a detector's manifest, which holds those of its files; "" without one."""
    manifest = find_folder(directory) / MANIFEST
    return hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest.is_file() else ""


class Task:
    """An image to judge.

    Attributes:
        verdicts: of each page of the file; None as long as there are none.
        error: what the detector raised.
        by: the detector that judged, or was to judge.
    """

    def __init__(self, path: Path):
        """Task of judging a file on the disk."""
        self.path = path
        self.verdicts: list[Verdict] | None = None
        self.error: Exception | None = None
        self.by: Loaded | None = None
        self.abandoned = False
        self._ended = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Tells whether the task has ended, after as many seconds at most.

        One that has not is abandoned: whatever comes of it later is dropped.
        """
        self.abandoned = not self._ended.wait(max(0.0, seconds))
        return not self.abandoned

    def run(self, by: Loaded) -> None:
        """Judges the image; an error of any sort is kept for whoever waits."""
        self.by = by
        try:
            self.verdicts = by.detector.judge(self.path)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self.error = error
        self._ended.set()


class Worker:
    """Thread that runs tasks in turn by the detector of the moment."""

    def __init__(self, loaded: Loaded):
        """Starts it."""
        self.loaded = loaded
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def put(self, path: Path) -> Task:
        """The task of judging a file, behind all others; whoever puts bounds their number."""
        task = Task(path)
        self._tasks.put(task)
        return task

    @property
    def busy_s(self) -> float:
        """Seconds that the task of the moment has taken so far; 0 without one."""
        since = self._busy_since
        return 0.0 if since is None else monotonic() - since

    @property
    def alive(self) -> bool:
        """Tells whether the thread runs."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> None:
        """Ends the thread when all tasks are done, or is gone after as many seconds."""
        self._tasks.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            if not task.abandoned:
                self._busy_since = monotonic()
                task.run(self.loaded)
                self._busy_since = None
