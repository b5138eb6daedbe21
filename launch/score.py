"""Batch scoring: one image, a folder or a table of images to scores, decisions and maps.

    python launch/score.py --detector=runs/mine/detector --input=DIR --output=scored --maps

Every image gets a row. One that cannot be read is to be inspected, what is no image is told by
name, and either makes the status 3. The same command goes on where it was stopped or killed.
"""

from pathlib import Path

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


def main(_: None) -> int:
    """Scores the input; the status is 0, or 3 where a file was no image or could not be read."""
    detector, given, output = (_path(flag) for flag in (DETECTOR, INPUT, OUTPUT))
    from ad_core.runtime.compilation import compilation_cache
    from ad_core.runtime.stop import stop_on_signals
    from ad_core.scoring.engines.local import score_files
    from ad_core.scoring.verdict import ALL
    from ad_core.stages.messages import announce_scores

    compilation_cache()
    with stop_on_signals() as stop:
        summary = score_files(
            detector,
            given,
            output,
            maps=MAPS.value,
            explain={"inspected": True, "all": ALL, "none": False}[EXPLAIN.value],
            batch_size=BATCH_SIZE.value,
            workers=WORKERS.value,
            stop=stop,
        )
    announce_scores(output, summary)
    return 3 if summary["counts"]["error"] or summary["left_out"] else 0


def _path(flag: flags.FlagHolder[str | None]) -> Path:
    if not flag.value:
        raise UserError(f"`--{flag.name}` is missing; see --help.")
    return Path(flag.value)


if __name__ == "__main__":
    run(main, needs_config=False)
