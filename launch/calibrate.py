"""Renews classifier and threshold, from the statistics already in the workdir.

python launch/calibrate.py --workdir=runs/mine --config.decision.rule=target_fpr
"""

from absl import flags
from ml_collections import ConfigDict

from ad_core.runtime.command import run
from ad_core.runtime.lock import exclusive
from ad_core.runtime.stop import stop_on_signals
from ad_core.stages.calibrate import recalibrate
from ad_core.stages.job import prepare
from ad_core.stages.messages import announce_calibration, require_workdir

WORKDIR = flags.DEFINE_string("workdir", None, "The workdir of an earlier launch/train.py.")


def main(config: ConfigDict) -> None:
    """Renews WORKDIR/detector; only the section `decision` may differ from before."""
    workdir = require_workdir(WORKDIR.value)
    with exclusive(workdir), stop_on_signals() as stop:
        job = prepare(config, workdir, stop, free=("decision",))
        announce_calibration(job, recalibrate(job))


if __name__ == "__main__":
    run(main)
