"""Classifiers by the false alarms that a bound costs, from calibration images alone.

    python benchmarks/classifier_choice.py --workdirs runs/a runs/b [--classifiers=svm,extra_trees]
        [--seeds=3] [--miss_rate=0.05] [--confidence=0.95]

For each workdir that holds statistics/calibration.parquet, classifier and seed of the partition
into folds: out-of-fold scores of the calibration images, then the share of normal images at or
above the threshold of `zfn` and of the k-th lowest abnormal group that keeps the bound, in per
cent: mean ± population standard deviation over the seeds. Test images take no part. Where no rank
keeps the bound, the column says which bound the lowest score keeps. The last rows are means over
the workdirs, and mean ranks by the bound (by zfn where it cannot be kept), 1 the best.
"""

import argparse
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402

from ad_core.decision import make_classifier, out_of_fold_scores  # noqa: E402
from ad_core.decision.classifiers.catalogue import CLASSIFIERS  # noqa: E402
from ad_core.decision.table import read_table, select  # noqa: E402
from ad_core.decision.thresholds.given import lowest_of_groups  # noqa: E402
from ad_core.decision.thresholds.guarantees import umbrella_rank  # noqa: E402
from ad_core.errors import UserError  # noqa: E402

FOLDS = 5


def alarms(table, classifier, seed, rank):
    """Shares of normal images inspected at the lowest abnormal group and at the rank given."""
    groups = np.array(table.group)
    scores = out_of_fold_scores(
        lambda: make_classifier(classifier, seed=seed, names=table.names),
        table.values,
        table.label,
        groups,
        folds=FOLDS,
        seed=seed,
    )
    odd = table.label == 1
    parts = lowest_of_groups(scores[odd], groups[odd])
    lines = parts[0], parts[rank - 1] if rank else np.nan
    return [np.mean(scores[~odd] >= line) if np.isfinite(line) else np.nan for line in lines]


def compared(workdir, classifiers, *, seeds, miss_rate, confidence):
    """(abnormal groups, rank, classifier -> [zfn, bound] by seed) of the calibration images."""
    table = read_table(Path(workdir) / "statistics" / "calibration.parquet")
    table = select(table, table.readable)
    n = len({group for group, odd in zip(table.group, table.label, strict=True) if odd})
    rank = umbrella_rank(n, miss_rate, confidence)
    found = {}
    for classifier in classifiers:
        try:
            found[classifier] = np.array(
                [alarms(table, classifier, seed, rank) for seed in range(seeds)]
            )
        except UserError as error:
            print(f"{workdir}: {classifier} left out: {error}", file=sys.stderr)
    return n, rank, found


def table_of(results, classifiers, *, miss_rate):
    """Markdown: a row a classifier, two columns a workdir, then means and mean rank."""
    bound = f"{100 * miss_rate:.3g} %"
    head = [
        f"{name} (n = {n}): zfn | {bound} (k = {rank})"
        if rank
        else f"{name} (n = {n}): zfn | {bound} (cannot be kept)"
        for name, (n, rank, _) in results.items()
    ]
    lines = [
        f"| classifier | {' | '.join(head)} | mean zfn | mean {bound} | mean rank |",
        "|" + " --- |" * (2 * len(results) + 4),
    ]
    ranks = _ranks(results, classifiers)
    for name in classifiers:
        cells, means = [], []
        for _, _, found in results.values():
            of = found.get(name)
            cells += ["not run"] * 2 if of is None else [_cell(of[:, 0]), _cell(of[:, 1])]
            means.append([np.nan] * 2 if of is None else of.mean(axis=0))
        known = [np.array(column)[np.isfinite(column)] for column in zip(*means, strict=True)]
        told = [f"{100 * column.mean():.1f}" if column.size else "" for column in known]
        rank = f"{ranks[name]:.1f}" if name in ranks else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {' | '.join(told)} | {rank} |")
    return "\n".join(lines)


def _cell(shares):
    return (
        f"{100 * shares.mean():.1f} ± {100 * shares.std():.1f}" if np.isfinite(shares).all() else ""
    )


def _ranks(results, classifiers):
    """Mean rank over the workdirs of each classifier that all of them have."""
    whole = [c for c in classifiers if all(c in found for _, _, found in results.values())]
    figures = np.array(
        [
            [found[c][:, 1 if rank else 0].mean() for _, rank, found in results.values()]
            for c in whole
        ]
    )
    if not whole:
        return {}
    order = (figures[:, None] > figures[None]).sum(axis=1) + 1
    return dict(zip(whole, order.mean(axis=1), strict=True))


def _titles(workdirs):
    """The first part in which the workdirs' paths differ, which must tell each from the others."""
    parts = [Path(workdir).parts for workdir in workdirs]
    differ = [place for place, names in enumerate(zip(*parts, strict=False)) if len(set(names)) > 1]
    titles = [names[differ[0]] if differ else Path(*names).name for names in parts]
    if len(set(titles)) < len(titles):
        sys.exit(f"--workdirs: {', '.join(titles)} are not told apart; give each workdir once.")
    return titles


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdirs", nargs="+", required=True)
    able = [name for name, line in CLASSIFIERS.items() if not line.one_statistic]
    parser.add_argument("--classifiers", default=",".join(able))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--miss_rate", type=float, default=0.05)
    parser.add_argument("--confidence", type=float, default=0.95)
    given = parser.parse_args()
    classifiers = given.classifiers.split(",")
    results = {}
    for title, workdir in zip(_titles(given.workdirs), given.workdirs, strict=True):
        results[title] = compared(
            workdir,
            classifiers,
            seeds=given.seeds,
            miss_rate=given.miss_rate,
            confidence=given.confidence,
        )
        print(f"{title}: done", file=sys.stderr)
    print(table_of(results, classifiers, miss_rate=given.miss_rate))


if __name__ == "__main__":
    main()
