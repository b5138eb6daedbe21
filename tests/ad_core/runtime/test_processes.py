import pytest

from ad_core.errors import UserError
from ad_core.runtime import processes
from ad_core.runtime.processes import ALONE, Joining, find_joining

THREE = ["train.py", "--coordinator=node0:1234", "--processes=4", "--process=2"]


@pytest.mark.parametrize(
    ("argv", "environment", "expected"),
    [
        (["train.py"], {}, None),
        (["train.py"], {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4"}, None),  # without srun: one
        (["train.py"], {"SLURM_STEP_NUM_TASKS": "1"}, None),
        (["train.py"], {"SLURM_STEP_NUM_TASKS": "4"}, Joining()),
        (["train.py"], {"TPU_WORKER_HOSTNAMES": "a,b"}, Joining()),
        (["train.py"], {"TPU_WORKER_HOSTNAMES": "a"}, None),
        (["train.py"], {"SLURM_STEP_NUM_TASKS": "4", ALONE: "1"}, None),
        (THREE, {}, Joining("node0:1234", 4, 2)),
        (THREE, {ALONE: "1"}, None),
        (THREE[:3], {"JOB_COMPLETION_INDEX": "3"}, Joining("node0:1234", 4, 3)),
        ([*THREE[:2], "--processes=1", "--process=0"], {}, None),
    ],
)
def test_flags_and_launchers_name_the_other_processes(argv, environment, expected):
    assert find_joining(argv, environment) == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--processes=4", "--process=0"], "Missing: --coordinator. A training of several"),
        (["--coordinator=a:1"], "Missing: --processes, --process"),
        (["--coordinator=a", "--processes=4", "--process=0"], "must be HOST:PORT"),
        (["--coordinator=a:1", "--processes=4", "--process=4"], "must lie from 0 to 3"),
        (["--coordinator=a:1", "--processes=four", "--process=0"], "must be whole numbers"),
    ],
)
def test_flags_that_do_not_say_all_are_refused(flags, message):
    with pytest.raises(UserError, match=message):
        find_joining(["train.py", *flags], {})


def test_a_process_alone_agrees_with_itself():
    processes.meet("here")
    assert processes.count() == 1 and processes.is_first()
    assert processes.any_of(True) and not processes.any_of(False)
    assert processes.from_first(7) == 7
