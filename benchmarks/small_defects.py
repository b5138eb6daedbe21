"""Defects of a few pixels on made-up boards of many: GanoDIP, a plain VQGAN, the default by tiles.

    python benchmarks/small_defects.py --workdirs=runs/small_defects [--side=2048 --normal=60] \
        [--abnormal=30 --steps=300] [--only=tiles,vqgan] [-- --config.KEY=VALUE ...]

Draws boards of one family at --side pixels, once. On a part of them lies a drop of tin, a pit or a
scratch of 8 to 16 of those pixels, with its mask: half of the abnormal boards calibrate, and half
are tested with a third of the normal ones. Then it runs the main job by each way to look and prints
Markdown, in per cent: AUC, what the rule zfn misses and inspects in vain, AUPRO, and the minutes of
a run. A run that is finished is not run again. Overrides behind -- go to every run.
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
from PIL import Image, ImageDraw  # noqa: E402

from ad_core.data.phantoms import pcba  # noqa: E402

KINDS = ("drop", "pit", "scratch")
FAMILIES = 3  # boards take the families in turns
SMALLEST, LARGEST = 8, 16  # pixels of the longer side of a defect
SEEN_WHOLE = 256  # side in pixels of what a method sees that is shown a whole board
FINE = "baselines_ad.patchcore,baselines_ad.features"
# Way -> variant of configs/pcba.py, and flags; {side} is that of a board.
WAYS = {
    "GanoDIP": ("ganodip", ["--config.data.image_size={side}"]),
    "VQGAN, whole": (
        "",
        [f"--config.data.image_size={SEEN_WHOLE}", "--config.method=vqgan_ad.vqgan"],
    ),
    "default, whole": ("", [f"--config.data.image_size={SEEN_WHOLE}"]),
    "memories, tiles": (
        "",
        ["--config.data.image_size={side}", "--config.tiling.tile=256", f"--config.method={FINE}"],
    ),
}


def main() -> None:
    """Draws the boards, runs what is missing, and prints the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdirs", type=Path, required=True)
    parser.add_argument("--side", type=int, default=2048, help="pixels of a board")
    parser.add_argument("--normal", type=int, default=60)
    parser.add_argument("--abnormal", type=int, default=30)
    parser.add_argument("--steps", type=int, default=300, help="of what trains step by step")
    parser.add_argument("--size", default="cpu", choices=("cpu", "accelerator"))
    parser.add_argument("--only", default="", help="parts of the names of ways, joined by commas")
    parser.add_argument("overrides", nargs="*", help="--config.KEY=VALUE of every run, behind --")
    given = parser.parse_args()
    boards = given.workdirs / f"boards_{given.side}_{given.normal}_{given.abnormal}"
    if not boards.exists():
        write(boards, side=given.side, normal=given.normal, abnormal=given.abnormal)
    print("| way | AUC | missed, `zfn` | false alarms, `zfn` | AUPRO | min a run |")
    print("|" + " --- |" * 6)
    wanted = [part.lower() for part in given.only.split(",")]
    for number, (way, flags) in enumerate(WAYS.items()):
        if any(part in way.lower() for part in wanted):
            print(row(way, run(given, boards, number, *flags)), flush=True)


def write(folder: Path, *, side: int, normal: int, abnormal: int) -> None:
    """Boards in the layout of a folder, whole or not at all."""
    partial = folder.with_name(f"{folder.name}.part")
    for number in range(normal + abnormal):
        board, _ = pcba.draw((0, number * FAMILIES), 0, size=side, defect=None)
        picture = Image.fromarray(np.rint((board + 1) * 127.5).astype(np.uint8))
        if number < normal:
            save(picture, partial / ("test" if number % 3 == 2 else "train") / "good", number)
            continue
        kind = KINDS[number % len(KINDS)]
        mask = spoil(picture, kind, np.random.default_rng((7, number)))
        split, truth = ("train", "_train") if number % 2 else ("test", "")
        save(picture, partial / split / kind, number)
        save(mask, partial / f"ground_truth{truth}" / kind, f"{number:03d}_mask")
    partial.rename(folder)


def save(picture: Image.Image, folder: Path, name: int | str) -> None:
    """A PNG file of a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    name = name if isinstance(name, str) else f"{name:03d}"
    picture.save(folder / f"{name}.png", compress_level=1)


def spoil(picture: Image.Image, kind: str, rng: np.random.Generator) -> Image.Image:
    """Draws a defect of a kind anywhere; the mask of the pixels that it changed."""
    before = np.asarray(picture).copy()
    length = int(rng.integers(SMALLEST, LARGEST + 1))
    x, y = (int(rng.integers(0, side - LARGEST)) for side in picture.size)
    draw = ImageDraw.Draw(picture)
    if kind == "scratch":
        across = rng.random() < 0.5
        end = (x + length - 1, y + 3) if across else (x + 3, y + length - 1)
        draw.line((x, y, *end), fill=(220, 225, 225), width=2)
    else:
        light = (205, 207, 210) if kind == "drop" else (18, 22, 20)
        draw.ellipse((x, y, x + length - 1, y + length - 1), fill=light)
    changed = (np.asarray(picture) != before).any(axis=-1)
    return Image.fromarray(changed)


def run(given: argparse.Namespace, boards: Path, number: int, variant: str, flags: list) -> dict:
    """Figures of one main job, which is run unless it is finished."""
    workdir = given.workdirs / f"{boards.name}_{number}"
    if not (workdir / "results.json").exists():
        command = [
            sys.executable,
            str(ROOT / "launch" / "train.py"),
            f"--config={ROOT}/configs/pcba.py:{','.join(filter(None, [variant, given.size]))}",
            "--config.data.source=ad_core.data.layouts.folder",
            "--config.data.protocol=folders",
            f"--config.data.root={boards}",
            f"--config.train.steps={given.steps}",
            f"--workdir={workdir}",
            *(flag.format(side=given.side) for flag in flags),
            *given.overrides,
        ]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return json.loads((workdir / "results.json").read_text())


def row(way: str, results: dict) -> str:
    """The figures of one way, as a row of the table."""
    rule = results["held_out"]["zfn"]
    shares = [results["oracle"]["auc"], 1 - rule["tpr"], rule["fpr"], results["pixel"]["aupro"]]
    minutes = sum(stage["seconds"] for stage in results["timing"].values()) / 60
    return " | ".join([f"| {way}", *(f"{100 * x:.1f}" for x in shares), f"{minutes:.1f} |"])


if __name__ == "__main__":
    main()
