"""CycleGAN-AD on real image sets, several seeds each, beside the poster's rows.

    python benchmarks/cyclegan_sets.py --data=DIR --workdirs=runs/cyclegan [--seeds=3]
        [--option=untrained|longer|disc_augment|ema|spectral_norm]

DIR holds one folder a set, in the MVTec AD layout, by the names in SETS. Trains and judges each set
once a seed by the main job under the protocol cyclegan_ad. Both scores come from that one training:
`SSE` is the statistic `sse` alone, with a threshold of its own from the calibration split, `FID`
the statistic `fid`, where --backbone= names Inception's weights; `composite` is the classifier
over all statistics of the configuration. --option= trains otherwise in one respect (see OPTIONS),
with the monitor on, which changes no weight: its last figures are printed too. A run that is
finished is not run again, so the command may be interrupted. Prints Markdown: mean ± population
standard deviation over the seeds, in per cent.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402

from ad_core.decision import fit_threshold  # noqa: E402
from ad_core.decision.table import StatisticsTable, read_table, select  # noqa: E402
from ad_core.metrics import confusion, oracle  # noqa: E402

# Folder -> variant of configs/cyclegan.py.
SETS = {"brain_mri": "brain_mri", "busi": "breast_ultrasound", "mvtec_screw": "screw"}
# Oracle ZFN / ACC / AUC by score SSE, mean of five runs, copied from the poster.
POSTER = {
    "brain_mri": {"256": "84.49 / 86.94 / 91.50", "64": "84.08 / 88.37 / 91.96"},
    "busi": {"256": "85.23 / 89.38 / 92.53", "64": "86.46 / 87.85 / 91.23"},
    "mvtec_screw": {"256": "52.37 / 57.97 / 52.81", "64": "52.03 / 57.63 / 51.31"},
}
# What differs from the recipe. `untrained`: how much the statistics say by themselves.
OPTIONS = {
    "": [],
    "untrained": ["train.steps=4"],
    "longer": ["train.steps=4800"],
    "disc_augment": ["reconstructor.disc_augment=colour,shift,hole"],
    "ema": ["reconstructor.ema=0.995"],
    "spectral_norm": ["reconstructor.spectral_norm=True"],
}
MONITOR = ("change_normal", "change_abnormal", "diversity")
FIGURES = ("zfn", "acc", "auc")
CALIBRATION, TEST = "statistics/calibration.parquet", "statistics/test.parquet"
HEAD = (
    "| set | score | seeds | oracle ZFN | oracle ACC | oracle AUC | "
    "missed, `zfn` | false alarms, `zfn` | test images | min a run |"
)


def main() -> None:
    """Runs what is missing, then prints the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workdirs", type=Path, required=True)
    parser.add_argument("--variant", default="cpu", choices=("cpu", "64", "256"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", default=",".join(SETS), help="some of the sets")
    parser.add_argument("--option", default="", choices=OPTIONS, metavar="NAME")
    parser.add_argument("--backbone", default="", help="Inception's weights, for FID")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    given = parser.parse_args()
    sets = given.sets.split(",")
    for seed in range(given.seeds):
        for name in sets:
            if not given.table:
                run(given, name, seed)
    print(table(given, sets))


def workdir(given: argparse.Namespace, name: str, seed: int) -> Path:
    """Folder of one run."""
    return given.workdirs / "-".join(filter(None, (name, given.option, str(seed))))


def run(given: argparse.Namespace, name: str, seed: int) -> None:
    """One main job, unless it is finished."""
    path = workdir(given, name, seed)
    if (path / "results.json").exists():
        return
    command = [
        sys.executable,
        str(ROOT / "launch" / "train.py"),
        f"--config={ROOT}/configs/cyclegan.py:{SETS[name]},{given.variant}",
        f"--config.data.root={given.data / name}",
        f"--config.seed={seed}",
        f"--workdir={path}",
    ]
    if given.option:
        values = [*OPTIONS[given.option], "reconstructor.monitor=True"]
        command += [f"--config.{value}" for value in values]
    if given.backbone:
        command += [f"--config.statistics.backbone={given.backbone}"]
        command += ["--config.statistics.names=fast,fid"]
    subprocess.run(command, check=True)


def table(given: argparse.Namespace, sets: list[str]) -> str:
    """Rows of a set: SSE, FID where it was computed, composite, and the poster's two.

    With an option, one line of the monitor's figures a set in place of the poster's.
    """
    lines, watched = [HEAD, "|" + " --- |" * 10], []
    for name in sets:
        paths = [workdir(given, name, seed) for seed in range(given.seeds)]
        done = [path for path in paths if (path / "results.json").exists()]
        if done:
            lines.append(row(name, "SSE", [by_one(path, "sse") for path in done], done))
            if all("fid" in read_table(path / CALIBRATION).names for path in done):
                lines.append(row(name, "FID", [by_one(path, "fid") for path in done], done))
            lines.append(row(name, "composite", [by_classifier(path) for path in done], done))
            if given.option:
                watched.append(f"{name}, {given.option}, at the end: {monitored(done)}")
                continue
            for size, figures in POSTER[name].items():
                cells = " | ".join(figures.split(" / "))
                lines.append(f"| {name} | SSE, {size} px, copied | 5 | {cells} | | | | |")
    return "\n".join([*lines, "", *watched])


def monitored(paths: list[Path]) -> str:
    """Mean of the monitor's figures over the last fifth of the rows of metrics."""
    rows = []
    for path in paths:
        lines = (path / "metrics.jsonl").read_text().splitlines()
        rows += [json.loads(line) for line in lines[-max(1, len(lines) // 5) :]]
    means = {name: np.mean([row[name] for row in rows]) for name in MONITOR}
    return ", ".join(f"{name} {value:.3f}" for name, value in means.items())


def by_one(path: Path, name: str) -> dict[str, float]:
    """Figures of one statistic alone; the rule zfn from the calibration images."""
    calibration, test = (read_table(path / split) for split in (CALIBRATION, TEST))
    calibration, test = (select(table, table.readable) for table in (calibration, test))
    fitted, scores = (column(table, name) for table in (calibration, test))
    threshold = fit_threshold("zfn", fitted, calibration.label, split="calibration")
    found = confusion(test.label, threshold.flags(scores))
    return {**oracle(test.label, scores), "tpr": found["tpr"], "fpr": found["fpr"]}


def column(table: StatisticsTable, name: str) -> np.ndarray:
    """The statistic of that name."""
    return table.values[:, table.names.index(name)].astype(np.float64)


def by_classifier(path: Path) -> dict[str, float]:
    """Figures of the detector itself."""
    results = json.loads((path / "results.json").read_text())
    rule = results["held_out"]["zfn"]
    return {**results["oracle"], "tpr": rule["tpr"], "fpr": rule["fpr"]}


def row(name: str, score: str, figures: list[dict[str, float]], paths: list[Path]) -> str:
    """One line of the table."""
    results = [json.loads((path / "results.json").read_text()) for path in paths]
    counts = results[0]["counts"]["test"]
    seconds = [sum(stage["seconds"] for stage in r["timing"].values()) for r in results]
    cells = [
        name,
        score,
        str(len(figures)),
        *(percent([f[figure] for f in figures]) for figure in FIGURES),
        percent([1 - f["tpr"] for f in figures]),
        percent([f["fpr"] for f in figures]),
        f"{counts['normal']} + {counts['abnormal']}",
        f"{np.mean(seconds) / 60:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def percent(values: list[float]) -> str:
    """Mean ± population standard deviation."""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"


if __name__ == "__main__":
    main()
