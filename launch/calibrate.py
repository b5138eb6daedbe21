"""Renews classifier and threshold, from the statistics already in the workdir.

python launch/calibrate.py --workdir=runs/mine --config.decision.rule=target_fpr
python launch/calibrate.py --workdir=runs/mine --review
python launch/calibrate.py --workdir=runs/mine --leave_out=IMAGE --who=NAME --why=REASON
"""

from absl import flags
from ml_collections import ConfigDict

from ad_core.runtime.command import run
from ad_core.runtime.lock import exclusive
from ad_core.runtime.stop import stop_on_signals
from ad_core.stages.calibrate import log_left_out, recalibrate, review_lowest
from ad_core.stages.job import prepare
from ad_core.stages.messages import announce_calibration, announce_lowest, require_workdir

WORKDIR = flags.DEFINE_string("workdir", None, "The workdir of an earlier launch/train.py.")
REVIEW = flags.DEFINE_bool("review", False, "Names the abnormal images that set the price.")
LEAVE_OUT = flags.DEFINE_string("leave_out", None, "An image to leave out of calibration.")
WHO = flags.DEFINE_string("who", "", "Who leaves it out; logged in the detector.")
WHY = flags.DEFINE_string("why", "", "Why; logged in the detector.")


def main(config: ConfigDict) -> None:
    """Renews WORKDIR/detector; only the section `decision` may differ from before.

    With --review it renews nothing and names images to look at.
    """
    workdir = require_workdir(WORKDIR.value)
    with exclusive(workdir), stop_on_signals() as stop:
        if REVIEW.value:
            announce_lowest(*review_lowest(workdir))
            return
        job = prepare(config, workdir, stop, free=("decision",))
        if LEAVE_OUT.value:
            log_left_out(job, LEAVE_OUT.value, who=WHO.value, why=WHY.value)
        announce_calibration(job, recalibrate(job))


if __name__ == "__main__":
    run(main)
