"""Settings of every test: eight CPU devices, strict ranks and dtypes, a store of programs."""

import os
import shutil
import tempfile
from pathlib import Path

# Most of a test's time goes into compiling, and level 0 takes a quarter off it.
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=8 "
    + os.environ.get("XLA_FLAGS", "")
)

os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

import hypothesis
import jax
import pytest
from xdist.scheduler import LoadScopeScheduling

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

TESTS = Path(__file__).parent
TOGETHER = "launch"  # a folder whose files share trained workdirs: one worker runs them all
# What begins, so that workers end together.
LONGEST = (TOGETHER, "test_method_contract.py", "vqgan_ad", "cyclegan_ad")

# Compiled programs and weights live for the session.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
if not WORKER:
    os.environ["ZFN_TESTS"] = tempfile.mkdtemp(prefix="zfn-ad-tests-")
SESSION = Path(os.environ["ZFN_TESTS"])
os.environ["ZFN_CACHE"] = str(SESSION / "weights")
# Each worker has its own programs, which the processes that it starts inherit. A folder for all
# would need JAX's lock, and that comes with a limit, for which each new program is weighed against
# all others: a tenth of a second where they are a thousand.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(SESSION / f"programs{WORKER}")
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])

# Two workers share the machine with whatever else runs there: an example may take its time.
SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("shared", deadline=None, suppress_health_check=SLOW)
hypothesis.settings.load_profile("shared")


class Groups(LoadScopeScheduling):
    """Gives a worker all tests of a file, or of the folder TOGETHER."""

    def _split_scope(self, nodeid):
        return group_of(nodeid)


def group_of(nodeid):
    path = nodeid.split("::")[0]
    return TOGETHER if path.startswith(f"{TESTS.name}/{TOGETHER}/") else path


@pytest.hookimpl(optionalhook=True)  # so that tests run without the plug-in too
def pytest_xdist_make_scheduler(config, log):
    return Groups(config, log)


def pytest_collection_modifyitems(items):
    items.sort(key=_turn)


def _turn(item):
    top = item.path.relative_to(TESTS).parts[0]
    return LONGEST.index(top) if top in LONGEST else len(LONGEST)


def pytest_unconfigure():
    if not WORKER:
        shutil.rmtree(SESSION)


@pytest.fixture
def key():
    return jax.random.key(0)
