"""Groups of statistics, each deciding alone, from tables that the main job wrote.

    python benchmarks/statistic_groups.py --workdirs=runs/real [--classifier=extra_trees]

Reads WORKDIRS/<set>-<protocol>-<seed>/statistics/{calibration,test}.parquet, as
benchmarks/real_images.py leaves them with `statistics.names` at "all", and decides anew from the
columns of each group. Nothing is trained. Prints Markdown, mean ± population standard deviation
over the seeds, in per cent:

- calibration AUC and FPR at TPR 1: out-of-fold on the calibration split, by which a default may be
  chosen, as the test split has no part in them;
- oracle: thresholds chosen on the test split;
- zfn: its threshold from calibration, judged on the test split.
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from ad_core.backbones import network_of
from ad_core.decision import anomaly_score, important_statistics
from ad_core.decision.calibration import calibrate
from ad_core.decision.table import StatisticsTable, read_table
from ad_core.metrics import confusion, oracle
from ad_core.runtime.defaults import defaults
from ad_core.statistics import Available, names

GROUPS = (
    *("first", "pixel", "window", "loss", "fast", "deep"),
    *("first and deep", "fast and deep", "all but deep", "all"),
)
FIGURES = (
    "calibration AUC",
    "calibration FPR at TPR 1",
    "oracle AUC",
    "oracle ZFN",
    "oracle FPR at TPR 1",
    "missed, `zfn`",
    "false alarms, `zfn`",
)


def main() -> None:
    """Prints a table a protocol, then the heaviest statistics of each set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdirs", type=Path, required=True)
    parser.add_argument("--classifier", default="extra_trees")
    given = parser.parse_args()
    found, weights = measure(given.workdirs, given.classifier)
    for protocol in sorted({protocol for _, protocol, _ in found}):
        print(f"\n`{protocol}`\n\n{table(found, protocol)}")
    print(f"\n{heaviest(weights)}")


def measure(root: Path, classifier: str) -> tuple[dict, dict]:
    """(set, protocol, group) -> figures of each seed; set -> summed weight of each statistic."""
    found, weights = defaultdict(list), defaultdict(lambda: defaultdict(float))
    for workdir in sorted(root.iterdir()):
        place = re.fullmatch(r"(\w+)-(\w+)-(\d+)", workdir.name)
        paths = [workdir / "statistics" / f"{s}.parquet" for s in ("calibration", "test")]
        if place is None or not all(path.exists() for path in paths):
            continue
        name, protocol, seed = place.groups()
        calibration, test = map(read_table, paths)
        for group in GROUPS:
            columns = columns_of(group, calibration.names)
            if not columns:
                continue
            figures, heavy = judge(
                narrow(calibration, columns), narrow(test, columns), classifier, int(seed)
            )
            found[name, protocol, group].append(figures)
            if group == "all":
                for statistic, weight in heavy:
                    weights[name][statistic] += weight
    return found, weights


def columns_of(group: str, present: tuple[str, ...]) -> tuple[str, ...]:
    """The statistics of a group that a table holds, or of groups joined by "and".

    "first" are those of the first release. None where the table has no statistics of a backbone
    and the group asks for some.
    """
    available = everything(present)
    deep = set(names("deep", available=available))
    if "deep" in group and not deep:
        return ()
    if group == "all":
        return present
    if group == "all but deep":
        return tuple(name for name in present if name not in deep)
    chosen = set()
    for part in group.split(" and "):
        chosen.update(names("default" if part == "first" else part, available=available))
    if "deep" not in group:
        chosen -= deep
    return tuple(name for name in present if name in chosen)


def everything(present: tuple[str, ...]) -> Available:
    """Quantities that a table's columns may have needed."""
    losses = tuple(n.removeprefix("loss_") for n in present if re.fullmatch(r"loss_\w+", n))
    maps = tuple(re.sub(r"_map_\w+$", "", name) for name in losses)
    backbones = (re.fullmatch(r"deep_(\w+)_fid", name) for name in present)
    return Available(
        losses,
        (*maps, "codes"),
        context=("normal_mask", "code_log_prob", "residual_levels"),
        backbone={found[1]: network_of(found[1]) for found in backbones if found},
    )


def narrow(whole: StatisticsTable, columns: tuple[str, ...]) -> StatisticsTable:
    """The table with these columns alone."""
    kept = [whole.names.index(name) for name in columns]
    return whole._replace(names=columns, values=whole.values[:, kept])


def judge(
    calibration: StatisticsTable, test: StatisticsTable, classifier: str, seed: int
) -> tuple[list[float], list[tuple[str, float]]]:
    """FIGURES of one workdir, and the weight of each statistic."""
    decision = defaults("cpu").decision
    decision.classifier, decision.rules = classifier, ("zfn",)
    decided = calibrate(calibration, decision, split="calibration", seed=seed)
    own = oracle(calibration.label[calibration.readable], decided.scores)
    rows = test.readable
    labels, scores = test.label[rows], anomaly_score(decided.classifier, test.values[rows])
    best = oracle(labels, scores)
    rates = confusion(labels, decided.thresholds["zfn"].flags(scores))
    figures = [own["auc"], own["fpr_at_tpr1"], best["auc"], best["zfn"], best["fpr_at_tpr1"]]
    normals = calibration.values[calibration.readable & (calibration.label == 0)]
    weights = important_statistics(decided.classifier, calibration.names, normals)
    return [*figures, 1 - rates["tpr"], rates["fpr"]], weights


def table(found: dict, protocol: str) -> str:
    """A row a set and group, then a row a group over all sets."""
    head = ("set", "group", "seeds", *FIGURES)
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    sets = sorted({name for name, p, _ in found if p == protocol})
    shown = [g for g in GROUPS if all((name, protocol, g) in found for name in sets)]
    for name in sets:
        for group in shown:
            seeds = np.array(found[name, protocol, group])
            cells = [f"{100 * m:.1f} ± {100 * s:.1f}" for m, s in zip(*moments(seeds), strict=True)]
            lines.append(f"| {name} | {group} | {len(seeds)} | " + " | ".join(cells) + " |")
    for group in shown:
        means = np.array([moments(np.array(found[name, protocol, group]))[0] for name in sets])
        cells = [f"{100 * mean:.1f}" for mean in means.mean(axis=0)]
        lines.append(f"| mean of sets | {group} | | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def moments(seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation of each figure."""
    return seeds.mean(axis=0), seeds.std(axis=0)


def heaviest(weights: dict, count: int = 8) -> str:
    """The statistics of largest mean weight, by set."""
    lines = ["| set | statistics that weigh most, share of the weight |", "| --- | --- |"]
    for name, by_name in sorted(weights.items()):
        total = sum(by_name.values())
        order = sorted(by_name, key=lambda statistic: -by_name[statistic])[:count]
        told = ", ".join(f"`{s}` {100 * by_name[s] / total:.1f} %" for s in order)
        lines.append(f"| {name} | {told} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
