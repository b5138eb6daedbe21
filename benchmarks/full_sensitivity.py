"""Time to train FullSensitivityClassifier, 25 fits, against LibAUC in PyTorch.

    python benchmarks/full_sensitivity.py [--rows=10000 --positives=100 --fits=25 --steps=300]
        [--torch_python=PATH --torch_fits=3]

One network a fit (30 columns, two layers of 32 units), the smooth two-way loss (two_way_kl,
LibAUC's tpAUC_KL_Loss) over the whole table in every step, AdamW. PyTorch, in the environment of
--torch_python (see libauc_losses.py), trains `torch_fits` of them one after the other; its time is
per fit. Prints wall and processor seconds (compilation included) and the peak of memory.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import jax  # noqa: E402
import numpy as np  # noqa: E402
from sklearn.model_selection import StratifiedShuffleSplit  # noqa: E402

from ad_core.decision import FullSensitivityClassifier  # noqa: E402

COLUMNS = 30


def data(rows, positives):
    """A table whose abnormal rows are shifted a little."""
    rng = np.random.default_rng(0)
    labels = (np.arange(rows) < positives).astype(int)
    return rng.normal(size=(rows, COLUMNS)) + 0.5 * labels[:, None], labels


def ours(given, steps):
    """Wall and processor seconds of all fits, each on four fifths of both classes."""
    table, labels = data(given.rows, given.positives)
    folds = StratifiedShuffleSplit(given.fits, train_size=0.8, random_state=1).split(table, labels)
    began, cpu = time.perf_counter(), time.process_time()
    for seed, (rows, _) in enumerate(folds):
        FullSensitivityClassifier(
            "two_way_kl", members=1, steps=steps, hidden=(32, 32), random_state=seed
        ).fit(table[rows], labels[rows])
    return time.perf_counter() - began, time.process_time() - cpu


def theirs(given):
    """Figures that libauc_losses.py prints."""
    command = [given.torch_python, str(ROOT / "benchmarks" / "libauc_losses.py")]
    command += [f"--rows={int(0.8 * given.rows)}", f"--positives={int(0.8 * given.positives)}"]
    command += [f"--columns={COLUMNS}", f"--steps={given.steps}", f"--fits={given.torch_fits}"]
    command += [f"--threads={len(os.sched_getaffinity(0))}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main():
    """Prints both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--positives", type=int, default=100)
    parser.add_argument("--fits", type=int, default=25)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--torch_python", default="")
    parser.add_argument("--torch_fits", type=int, default=3)
    given = parser.parse_args()
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{' '.join(['benchmarks/full_sensitivity.py', *sys.argv[1:]])}")
    cores = f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores"
    print(f"{cores}, load average {load}, Python {platform.python_version()},")
    print(f"jax {jax.__version__} on {jax.local_devices()[0].device_kind}", flush=True)
    # First: a child process counts its parent's peak of memory as its own.
    found = theirs(given) if given.torch_python else None
    whole = ours(given, given.steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall, cpu = (seconds / given.fits for seconds in whole)
    print(
        f"JAX, compilation included: {wall:.2f} s a fit ({cpu:.2f} s of processor), {peak:.0f} MB"
    )
    if found:
        walls, cpus = (np.mean(column) for column in zip(*found["seconds"], strict=True))
        print(
            f"PyTorch {found['torch']}, LibAUC: {walls:.2f} s a fit ({cpus:.2f} s of processor), "
            f"{found['peak_mb']:.0f} MB; ratio {walls / wall:.2f} by wall, {cpus / cpu:.2f} by "
            "processor"
        )


if __name__ == "__main__":
    main()
