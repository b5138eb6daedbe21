"""Every classifier and every full-sensitivity loss on tables of statistics: one Markdown table.

    python benchmarks/decision_table.py --workdirs=runs/real [--only=NAME,NAME] [--print]

Per set, classifier or loss: 5 x 5-fold cross-validation, stratified and grouped; in each held-out
fold FPR at TPR 1 (`oracle.fpr_at_tpr1`) and ZFN accuracy (`oracle.zfn`); mean ± population
standard deviation over the 25 folds, in per cent. The sets are the statistics that
`real_images.py` left in `--workdirs` (calibration and test rows together: the method
trained on neither; they serve here for this comparison alone) and three public tables of
scikit-learn made imbalanced. Each result is kept in --kept, so that the command may be
interrupted and run by several processes on different --sets.
"""

import argparse
import json
import sys
import time
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402
from sklearn.datasets import load_breast_cancer, load_digits, load_wine  # noqa: E402

from ad_core.decision import losses, make_classifier  # noqa: E402
from ad_core.decision.classifiers.catalogue import CLASSIFIERS  # noqa: E402
from ad_core.decision.classifiers.fitting import fit_classifier, imputed_score  # noqa: E402
from ad_core.decision.classifiers.grouped_folds import grouped_folds  # noqa: E402
from ad_core.decision.table import read_table  # noqa: E402
from ad_core.metrics import oracle  # noqa: E402

REAL = ("brain_mri", "busi", "mvtec_transistor", "magnetic_tile")
PUBLIC = ("breast_cancer", "digits", "wine")
# The network stands in the table by its losses; `single` reads one statistic.
METHODS = [n for n in CLASSIFIERS if n not in ("full_sensitivity", "single")] + list(losses.LOSSES)
REPEATS, FOLDS = 5, 5
FIGURES = ("fpr_at_tpr1", "zfn", "auc")


def real_set(workdirs, name):
    """Table, labels and groups of one run (protocol folders, seed 0) of real_images.py."""
    folder = workdirs / f"{name}-folders-0" / "statistics"
    tables = [read_table(folder / f"{split}.parquet") for split in ("calibration", "test")]
    rows = [table.readable for table in tables]
    values = np.concatenate([t.values[r] for t, r in zip(tables, rows, strict=True)])
    labels = np.concatenate([t.label[r] for t, r in zip(tables, rows, strict=True)])
    groups = np.concatenate([np.array(t.group)[r] for t, r in zip(tables, rows, strict=True)])
    return values, labels, groups


def public_set(name):
    """A table of scikit-learn with few rows of one class left, which stand for the abnormal."""
    table, kinds = {
        "breast_cancer": lambda: load_breast_cancer(return_X_y=True),
        "digits": lambda: load_digits(return_X_y=True),
        "wine": lambda: load_wine(return_X_y=True),
    }[name]()
    odd, normal, abnormal = {
        "breast_cancer": (0, 357, 60),
        "digits": (8, 500, 50),
        "wine": (2, 130, 25),
    }[name]
    rng = np.random.default_rng(0)
    rows = [
        rng.permutation(np.flatnonzero(of))[:count]
        for of, count in ((kinds != odd, normal), (kinds == odd, abnormal))
    ]
    kept = np.concatenate(rows)
    return table[kept].astype(np.float32), (kinds[kept] == odd).astype(int), np.arange(kept.size)


def partitions(labels, groups, repeats=REPEATS):
    """Pairs of rows to fit and rows to judge, five a repeat."""
    return [
        pair
        for repeat in range(repeats)
        for pair in grouped_folds(labels, groups, folds=FOLDS, seed=repeat)
    ]


def judged(make, table, labels, groups, repeats=REPEATS):
    """Figures of each held-out fold; `make` gives an unfitted classifier for a seed."""
    found = []
    for seed, (fit, held_out) in enumerate(partitions(labels, groups, repeats)):
        fitted = fit_classifier(make(seed), table[fit], labels[fit], groups=groups[fit])
        found.append(oracle(labels[held_out], imputed_score(fitted, table[held_out])))
    return found


