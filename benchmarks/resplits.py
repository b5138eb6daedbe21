"""Bounds on real images: cached statistics divided anew by group, again and again; a table.

    python benchmarks/resplits.py --workdirs runs/a runs/b [--splits=200] [--classifier=NAME]
        [--data=DIR] [--every=N] [--plain]

For each workdir the readable calibration and test rows are pooled and divided by group into two
halves, stratified by class; one half calibrates (out-of-fold scores, thresholds), its classifier
and thresholds judge the other. Columns, per rule: groups with an image that passes, false alarms,
both mean over the splits in per cent; the share of splits whose miss rate lies above the bound,
and that share as it would be if the halves were exchangeable and the classifier's scores those of
the folds (ranks drawn at random): where the former is the larger, the classifier's last fit ranks
otherwise than the folds did.

With --data the images of a workdir NAME or NAME-... lie in DIR/NAME, and those that look alike are
one group (ad_core.data.likeness), whatever group they calibrated by. With --every only each
N-th pooled feature is kept; with --plain these are columns like others, without the head that
makes one of them all: both save time, and cost false alarms.
"""

import argparse
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402

from ad_core.data.likeness import group_alike  # noqa: E402
from ad_core.data.source import open_source  # noqa: E402
from ad_core.decision import (  # noqa: E402
    fit_classifier,
    fit_threshold,
    make_classifier,
    out_of_fold_scores,
)
from ad_core.decision.classifiers.fitting import imputed_score  # noqa: E402
from ad_core.decision.classifiers.out_of_fold import grouped_folds  # noqa: E402
from ad_core.decision.table import read_table, select  # noqa: E402
from ad_core.decision.thresholds.guarantees import umbrella_rank  # noqa: E402
from ad_core.errors import UserError  # noqa: E402
from ad_core.runtime.command import configure  # noqa: E402
from ad_core.statistics import is_feature  # noqa: E402

FOLDS, CONFIDENCE = 5, 0.95
RULES = {
    "zfn": ("zfn", {}),
    "miss_bound 5 %": ("miss_bound", {"miss_rate": 0.05}),
    "miss_bound 10 %": ("miss_bound", {"miss_rate": 0.1}),
}


def pooled(workdir, *, data="", every=1, plain=False):
    """(values, labels, groups, names) of the calibration and test rows that could be read.

    names: of the columns; none of a plain table.
    """
    folder = Path(workdir) / "statistics"
    tables = [read_table(folder / f"{split}.parquet") for split in ("calibration", "test")]
    tables = [select(table, table.readable) for table in tables]
    labels = np.concatenate([table.label for table in tables])
    if data:
        group = alike(Path(data) / Path(workdir).name.split("-")[0])
        groups = np.array([group[path] for table in tables for path in table.path])
    else:
        groups = np.concatenate([np.array(table.group) for table in tables])
    feature = np.array([is_feature(name) for name in tables[0].names])
    places = np.sort(np.append(np.flatnonzero(~feature), np.flatnonzero(feature)[::every]))
    values = np.concatenate([table.values for table in tables])[:, places]
    names = () if plain else tuple(tables[0].names[place] for place in places)
    return values, labels, groups, names


def alike(root):
    """Path -> group of the images below `root`, those that look alike in one."""
    data = configure([f"--config={ROOT}/configs/folder.py", f"--config.data.root={root}"]).data
    source = open_source(data)
    group_alike(source, data)
    return {record.path: record.group for record in source.records}


def resplit(pool, classifier, seed):
    """Rule -> (miss rate of groups, false alarms, bound, rank, n, m) on the half that judges."""
    values, labels, groups, names = pool
    (fit, judge), _ = grouped_folds(labels, groups, folds=2, seed=seed)

    def make():
        return make_classifier(classifier, seed=seed, names=names)

    own = out_of_fold_scores(make, values[fit], labels[fit], groups[fit], folds=FOLDS, seed=seed)
    fitted = fit_classifier(make(), values[fit], labels[fit], groups=groups[fit], seed=seed)
    scores = imputed_score(fitted, values[judge])
    odd, found = labels[judge] == 1, {}
    n = np.unique(groups[fit][labels[fit] == 1]).size
    m = np.unique(groups[judge][odd]).size
    for title, (rule, options) in RULES.items():
        try:
            line = fit_threshold(rule, own, labels[fit], groups=groups[fit], **options)
        except UserError:
            continue
        flags = line.flags(scores)
        missed = np.unique(groups[judge][odd & ~flags]).size / m
        bound = line.guarantee["miss_rate_bound"]
        rank = umbrella_rank(n, options["miss_rate"], CONFIDENCE) if options else 1
        found[title] = missed, flags[~odd].mean(), bound, rank, n, m
    return found


def expected_share(rank, n, m, bound, *, draws=20_000):
    """P(more than bound m of m groups lie below the rank-th lowest of n), all orders alike."""
    rng = np.random.default_rng(0)
    # The miss rate is Beta(k, n - k + 1), and each of m further groups falls below by it.
    below = rng.binomial(m, rng.beta(rank, n - rank + 1, draws))
    return np.mean(below > bound * m)


def row(workdir, title, splits):
    """A line of the table."""
    missed, alarms, bound, rank, n, m = (np.array(of) for of in zip(*splits, strict=True))
    above = np.mean(missed > bound)
    fair = np.mean(
        [
            expected_share(*key)
            for key in zip(rank.astype(int), n.astype(int), m.astype(int), bound, strict=True)
        ][:20]
    )
    return (
        f"| {Path(workdir).name} | {title} | {n.mean():.0f} | {100 * bound.mean():.1f} "
        f"| {100 * missed.mean():.1f} | {100 * alarms.mean():.1f} "
        f"| {100 * above:.1f} | {100 * fair:.1f} |"
    )


def main():
    """Prints the table, a workdir at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdirs", nargs="+", required=True)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--classifier", default="logistic_regression")
    parser.add_argument("--data", default="")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--plain", action="store_true")
    given = parser.parse_args()
    print(
        "| set | rule | groups | bound | missed | false alarms | splits above | expected above |\n"
        "|" + " --- |" * 8
    )
    for workdir in given.workdirs:
        pool = pooled(workdir, data=given.data, every=given.every, plain=given.plain)
        found = [resplit(pool, given.classifier, seed) for seed in range(given.splits)]
        for title in RULES:
            splits = [one[title] for one in found if title in one]
            refused = f"| {Path(workdir).name} | {title} |" + " refused |" * 6
            print(row(workdir, title, splits) if splits else refused, flush=True)


if __name__ == "__main__":
    main()
