"""Batch scoring: one image, a folder or a table of images to scores, decisions and maps.

    python launch/score.py --detector=runs/mine/detector --input=DIR --output=scored --maps

Every image gets a row. One that cannot be read is to be inspected, what is no image is told by
name, and either makes the status 3. The same command goes on where it was stopped or killed.

On many machines that share a folder, by any launcher, then once at the end; or by Ray:

    python launch/score.py ... --shards=64 --shard=0     (to 63; an array of SLURM or Kubernetes
                                                          sets --shard itself)
    python launch/score.py ... --merge
    python launch/score.py ... --engine=ray --address=auto
"""

from pathlib import Path
from typing import Any

from absl import flags

from ad_core.errors import UserError
from ad_core.runtime.command import run

DETECTOR = flags.DEFINE_string("detector", None, "The `detector` folder of a workdir.")
INPUT = flags.DEFINE_string(
    "input", None, "An image, a folder of images, a table with a column `path`, or tfds:NAME."
)
OUTPUT = flags.DEFINE_string("output", None, "Folder for scores.csv and the rest.")
MAPS = flags.DEFINE_bool("maps", False, "Also write an anomaly map for each image.")
EXPLAIN = flags.DEFINE_enum(
    "explain",
    "inspected",
    ["inspected", "all", "none"],
    "Which rows get reasons; explaining takes longer than deciding.",
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    32,
    "Images that are read, measured and written together. An accelerator measures them in one "
    "call, a CPU one by one on several threads.",
    lower_bound=1,
)
WORKERS = flags.DEFINE_integer("workers", 2, "Threads that decode images.", lower_bound=1)
ENGINE = flags.DEFINE_enum("engine", "local", ["local", "ray"], "What shares out the work.")
ADDRESS = flags.DEFINE_string("address", None, "Of a Ray cluster; without it, of this machine.")
ACTORS = flags.DEFINE_integer(
    "actors", None, "Processes of Ray; default: one a GPU, else one a machine.", lower_bound=1
)
SHARDS = flags.DEFINE_integer(
    "shards", None, "Parts into which the images are divided, for many processes.", lower_bound=1
)
SHARD = flags.DEFINE_string(
    "shard", None, "The part, or parts with commas, that this process scores; from 0."
)
MERGE = flags.DEFINE_bool("merge", False, "Make the tables of a lot whose shards are all finished.")


def main(_: None) -> int:
    """Scores the input; the status is 0, or 3 where a file was no image or could not be read.

    Of some shards it is 0: the merge tells of all.
    """
    paths = [_path(flag) for flag in (DETECTOR, INPUT, OUTPUT)]
    from ad_core.runtime.compilation import compilation_cache
    from ad_core.runtime.stop import stop_on_signals
    from ad_core.scoring.engines.choice import score
    from ad_core.scoring.verdict import ALL
    from ad_core.stages.messages import announce_scores, announce_shards

    compilation_cache()
    options: dict[str, Any] = {
        "maps": MAPS.value,
        "explain": {"inspected": True, "all": ALL, "none": False}[EXPLAIN.value],
        "batch_size": BATCH_SIZE.value,
        "workers": WORKERS.value,
    }
    ray = {"address": ADDRESS.value, "actors": ACTORS.value} if ENGINE.value == "ray" else None
    parts = {"shards": SHARDS.value, "shard": SHARD.value, "merge": MERGE.value}
    with stop_on_signals() as stop:
        summary = score(*paths, ray=ray, stop=stop, **parts, **options)
    if "counts" not in summary:
        announce_shards(paths[-1], summary)
        return 0
    announce_scores(paths[-1], summary)
    return 3 if summary["counts"]["error"] or summary["left_out"] else 0


def _path(flag: flags.FlagHolder[str | None]) -> Path:
    if not flag.value:
        raise UserError(f"`--{flag.name}` is missing; see --help.")
    return Path(flag.value)


if __name__ == "__main__":
    run(main, needs_config=False)
