"""Time to score and to explain rows of statistics, by classifier and by rows taken together.

    python benchmarks/explanations.py [--calibration=520 --statistics=270 --rows=1024] [--shap]

Made-up tables: half of the statistics are noise, a tenth tell the classes apart, the rest repeat
others. Prints processor milliseconds a row, so that other work on the machine matters little.
--shap compares instead the Shapley values of extra trees with those of shap.TreeExplainer, of which
the project has no need (pip install shap): by turns, so that other work slows both.
"""

import argparse
import multiprocessing
import os
import platform
import resource
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


def own(classifier, names, normals):
    """Rows -> Shapley values [n, k] of an extra trees classifier, by this project."""
    return Explainer(classifier, names, normals).pushes


def of_shap(classifier, names, normals):
    """Pushes as `own` gives them, by shap."""
    import shap

    cleaning, forest = classifier[0], classifier[-1]
    explainer = shap.TreeExplainer(forest, feature_perturbation="tree_path_dependent")

    def pushes(rows):
        values = np.zeros(rows.shape)
        found = explainer.shap_values(cleaning.transform(rows), check_additivity=False)
        values[:, cleaning.kept_] = found[..., 1]
        return values

    return pushes


def peak_mb(make, case, rows):
    """Megabytes by which making an explainer and explaining raise the peak of a fresh process."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def run():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        make(*case)(rows)
        results.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)

    child = context.Process(target=run)
    child.start()
    found = results.get()
    child.join()
    return found


def beside_shap(case, new, repeats=7):
    """Prints a row a number of rows explained together."""
    import shap

    print(f"shap {shap.__version__}; median of {repeats} by turns; a row's processor milliseconds")
    print("| rows | own ms | shap ms | own / shap | own MB | shap MB |\n|" + " --- |" * 6)
    makes = {"own": own, "shap": of_shap}
    for count in (32, 256):
        rows = new[:count]
        peaks = [peak_mb(make, case, rows) for make in makes.values()]
        pushes = {name: make(*case) for name, make in makes.items()}
        np.testing.assert_allclose(pushes["own"](rows), pushes["shap"](rows), atol=1e-6)
        times = {name: [] for name in makes}
        for _ in range(repeats):
            for name, push in pushes.items():
                began = time.process_time()
                push(rows)
                times[name].append(1e3 * (time.process_time() - began) / count)
        mine, theirs = (float(np.median(times[name])) for name in makes)
        ratio = np.median(np.divide(times["own"], times["shap"]))
        print(
            f"| {count} | {mine:.2f} | {theirs:.2f} | {ratio:.2f} | {peaks[0]:.0f} | "
            f"{peaks[1]:.0f} |",
            flush=True,
        )


def main():
    """Prints a row a classifier and block."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calibration", type=int, default=520)
    parser.add_argument("--statistics", type=int, default=270)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--shap", action="store_true", help="compare with shap's TreeExplainer")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = (np.arange(given.calibration) % 4 == 0).astype(int)
    values = table(given.calibration, given.statistics, labels, rng)
    new = table(given.rows, given.statistics, np.arange(given.rows) % 2, rng)
    names = [f"statistic_{i}" for i in range(given.statistics)]
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"load average {load}, Python {platform.python_version()}, NumPy {np.__version__}")
    if given.shap:
        fitted = fit_classifier(make_classifier("extra_trees"), values, labels)
        return beside_shap((fitted, names, values[labels == 0]), new)
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