def maker(method):
    """Maker of a classifier, or of the network with a loss."""
    if method in CLASSIFIERS:
        return lambda seed: make_classifier(method, seed=seed)
    return lambda seed: make_classifier("full_sensitivity", loss=method, seed=0)


def main():
    """Computes what is missing, then prints the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdirs", type=Path, required=True)
    parser.add_argument("--kept", type=Path, default=Path("runs/decision_table"))
    parser.add_argument("--sets", default=",".join(REAL + PUBLIC))
    parser.add_argument("--only", default=",".join(METHODS))
    parser.add_argument("--print", action="store_true", help="only print what is there")
    given = parser.parse_args()
    given.kept.mkdir(parents=True, exist_ok=True)
    for method in [] if given.print else given.only.split(","):
        for name in given.sets.split(","):
            compute(given, name, method)
    print(table_of(given.kept))


def compute(given, name, method):
    """One set and method, unless it is there; its time beside it."""
    path = given.kept / f"{name}-{method}.json"
    if path.exists():
        return
    if name in REAL and not (given.workdirs / f"{name}-folders-0/results.json").exists():
        return
    table, labels, groups = real_set(given.workdirs, name) if name in REAL else public_set(name)
    began = time.process_time()
    found = judged(maker(method), table, labels, groups)
    content = {figure: [one[figure] for one in found] for figure in FIGURES}
    content |= {"cpu_s": time.process_time() - began, "rows": np.bincount(labels).tolist()}
    path.write_text(json.dumps(content))
    print(name, method, f"{np.mean(content['fpr_at_tpr1']):.3f}", flush=True)


def table_of(kept):
    """Rows are methods, columns sets; each cell FPR at TPR 1, then ZFN accuracy."""
    results = {tuple(p.stem.split("-")): json.loads(p.read_text()) for p in kept.glob("*-*.json")}
    names = [n for n in (*REAL, *PUBLIC) if any(name == n for name, _ in results)]
    rows = {name: next(r["rows"] for (n, _), r in results.items() if n == name) for name in names}
    head = [f"{name} ({rows[name][0]} normal, {rows[name][1]} abnormal)" for name in names]
    lines = [
        "| | mean rank | mean FPR | " + " | ".join(head) + " | CPU s |",
        "|" + " --- |" * (len(names) + 4),
    ]
    methods = [m for m in METHODS if any(m == of for _, of in results)]
    ranks = _ranks(results, names, methods)
    for method in methods:
        cells = [_cell(results.get((name, method))) for name in names]
        there = [r for name in names if (r := results.get((name, method)))]
        mean = f"{100 * np.mean([np.mean(r['fpr_at_tpr1']) for r in there]):.1f}"
        whole = len(there) == len(names)
        spent = f"{sum(r['cpu_s'] for r in there):.0f}"
        rank = f"{ranks[method]:.1f}" if whole else ""
        lines.append(
            f"| {method} | {rank} | {mean if whole else ''} | {' | '.join(cells)} | {spent} |"
        )
    return "\n".join(lines)


def _ranks(results, names, methods):
    """Mean over the sets of a method's rank by mean FPR at TPR 1, 1 the best, of those whole."""
    whole = [m for m in methods if all((name, m) in results for name in names)]
    figures = np.array(
        [[np.mean(results[name, m]["fpr_at_tpr1"]) for name in names] for m in whole]
    )
    if not whole:
        return {}
    order = (figures[:, None] > figures[None]).sum(axis=1) + 1
    return dict(zip(whole, order.mean(axis=1), strict=True))


def _cell(found):
    if found is None:
        return "not run"
    return ", ".join(
        f"{100 * np.mean(found[figure]):.1f} ± {100 * np.std(found[figure]):.1f}"
        for figure in ("fpr_at_tpr1", "zfn")
    )


if __name__ == "__main__":
    main()
