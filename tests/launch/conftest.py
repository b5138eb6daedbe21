"""One tiny main job for all tests of the launch scripts."""

import runpy
import sys
from pathlib import Path

import grain  # noqa: F401 (defines flags of its own when first imported; a test keeps them)
import pytest
from absl import flags

ROOT = Path(__file__).parents[2]
TINY = (
    f"--config={ROOT}/configs/retina_oct.py:phantom,cpu",
    "--config.method=vqgan_ad.vqgan",
    "--config.data.image_size=32",
    "--config.data.workers=1",
    "--config.data.phantom.normal=40",
    "--config.data.phantom.abnormal=24",
    "--config.train.steps=4",
    "--config.train.batch_size=8",
    "--config.train.log_every=1",
    "--config.train.image_every=4",
    "--config.train.checkpoint_every=2",
    "--config.statistics.names=default",
    "--config.score.batch_size=8",
    "--config.score.workers=1",
    "--config.decision.folds=3",
    "--config.localisation.level=0.1",  # so that regions are found
    "--config.reconstructor.width=4",
    "--config.reconstructor.multipliers=(1,2)",
    "--config.reconstructor.latent=4",
    "--config.reconstructor.codes=8",
    "--config.reconstructor.kmeans_at=2",
    "--config.reconstructor.disc_width=4",
    "--config.reconstructor.disc_layers=1",
)


def call(script, *argv):
    """The status of launch/SCRIPT.py with these arguments, run in this process."""
    script = str(ROOT / "launch" / f"{script}.py")
    given, known = sys.argv, set(flags.FLAGS)
    sys.argv = [script, *map(str, argv)]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        return ended.code
    finally:
        sys.argv = given
        for name in set(flags.FLAGS) - known:
            delattr(flags.FLAGS, name)
        flags.FLAGS.unparse_flags()
    raise AssertionError("a launch script ends with its status")


@pytest.fixture(scope="session")
def launch():
    """`call`."""
    return call


@pytest.fixture(scope="session")
def job_arguments():
    """The command line of the main job, but for --workdir."""
    return TINY


@pytest.fixture(scope="session")
def workdir(launch, tmp_path_factory):
    """Of a main job that ran to its end. Tests that change it take a copy."""
    root = tmp_path_factory.mktemp("main_job") / "run"
    assert launch("train", *TINY, f"--workdir={root}") == 0
    return root
