"""Without abnormal images: AUC of the score that made-up defects choose, against fixed ones.

    python benchmarks/normals_only.py --data=DIR --workdirs=runs/normals [--sets NAME ...]

DIR holds one folder a set, in the MVTec AD layout, by the names in `real_images.SETS`. Normal
images alone train and calibrate; all abnormal images of the test folder judge, and nothing else. A
run that is finished is not run again. Columns: AUC on the test images, in per cent, of
each score of the method itself, of the classifier `one_class` over all of them, of a logistic
regression that made-up defects teach, and of what these defects chose, without and with the last
among the candidates; then what the choice knew: the share of made-up defects told at false alarms
up to 10 %, in per cent, in the order of the candidates. Prints Markdown.
"""

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # this folder holds a statistics.py

import numpy as np  # noqa: E402

from ad_core.decision import anomaly_score  # noqa: E402
from ad_core.decision.calibration import make_by  # noqa: E402
from ad_core.decision.synthetic import (  # noqa: E402
    candidates_of,
    choose_by_synthetic,
    learn_chosen,
    usable,
)
from ad_core.decision.table import read_table, select  # noqa: E402
from ad_core.metrics import auroc  # noqa: E402
from ad_core.runtime.config import from_json  # noqa: E402
from benchmarks.real_images import SETS, workdir  # noqa: E402

NORMALS_ONLY = (
    "--config.data.protocol=folders",
    "--config.data.calibration.abnormal=0.0",
    "--config.data.calibration.abnormal_of_test=0.0",
    "--config.decision.rule=normal_quantile",
)


def main():
    """Runs what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workdirs", type=Path, required=True)
    parser.add_argument("--method", default="baselines_ad.padim")
    parser.add_argument("--size", default="cpu", choices=("cpu", "accelerator"))
    parser.add_argument("--sets", nargs="+", default=tuple(SETS), choices=tuple(SETS))
    parser.add_argument("--table", action="store_true", help="only print what is there")
    given = parser.parse_args()
    rows = {}
    for name in given.sets:
        path = workdir(given.workdirs, name, "folders", 0)
        if not given.table and not (path / "results.json").exists():
            run(given, name, path)
        if (path / "results.json").exists():
            rows[name] = compare(path)
    print(table(rows))


def run(given, name, path):
    """One main job on the normal images of a set."""
    command = [
        sys.executable,
        str(ROOT / "launch" / "train.py"),
        f"--config={ROOT}/configs/{SETS[name].format(size=given.size)}",
        f"--config.method={given.method}",
        f"--config.data.root={given.data / name}",
        *NORMALS_ONLY,
        f"--workdir={path}",
    ]
    subprocess.run(command, check=True)


def compare(path):
    """Candidate -> (AUC on test, figure on made-up defects); what was chosen without and with it.

    The second choice may weigh statistics too, which is not the default.
    """
    config = from_json((path / "config.json").read_text())
    tables = [read_table(path / "statistics" / f"{split}.parquet") for split in SPLITS]
    normal, made_up, test = (select(table, table.readable) for table in tables)
    made_up, fitting = (
        usable(made_up, normal),
        {"folds": config.decision.folds, "seed": config.seed},
    )

    def make(candidate):
        columns = candidate.columns(normal.names)
        named = partial(make_by, config.decision, candidate.name, seed=config.seed)
        return named(names=normal.names, columns=columns)

    made = partial(choose_by_synthetic, make, normal, made_up, **fitting)
    choice, weighing = made(weigh=False), made(weigh=True)
    found, figures = {}, choice.figures | weighing.figures
    among = [one for weigh in (False, True) for one in candidates_of(normal, weigh=weigh)]
    for candidate in dict.fromkeys(among):
        _, fitted = learn_chosen(make, candidate, normal, made_up, **fitting)
        found[str(candidate)] = (
            float(auroc(test.label, anomaly_score(fitted, test.values))),
            figures[str(candidate)],
        )
    return found, str(choice.chosen), str(weighing.chosen)


SPLITS = ("calibration", "synthetic", "test")


def table(rows):
    """The runs in Markdown, with the means over the sets."""
    names = list(dict.fromkeys(one for found, _, _ in rows.values() for one in found))
    chosen = ["chosen", "AUC", "chosen, with weighing", "AUC"]
    titles = [f"`{name.removeprefix('single of ')}`" for name in names]
    lines = [f"| set | {' | '.join([*titles, *chosen])} | made-up defects told |"]
    lines.append("| --- |" + " --- |" * (len(names) + 5))
    for name, (found, *taken) in rows.items():
        cells = [f"{100 * found[one][0]:.1f}" for one in names]
        for one in taken:
            cells += [one.removeprefix("single of "), f"{100 * found[one][0]:.1f}"]
        told = ", ".join(f"{100 * found[one][1]:.0f}" for one in names)
        lines.append(f"| {name} | {' | '.join([*cells, told])} |")
    means = [np.mean([found[one][0] for found, *_ in rows.values()]) for one in names]
    for k in (0, 1):
        means.append(np.mean([found[taken[k]][0] for found, *taken in rows.values()]))
    *fixed, choose, weigh = (f"{100 * mean:.1f}" for mean in means)
    lines.append(f"| mean | {' | '.join(fixed)} | | {choose} | | {weigh} | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
