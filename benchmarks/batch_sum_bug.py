"""The poster's PaDiM and PatchCore columns: what becomes of scores if a batch shares its sum.

    python benchmarks/batch_sum_bug.py --workdirs RUN RUN [--statistic=loss_distance_map_mean]

RUN is a finished run of PaDiM or PatchCore, such as a cell of launch/benchmark.py; several are of
one set. The published code scored each image by the sum of the anomaly maps of its whole batch, of
images of one class (16, the last batch what remained). The mean of an image's map is the statistic
`loss_distance_map_mean`, so that sums of it over a batch are those sums but for a factor. Prints
Markdown, mean ± population standard deviation over the runs: the same test images by their own
scores and by the sums of their batches, and what to expect of sums where every full batch of
abnormal images lies above every batch of normal ones: with n > 16 images of each class and r in the
last batch, ZFN (n + r) / 2n, ACC (2n - r) / 2n, AUC ((n - r) n + r^2) / n^2.
"""

import argparse
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402

from ad_core.decision.table import read_table, select  # noqa: E402
from ad_core.metrics import oracle  # noqa: E402

BATCH = 16
FIGURES = ("zfn", "acc", "auc")
OWN_SCORE = "loss_score"  # the largest value of the map, as the paper of PaDiM has it


def main():
    """Prints the table of the runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdirs", type=Path, nargs="+", required=True)
    parser.add_argument("--statistic", default="loss_distance_map_mean")
    given = parser.parse_args()
    tables = [read_table(path / "statistics" / "test.parquet") for path in given.workdirs]
    found = [compare(select(table, table.readable), given.statistic) for table in tables]
    print("| score | oracle ZFN | oracle ACC | oracle AUC |\n| --- | --- | --- | --- |")
    for words in found[0]:
        values = [[100 * rows[words][name] for rows in found if words in rows] for name in FIGURES]
        cells = " | ".join(f"{np.mean(own):.2f} ± {np.std(own):.2f}" for own in values)
        print(f"| {words} | {cells} |")


def compare(table, statistic):
    """Figures of the paper's score, of the map's mean, of sums over batches; the expected ones."""
    normal, abnormal = (int((table.label == kind).sum()) for kind in (0, 1))
    means = column(table, statistic)
    rows = {
        f"{OWN_SCORE}, each image by itself": oracle(table.label, column(table, OWN_SCORE)),
        f"{statistic}, each image by itself": oracle(table.label, means),
        f"the same, summed over batches of {BATCH}": oracle(
            table.label, batch_sums(table.label, means)
        ),
    }
    if normal == abnormal:
        words = f"expected of sums, {normal} + {abnormal} images, if batches separate"
        rows[words] = expected(normal)
    return rows


def column(table, name):
    """A statistic of the table."""
    return table.values[:, table.names.index(name)].astype(np.float64)


def batch_sums(labels, scores, *, batch=BATCH):
    """Sum over the batch of each image, where batches are of one class, in the order given."""
    sums = np.empty(len(scores))
    for kind in np.unique(labels):
        rows = np.flatnonzero(labels == kind)
        for start in range(0, len(rows), batch):
            own = rows[start : start + batch]
            sums[own] = scores[own].sum()
    return sums


def expected(count, *, batch=BATCH):
    """Oracle figures of sums if every full abnormal batch lies above every normal one.

    The last abnormal batch, of r images, then lies below the full normal ones, and above the last
    normal one. Without a full batch, or without a last one that is not, nothing lies wrong.
    """
    rest = count % batch
    if not rest or count < batch:
        return dict.fromkeys(FIGURES, 1.0)
    return {
        "zfn": (count + rest) / (2 * count),
        "acc": (2 * count - rest) / (2 * count),
        "auc": ((count - rest) * count + rest**2) / count**2,
    }


if __name__ == "__main__":
    main()
