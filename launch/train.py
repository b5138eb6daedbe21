"""The main job: trains (or resumes), calibrates, evaluates and writes the report.

    python launch/train.py --config=configs/folder.py --config.data.root=DIR --workdir=runs/mine

The same command on the same workdir resumes.
"""

from absl import flags
from ml_collections import ConfigDict

from ad_core.runtime.command import run
from ad_core.runtime.compilation import compilation_cache
from ad_core.runtime.lock import exclusive
from ad_core.runtime.stop import stop_on_signals
from ad_core.stages.calibrate import run_calibration
from ad_core.stages.evaluate import run_evaluation
from ad_core.stages.job import prepare
from ad_core.stages.messages import (
    announce,
    announce_calibration,
    announce_results,
    require_workdir,
)
from ad_core.stages.train import run_training

WORKDIR = flags.DEFINE_string("workdir", None, "Folder for everything that this run writes.")
UNTIL = flags.DEFINE_enum(
    "until", "evaluate", ["train", "calibrate", "evaluate"], "The last stage to run."
)


def main(config: ConfigDict) -> None:
    """Runs the stages up to --until."""
    workdir = require_workdir(WORKDIR.value)
    compilation_cache()
    with exclusive(workdir), stop_on_signals() as stop:
        job = prepare(config, workdir, stop)
        announce(job)
        learnt = run_training(job)
        if UNTIL.value != "train":
            calibration = run_calibration(job, learnt)
            announce_calibration(job, calibration)
        if UNTIL.value == "evaluate":
            announce_results(job, run_evaluation(job))


if __name__ == "__main__":
    run(main)
