import os
import subprocess
import sys
from pathlib import Path

import pytest

from ad_core.errors import UserError
from ad_core.runtime.lock import exclusive

HOLD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from ad_core.runtime.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_is_refused_and_told_who_holds_it(tmp_path):
    folder = tmp_path / "work"
    with exclusive(folder):
        with pytest.raises(UserError, match=rf"work\) is in use by process {os.getpid()};"):
            with exclusive(folder):
                pass
    with exclusive(folder):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    root = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", HOLD, str(tmp_path), root]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=f"process {process.pid};"), exclusive(tmp_path):
            pass
        process.kill()
        process.wait()
        with exclusive(tmp_path):
            pass
