"""Renews classifier and threshold, from the statistics already in the workdir.

    python launch/calibrate.py --workdir=runs/mine --config.decision.rule=target_fpr

Figures and report of the detector that was there are removed: launch/evaluate.py writes new ones.
"""

from absl import flags
from ml_collections import ConfigDict

from ad_core.runtime.command import require_workdir, run

WORKDIR = flags.DEFINE_string("workdir", None, "The workdir of an earlier launch/train.py.")


def main(config: ConfigDict) -> None:
    """Renews WORKDIR/detector; only the section `decision` may differ from before."""
    workdir = require_workdir(WORKDIR.value)
    from ad_core.stages.main_job import run_calibration_again

    run_calibration_again(config, workdir)


if __name__ == "__main__":
    run(main)
