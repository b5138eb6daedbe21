"""The main job: trains (or resumes), calibrates, evaluates and writes the report.

    python launch/train.py PHOTOS
    python launch/train.py --config=configs/folder.py --config.data.root=DIR --workdir=runs/mine

PHOTOS is a folder (ok/ and nok/, MVTec's layout, normal images alone) or a table of images: what
is chosen for it is printed. The same command on the same workdir resumes.

Several processes train together where srun starts them, on a TPU slice, or by three flags:

    python launch/train.py ... --coordinator=HOST:PORT --processes=4 --process=0     (to 3)
"""

import sys

from absl import flags
from ml_collections import ConfigDict

from ad_core.runtime.command import require_workdir, run

WORKDIR = flags.DEFINE_string("workdir", None, "Folder for everything that this run writes.")
UNTIL = flags.DEFINE_enum(
    "until", "evaluate", ["train", "calibrate", "evaluate"], "The last stage to run."
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of the first of the processes.")
PROCESSES = flags.DEFINE_integer("processes", None, "Number of processes.", lower_bound=1)
PROCESS = flags.DEFINE_integer("process", None, "Number of this one, from 0.", lower_bound=0)


def first(argv: list[str]) -> list[str] | None:
    """PHOTOS as a whole command; nothing for a run that is finished."""
    from ad_core.stages.finished import tell_finished

    if tell_finished(argv):
        return None
    from ad_core.runtime.processes import join

    join(argv)  # before a recipe asks which devices there are
    from ad_core.stages.photos import train_arguments

    return train_arguments(argv)


def main(config: ConfigDict) -> None:
    """Runs the stages up to --until."""
    workdir = require_workdir(WORKDIR.value)
    from ad_core.stages.main_job import run_main_job

    run_main_job(config, workdir, until=UNTIL.value, argv=sys.argv)


if __name__ == "__main__":
    run(main, first=first)
