"""Compares methods on sets over seeds: the poster's tables, ours beside theirs.

    python launch/benchmark.py --config=configs/benchmark_quick.py --config.root=DIR --workdir=RUNS

Each run is a main job of its own below RUNS/cells, made at most once: the same command goes on
where it was stopped or killed, and ends with the same tables. Status 1 where a run failed, 3 where
a set is missing.
"""

import shlex
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.runtime.benchmarks import BENCHMARK, load_benchmark
from ad_core.runtime.command import recipe_name, require_workdir, run
from ad_core.runtime.invocation import PROJECT, shown

WORKDIR = flags.DEFINE_string("workdir", None, "Folder for the runs and the tables.")


def main(config: ConfigDict | None) -> int:
    """Runs what is not done and writes the tables."""
    if config is None:
        quick = shown(PROJECT / "configs" / "benchmark_quick.py")
        raise UserError(f"`--config` is missing; e.g. --config={shlex.quote(quick)}.")
    workdir: Path = require_workdir(WORKDIR.value)
    from ad_core.stages.benchmark import run_benchmark

    return run_benchmark(load_benchmark(recipe_name()), config, workdir)


if __name__ == "__main__":
    run(main, needs_config=False, kind=BENCHMARK)
