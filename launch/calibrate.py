"""Classifier and threshold again, from the statistics already in the workdir.

python launch/calibrate.py --workdir=runs/mine --config.decision.rule=target_fpr
"""

from absl import flags
from ml_collections import ConfigDict

from ad_core.command import run
from ad_core.job import prepare, recalibrate
from ad_core.messages import announce_calibration, require_workdir
from ad_core.training.lock import exclusive
from ad_core.training.stop import stop_on_signals

WORKDIR = flags.DEFINE_string("workdir", None, "The workdir of an earlier launch/train.py.")


def main(config: ConfigDict) -> None:
    """Renews WORKDIR/detector; only the section `decision` may differ from before."""
    workdir = require_workdir(WORKDIR.value)
    with exclusive(workdir), stop_on_signals() as stop:
        job = prepare(config, workdir, stop, free=("decision",))
        announce_calibration(job, recalibrate(job))


if __name__ == "__main__":
    run(main)
