"""Time of one image: warm through `Detector.judge`, and cold from the start of score.py.

    python benchmarks/single_image.py --detector=runs/demo/detector [--image=FILE] [--calls=50]

Warm: milliseconds of a call with the image as an array, after the first call, reasons and regions
included; the median and the 5th and 95th percentile. Cold: seconds of wall clock and of processor
of `launch/score.py` on the image, the best of three starts after one that fills the cache of
compiled programs. Run it on an idle machine.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ad_core.scoring import load_detector  # noqa: E402

STARTS = 3


def warm_ms(detector_dir: Path, values: np.ndarray, calls: int) -> np.ndarray:
    """Milliseconds of each of `calls` calls, after one that compiles."""
    detector = load_detector(detector_dir)
    detector.judge(values)
    spent = []
    for _ in range(calls):
        start = time.perf_counter()
        detector.judge(values)
        spent.append(1000 * (time.perf_counter() - start))
    return np.array(spent)


def cold_s(detector_dir: Path, image: Path, folder: Path) -> tuple[float, float]:
    """Wall clock and processor seconds of one start of score.py."""
    command = [sys.executable, ROOT / "launch" / "score.py", f"--detector={detector_dir}"]
    command += [f"--input={image}", f"--output={folder}"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise SystemExit(f"score.py ended with status {ended.returncode}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Prints both times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--image", type=Path, help="default: noise of 512 x 512 pixels")
    parser.add_argument("--calls", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        image = given.image
        if image is None:
            image = Path(folder) / "noise.png"
            noise = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
            Image.fromarray(noise).save(image)
        with Image.open(image) as opened:
            values = np.asarray(opened)
        runs = [cold_s(given.detector, image, Path(folder) / f"{n}") for n in range(STARTS + 1)]
        spent = warm_ms(given.detector, values, given.calls)
    device = jax.local_devices()[0]
    low, median, high = np.percentile(spent, [5, 50, 95])
    print(f"{device.platform} ({device.device_kind}), JAX {jax.__version__}")
    print(f"warm: {median:.1f} ms (5 to 95 %: {low:.1f} to {high:.1f}), {given.calls} calls")
    wall, processor = (min(run[k] for run in runs[1:]) for k in (0, 1))
    print(f"cold: {wall:.2f} s wall clock, {processor:.2f} s of processor")


if __name__ == "__main__":
    main()
