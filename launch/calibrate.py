"""Renews classifier and threshold, from the statistics already in the workdir.

    python launch/calibrate.py --workdir=runs/mine --config.decision.rule=target_fpr
    python launch/calibrate.py --workdir=runs/mine --review
    python launch/calibrate.py --workdir=runs/mine --leave_out=IMAGE --who=NAME --why=REASON

Figures and report of the detector that was there are removed: launch/evaluate.py writes new ones.
"""

from absl import flags
from ml_collections import ConfigDict

from ad_core.runtime.command import require_workdir, run

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
    from ad_core.stages.main_job import review_calibration, run_calibration_again

    if REVIEW.value:
        review_calibration(workdir)
        return
    run_calibration_again(
        config, workdir, leave_out=LEAVE_OUT.value or "", who=WHO.value, why=WHY.value
    )


if __name__ == "__main__":
    run(main)
