"""Time to score and to explain rows of statistics, by classifier and by rows taken together.

    python benchmarks/explanations.py [--calibration=520 --statistics=270 --rows=1024]

Made-up tables: half of the statistics are noise, a tenth tell the classes apart, the rest repeat
others. Prints processor milliseconds a row, so that other work on the machine matters little.
"""

import argparse
import os
import platform
import sys
import time
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402

from ad_core.decision import Explainer, anomaly_score, fit_classifier, make_classifier  # noqa: E402

NAMES = ("extra_trees", "logistic_regression", "full_sensitivity", "one_class", "k_nn")


def table(rows, statistics, labels, rng):
    """Values of `statistics` columns."""
    values = rng.normal(size=(rows, statistics))
    values[:, : statistics // 10] += 0.7 * labels[:, None]
    half = statistics // 2
    values[:, half:] = values[:, : statistics - half] * 0.5 + values[:, half:]
    return values.astype(np.float32)


def spent(call):
    """Processor milliseconds of a call, its second, so that nothing compiles."""
    call()
    began = time.process_time()
    call()
    return 1e3 * (time.process_time() - began)


def main():
    """Prints a row a classifier and block."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calibration", type=int, default=520)
    parser.add_argument("--statistics", type=int, default=270)
    parser.add_argument("--rows", type=int, default=1024)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = (np.arange(given.calibration) % 4 == 0).astype(int)
    values = table(given.calibration, given.statistics, labels, rng)
    new = table(given.rows, given.statistics, np.arange(given.rows) % 2, rng)
    names = [f"statistic_{i}" for i in range(given.statistics)]
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"load average {load}, Python {platform.python_version()}, NumPy {np.__version__}")
    print("| classifier | method | rows together | score ms | explain ms |\n|" + " --- |" * 5)
    for name in NAMES:
        fitted = fit_classifier(make_classifier(name), values, labels)
        explainer = Explainer(fitted, names, values[labels == 0])
        for block in (32, 512):
            parts = [new[i : i + block] for i in range(0, given.rows, block)]
            score = spent(lambda f=fitted, p=parts: [anomaly_score(f, x) for x in p])
            why = spent(lambda e=explainer, p=parts: [e.reasons(x) for x in p])
            print(
                f"| {name} | {explainer.method} | {block} | {score / given.rows:.3f} | "
                f"{why / given.rows:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
