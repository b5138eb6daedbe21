"""The poster's second figure: standard and ZFN accuracy by classifier, out-of-fold.

    python launch/train.py --config=configs/mvtec.py:transistor,cpu \
        --config.data.protocol=vqganodip --workdir=runs/transistor-vqganodip
    python benchmarks/vqganodip.py --workdirs=runs/transistor-vqganodip [--classifiers=NAME,NAME]

Under the protocol `vqganodip` half of the normal images train the reconstructor; the rest and all
abnormal ones are the pool, whose statistics lie in WORKDIR/statistics/pool.parquet. Each image
of the pool is scored by a classifier that has not seen it, nor any of its group; both accuracies
choose their threshold on the pooled scores, as the poster does (`oracle.acc`, `oracle.zfn`).
Beside them what a user gets: classifier and zfn threshold that have both not seen the image.
Mean ± population standard deviation over the workdirs and the partitions, in per cent.
"""

import argparse
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402

from ad_core.decision import out_of_fold_scores  # noqa: E402
from ad_core.decision.calibration import cross_fit, make_by  # noqa: E402
from ad_core.decision.table import read_table, select  # noqa: E402
from ad_core.metrics import confusion, oracle  # noqa: E402
from ad_core.runtime.config import defaults  # noqa: E402

CLASSIFIERS = "extra_trees,random_forest,logistic_regression,ada_boost,svm,k_nn,full_sensitivity"


def pool_of(workdir):
    """The readable images of a workdir's pool."""
    table = read_table(workdir / "statistics" / "pool.parquet")
    return select(table, table.readable)


def judged(pool, decision, seed):
    """Standard and ZFN accuracy; held out, missed abnormal images and false alarms."""
    scores = out_of_fold_scores(
        lambda: make_by(decision, decision.classifier, seed=seed),
        pool.values,
        pool.label,
        np.array(pool.group),
        folds=decision.folds,
        seed=seed,
    )
    figures = oracle(pool.label, scores)
    held = confusion(pool.label, cross_fit(pool, decision, seed=seed).flags["zfn"])
    return figures["acc"], figures["zfn"], 1 - held["tpr"], held["fpr"]


def main():
    """Prints a row a classifier."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdirs", required=True, help="separated by commas")
    parser.add_argument("--classifiers", default=CLASSIFIERS)
    parser.add_argument("--seeds", type=int, default=5, help="partitions")
    given = parser.parse_args()
    pools = [pool_of(Path(workdir)) for workdir in given.workdirs.split(",")]
    for pool in pools:
        print(f"{(pool.label == 0).sum()} normal, {pool.label.sum()} abnormal images in the pool")
    print("| classifier | accuracy | ZFN accuracy | held out: missed | held out: false alarms |")
    print("|" + " --- |" * 5)
    for name in given.classifiers.split(","):
        decision = defaults("cpu").decision
        decision.classifier = name
        rows = [judged(pool, decision, seed) for pool in pools for seed in range(given.seeds)]
        cells = [f"{100 * np.mean(c):.1f} ± {100 * np.std(c):.1f}" for c in zip(*rows, strict=True)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
