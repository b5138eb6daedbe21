"""Renews the figures and the report of a workdir's detector on its test split.

python launch/evaluate.py --workdir=runs/mine
"""

from absl import flags
from ml_collections import ConfigDict

from ad_core.runtime.command import require_workdir, run

WORKDIR = flags.DEFINE_string("workdir", None, "The workdir of an earlier launch/train.py.")


def main(config: ConfigDict) -> None:
    """Renews WORKDIR/results.json and WORKDIR/report."""
    workdir = require_workdir(WORKDIR.value)
    from ad_core.stages.main_job import run_evaluation_again

    run_evaluation_again(config, workdir)


if __name__ == "__main__":
    run(main)
