import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ad_core.runtime.stop import Stop, Stopped, stop_on_signals


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_sets_the_flag_and_check_leaves_with_its_status(number, status):
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        stop.check()
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        with pytest.raises(Stopped) as stopped:
            stop.check()
    assert stopped.value.code == status
    assert signal.getsignal(number) is before


def test_a_stop_that_nobody_sets_is_false():
    stop = Stop()
    stop.check()
    assert not stop


TWICE = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from ad_core.runtime.stop import stop_on_signals
with stop_on_signals():
    os.kill(os.getpid(), signal.SIGINT)
    print("first", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("second", flush=True)
"""


def test_the_second_signal_ends_the_process_at_once():
    root = str(Path(__file__).parents[3])
    done = subprocess.run([sys.executable, "-c", TWICE, root], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, b"first\n", b"")
