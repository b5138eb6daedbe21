"""The main job on real image sets, several seeds each: oracle and held-out figures as a table.

    python benchmarks/real_images.py --data=DIR --workdirs=runs/real [--size=cpu] [--seeds=3]
    python benchmarks/real_images.py --data=DIR --workdirs=runs/padim --sets=mvtec_screw \
        --protocols=folders -- --config.method=baselines_ad.padim --config.data.image_size=224

DIR holds one folder a set, in the MVTec AD layout, by the names in SETS. Overrides behind -- go to
every run. A run that is finished is not run again, so the command may be interrupted. Prints
Markdown: mean ± population standard deviation over the seeds, in per cent.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SETS = {
    "brain_mri": "brain_mri.py:{size}",
    "busi": "breast_ultrasound.py:{size}",
    "mvtec_transistor": "mvtec.py:transistor,{size}",
    "magnetic_tile": "magnetic_tile.py:{size}",
    "mvtec_screw": "mvtec.py:screw,{size}",
    "retina_oct": "retina_oct.py:{size}",
    "alien_toys": "folder.py:{size}",
    "elpv": "folder.py:{size}",
    "pcb_real": "folder.py:{size}",
    "deeppcb": "pcb.py:{size}",
}
USUAL = ("brain_mri", "busi", "mvtec_transistor", "magnetic_tile")
PROTOCOLS = ("cyclegan_ad", "folders")
ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Runs what is missing, then prints the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workdirs", type=Path, required=True)
    parser.add_argument("--size", default="cpu", choices=("cpu", "accelerator"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--sets", nargs="+", default=USUAL, choices=tuple(SETS))
    parser.add_argument("--protocols", nargs="+", default=PROTOCOLS, choices=PROTOCOLS)
    parser.add_argument("overrides", nargs="*", help="--config.KEY=VALUE of every run, behind --")
    given = parser.parse_args()
    for name in given.sets:
        for protocol in given.protocols:
            for seed in range(given.seeds):
                if not given.table:
                    run(given, name, protocol, seed)
    print(table(given.workdirs, given.sets, given.seeds))


def workdir(root: Path, name: str, protocol: str, seed: int) -> Path:
    """Folder of one run."""
    return root / f"{name}-{protocol}-{seed}"


def run(given: argparse.Namespace, name: str, protocol: str, seed: int) -> None:
    """One main job, unless it is finished."""
    path = workdir(given.workdirs, name, protocol, seed)
    if (path / "results.json").exists():
        return
    command = [
        sys.executable,
        str(ROOT / "launch" / "train.py"),
        f"--config={ROOT}/configs/{SETS[name].format(size=given.size)}",
        f"--config.data.root={given.data / name}",
        f"--config.data.protocol={protocol}",
        f"--config.seed={seed}",
        f"--workdir={path}",
        *given.overrides,
    ]
    subprocess.run(command, check=True)


def table(root: Path, sets: Sequence[str], seeds: int) -> str:
    """A row a set and protocol."""
    head = (
        "| set | protocol | seeds | oracle ZFN | oracle ACC | oracle AUC | "
        "missed, `zfn` | false alarms, `zfn` | promised at most | pixel AUROC | min a run |"
    )
    lines = [head, "|" + " --- |" * 11]
    for name in sets:
        for protocol in PROTOCOLS:
            paths = (workdir(root, name, protocol, s) / "results.json" for s in range(seeds))
            results = [json.loads(path.read_text()) for path in paths if path.exists()]
            if results:
                lines.append(row(name, protocol, results))
    return "\n".join(lines)


def row(name: str, protocol: str, results: list[dict]) -> str:
    """The figures of one set under one protocol."""
    rules = [result["held_out"]["zfn"] for result in results]
    cells = [
        name,
        f"`{protocol}`",
        str(len(results)),
        *(percent([r["oracle"][figure] for r in results]) for figure in ("zfn", "acc", "auc")),
        percent([1 - rule["tpr"] for rule in rules]),
        percent([rule["fpr"] for rule in rules]),
        percent([rule["guarantee"]["miss_rate_bound"] for rule in rules]),
        percent([r["pixel"]["auroc"] for r in results]) if results[0]["pixel"] else "no masks",
        f"{np.mean([sum(t['seconds'] for t in r['timing'].values()) for r in results]) / 60:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def percent(values: list[float]) -> str:
    """Mean ± population standard deviation."""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"


if __name__ == "__main__":
    main()
