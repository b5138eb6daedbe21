"""A detector of several methods without the columns of each: what each of its parts is worth.

    python benchmarks/without_parts.py --workdirs runs/a runs/b [--classifier=monotone] [--seeds=2]

For each workdir, by all columns and without those of each method: AUC of the out-of-fold scores of
the images that calibrate, and the share of their normal images at or above the lowest abnormal
group and at or above the score below which 5 % of the abnormal groups lie (means over `seeds`
partitions into five grouped folds); then the AUC of the test split, which chooses nothing. In per
cent. The last row is the mean over the workdirs. Only the classifier is fitted again: the columns
are those of the run, each measured by a state that had not learnt its image.
"""

import argparse
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402

from ad_core.decision import make_classifier, out_of_fold_scores  # noqa: E402
from ad_core.decision.classifiers.fitting import anomaly_score, fit_classifier  # noqa: E402
from ad_core.decision.table import read_table, select  # noqa: E402
from ad_core.decision.thresholds.given import lowest_of_groups  # noqa: E402
from ad_core.metrics import auroc  # noqa: E402
from ad_core.runtime.config import from_json  # noqa: E402
from ad_core.runtime.methods import method_configs  # noqa: E402

FOLDS = 5
SHARE = 0.05  # of the abnormal groups below the second line
FIGURES = "AUC out of fold, alarms at the lowest, at 5 %, AUC of the test"


def columns_of(names, methods):
    """Method -> which columns are its own: all but the first begin with their method's name."""
    own = {m: np.array([name.startswith(f"{m}.") for name in names]) for m in methods[1:]}
    return {methods[0]: ~np.any([*own.values(), np.zeros(len(names), bool)], axis=0), **own}


def figures(calibration, test, kept, *, classifier, seeds):
    """The four FIGURES by the columns kept."""
    names, groups = tuple(np.array(calibration.names)[kept]), np.array(calibration.group)
    rows, odd = calibration.values[:, kept], calibration.label == 1

    def make(seed):
        return make_classifier(classifier, seed=seed, names=names)

    found = []
    for seed in range(seeds):
        scores = out_of_fold_scores(
            lambda seed=seed: make(seed), rows, calibration.label, groups, folds=FOLDS, seed=seed
        )
        lowest = np.sort(lowest_of_groups(scores[odd], groups[odd]))
        lines = lowest[0], lowest[int(SHARE * len(lowest))]
        alarms = [np.mean(scores[~odd] >= line) for line in lines]
        found.append([auroc(calibration.label, scores), *alarms])
    model = fit_classifier(make(0), rows, calibration.label, groups=groups)
    return [*np.mean(found, axis=0), auroc(test.label, anomaly_score(model, test.values[:, kept]))]


def compared(workdir, *, classifier, seeds):
    """Row of the table -> its figures."""
    tables = (read_table(workdir / "statistics" / f"{x}.parquet") for x in ("calibration", "test"))
    calibration, test = (select(table, table.readable) for table in tables)
    methods = [*method_configs(from_json((workdir / "config.json").read_text()))]
    if len(methods) < 2:
        sys.exit(f"--workdirs: {workdir} holds one method alone; name runs of several.")
    own = columns_of(calibration.names, methods)
    kept = {"all": np.ones(len(calibration.names), bool)}
    kept |= {f"without {name}": ~columns for name, columns in own.items()}
    return {
        row: figures(calibration, test, columns, classifier=classifier, seeds=seeds)
        for row, columns in kept.items()
    }


def table_of(results):
    """Markdown: a row a workdir, a column for all parts and one for each that is left out."""
    rows = [*next(iter(results.values()))]
    head = " | ".join(f"{name}: {FIGURES if name == 'all' else 'the same'}" for name in rows)
    lines = [f"| run | {head} |", "|" + " --- |" * (len(rows) + 1)]
    mean = {row: np.mean([one[row] for one in results.values()], axis=0) for row in rows}
    for title, one in (results | {"mean": mean}).items():
        cells = (", ".join(f"{100 * x:.1f}" for x in one[row]) for row in rows)
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdirs", nargs="+", required=True, type=Path)
    parser.add_argument("--classifier", default="monotone")
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    results = {}
    for workdir in given.workdirs:
        results[str(workdir)] = compared(workdir, classifier=given.classifier, seeds=given.seeds)
        print(f"{workdir}: done", file=sys.stderr)
    if len({tuple(one) for one in results.values()}) > 1:
        sys.exit("--workdirs: runs of other methods cannot stand in one table.")
    print(table_of(results))


if __name__ == "__main__":
    main()
