"""FullSensitivityClassifier's defaults against their neighbours, on statistics of phantoms.

    python benchmarks/network_defaults.py --workdirs=DIR [DIR ...]

DIR are workdirs of recipes' phantoms (configs/retina_oct.py, surface.py, pcba.py and
fpet_sinogram.py, each `:phantom`): no real image chooses a default that real images then judge.
Calibration and test rows together, thinned to --normal and --abnormal; 2 x 5-fold cross-validation
as in decision_table.py. Prints Markdown: mean FPR at TPR 1 and AUC of the held-out folds, in per
cent.
"""

import argparse
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402

from ad_core.decision.classifiers.cleaning import CleanTable  # noqa: E402
from ad_core.decision.classifiers.full_sensitivity import FullSensitivityClassifier  # noqa: E402
from ad_core.decision.table import read_table  # noqa: E402
from benchmarks import decision_table  # noqa: E402

REPEATS = 2
LOSSES = ("wmw", "bottom_push", "pauc_tpr", "pauc_kl", "two_way_kl", "bce")
NEIGHBOURS = [
    {},
    *({"hidden": hidden} for hidden in ((), (16,), (32, 32))),
    *({"loss": loss} for loss in LOSSES),
    *({"loss": loss, "loss_options": {"gamma": 0.1}} for loss in ("two_way", "wmw")),
]


class Unsquashed(FullSensitivityClassifier):
    """Columns standardised alone, without arcsinh."""

    def _squashed(self, table):
        return table


def thinned(workdir, normal, abnormal):
    """Table, labels and groups of so many rows of each kind, drawn with one seed."""
    tables = [
        read_table(workdir / f"statistics/{part}.parquet") for part in ("calibration", "test")
    ]
    labels = np.concatenate([table.label for table in tables])
    rng = np.random.default_rng(0)
    counts = enumerate((normal, abnormal))
    rows = [rng.permutation(np.flatnonzero(labels == kind))[:count] for kind, count in counts]
    kept = np.concatenate(rows)
    values = np.concatenate([table.values for table in tables])
    return values[kept], labels[kept], np.arange(kept.size)


def main():
    """Prints a line a setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdirs", type=Path, nargs="+", required=True)
    parser.add_argument("--normal", type=int, default=120)
    parser.add_argument("--abnormal", type=int, default=40)
    given = parser.parse_args()
    data = [thinned(workdir, given.normal, given.abnormal) for workdir in given.workdirs]
    names = [workdir.name for workdir in given.workdirs]
    print(f"| settings | {' | '.join(names)} | mean |\n|{' --- |' * (len(names) + 2)}")
    networks = [FullSensitivityClassifier(**options) for options in NEIGHBOURS]
    rows = {str(network)[len("FullSensitivityClassifier") :]: network for network in networks}
    for name, network in {**rows, "() without arcsinh": Unsquashed()}.items():
        print(row(name, [decision_table.judged(maker(network), *one, REPEATS) for one in data]))


def maker(network):
    """Maker of a pipeline: each fold fits a copy behind cleaning; the seed is the network's."""
    return lambda seed: make_pipeline(CleanTable(), clone(network))


def row(name, found):
    """FPR at TPR 1 / AUC of each set, then their means."""
    pairs = [
        [100 * np.mean([fold[figure] for fold in folds]) for figure in ("fpr_at_tpr1", "auc")]
        for folds in found
    ]
    cells = [f"{fpr:.1f} / {auc:.1f}" for fpr, auc in [*pairs, np.mean(pairs, axis=0)]]
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
