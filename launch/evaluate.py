"""Renews the figures and the report of a workdir's detector on its test split.

python launch/evaluate.py --workdir=runs/mine
"""

from absl import flags
from ml_collections import ConfigDict

from ad_core.runtime.command import run
from ad_core.runtime.compilation import compilation_cache
from ad_core.runtime.lock import exclusive
from ad_core.runtime.stop import stop_on_signals
from ad_core.stages.evaluate import run_evaluation
from ad_core.stages.job import prepare
from ad_core.stages.messages import announce_results, require_workdir

WORKDIR = flags.DEFINE_string("workdir", None, "The workdir of an earlier launch/train.py.")


def main(config: ConfigDict) -> None:
    """Renews WORKDIR/results.json and WORKDIR/report."""
    workdir = require_workdir(WORKDIR.value)
    compilation_cache()
    with exclusive(workdir), stop_on_signals() as stop:
        job = prepare(config, workdir, stop)
        announce_results(job, run_evaluation(job))


if __name__ == "__main__":
    run(main)
