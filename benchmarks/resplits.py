"""Bounds on real images: cached statistics divided anew by group, again and again; a table.

    python benchmarks/resplits.py --workdirs runs/a runs/b [--splits=200]
        [--classifiers full_sensitivity logistic_regression] [--data=DIR] [--every=N] [--plain]

For each workdir the readable calibration and test rows are pooled and divided by group into two
halves, stratified by class; one half calibrates (out-of-fold scores, thresholds), its classifier
and thresholds judge the other. Columns, per rule: groups with an image that passes, false alarms,
both mean over the splits in per cent; the share of splits whose miss rate lies above the bound,
and that share as it would be if the halves were exchangeable and the classifier's scores those of
the folds (ranks drawn at random): where the former is the larger, the classifier's last fit ranks
otherwise than the folds did.

With --data the images of a workdir NAME or NAME-... lie in DIR/NAME, and those that look alike are
one group (ad_core.data.likeness), whatever group they calibrated by. The classifiers share the
divisions, and the head that makes one column of the pooled features. With --every only each N-th
pooled feature is kept; with --plain these are columns like others, without the head: both save
time, and cost false alarms.
"""

import argparse
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402
from sklearn.pipeline import Pipeline  # noqa: E402

from ad_core.data.likeness import group_alike  # noqa: E402
from ad_core.data.source import open_source  # noqa: E402
from ad_core.decision import fit_classifier, fit_threshold, make_classifier  # noqa: E402
from ad_core.decision.classifiers.fitting import imputed_score  # noqa: E402
from ad_core.decision.classifiers.grouped_folds import grouped_folds  # noqa: E402
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
        group = alike(Path(data) / name_of(workdir).split("-")[0])
        groups = np.array([group[path] for table in tables for path in table.path])
    else:
        groups = np.concatenate([np.array(table.group) for table in tables])
    feature = np.array([is_feature(name) for name in tables[0].names])
    places = np.sort(np.append(np.flatnonzero(~feature), np.flatnonzero(feature)[::every]))
    values = np.concatenate([table.values for table in tables])[:, places]
    names = () if plain else tuple(tables[0].names[place] for place in places)
    return values, labels, groups, names


def name_of(workdir):
    """Data set of a workdir: its folder's name, or SET of a benchmark's cell SET/METHOD/SEED."""
    path = Path(workdir)
    return (path.parent.parent if path.name.isdigit() else path).name


def alike(root):
    """Path -> group of the images below `root`, those that look alike in one."""
    data = configure([f"--config={ROOT}/configs/folder.py", f"--config.data.root={root}"]).data
    source = open_source(data)
    group_alike(source, data)
    return {record.path: record.group for record in source.records}


def scored(pool, classifiers, fit, judge, seed):
    """Classifier -> scores of the rows to judge, fitted to others; one head serves all."""
    values, labels, groups, names = pool
    learnt, known, later, found, head = values[fit], values[fit], values[judge], {}, None
    for name in classifiers:
        made = make_classifier(name, seed=seed, names=names)
        if made.steps[0][0] == "features":
            if head is None:
                head = made[0]
                learnt = head.fit_transform(learnt, labels[fit], groups=groups[fit])
                known, later = head.transform(known), head.transform(later)
            made = Pipeline(made.steps[1:])
        fitted = fit_classifier(made, learnt, labels[fit], groups=groups[fit], seed=seed)
        found[name] = imputed_score(fitted, later)
        if head is not None:
            head.top_ = float(np.nanmax(imputed_score(fitted, known)))
            found[name] = head.raised(found[name], values[judge])
    return found


def resplit(pool, classifiers, seed):
    """Classifier -> `judged` of a division into halves."""
    labels, groups = pool[1], pool[2]
    (fit, judge), _ = grouped_folds(labels, groups, folds=2, seed=seed)
    own = {name: np.empty(fit.size) for name in classifiers}
    for part, rest in grouped_folds(labels[fit], groups[fit], folds=FOLDS, seed=seed):
        unseen = scored(pool, classifiers, fit[part], fit[rest], seed)
        for name, scores in unseen.items():
            own[name][rest] = scores
    later = scored(pool, classifiers, fit, judge, seed)
    return {
        name: judged(labels, groups, fit, judge, own[name], later[name]) for name in classifiers
    }


def judged(labels, groups, fit, judge, own, scores):
    """Rule -> (miss rate of groups, false alarms, bound, rank, n, m) on the half that judges."""
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


def row(begin, splits):
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
        f"{begin} {n.mean():.0f} | {100 * bound.mean():.1f} "
        f"| {100 * missed.mean():.1f} | {100 * alarms.mean():.1f} "
        f"| {100 * above:.1f} | {100 * fair:.1f} |"
    )


def main():
    """Prints the table, a workdir at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdirs", nargs="+", required=True)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument(
        "--classifiers", nargs="+", default=["full_sensitivity", "logistic_regression"]
    )
    parser.add_argument("--data", default="")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--plain", action="store_true")
    given = parser.parse_args()
    print(
        "| set | classifier | rule | groups | bound | missed | false alarms | splits above "
        "| expected above |\n" + "|" + " --- |" * 9
    )
    for workdir in given.workdirs:
        pool = pooled(workdir, data=given.data, every=given.every, plain=given.plain)
        found = [resplit(pool, given.classifiers, seed) for seed in range(given.splits)]
        for name in given.classifiers:
            for title in RULES:
                splits = [one[name][title] for one in found if title in one[name]]
                begin = f"| {name_of(workdir)} | {name} | {title} |"
                print(row(begin, splits) if splits else begin + " refused |" * 6, flush=True)


if __name__ == "__main__":
    main()
