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
    assert (done.returncode, done.stdout) == (143, b"first\n")
    assert done.stderr.startswith(b"stopping: ") and done.stderr.count(b"\n") == 1


COMPILES = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from ad_core.runtime.stop import stop_on_signals
with stop_on_signals(lambda: "the command", at_once=sys.argv[2] == "at_once") as stop:
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", int(sys.argv[3]))  # no Python handler runs in it
    print("done", flush=True)
    stop.check()
"""


def started(*argv):
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(
        [sys.executable, "-c", COMPILES, root, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_signal_while_the_main_thread_is_in_a_library_ends_it_where_nothing_is_lost():
    process = started("at_once", str(2**31 - 1))  # half an hour and more
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert error == "stopped. This goes on: the command\n"


def test_a_signal_while_the_main_thread_is_in_a_library_is_told_at_once_and_then_obeyed():
    process = started("later", "6000000")  # seconds
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline().startswith("stopping: ")
    assert process.poll() is None, "the message came after the work"
    out, _ = process.communicate(timeout=120)
    assert (process.returncode, out) == (143, "done\n")


def test_an_inner_block_names_the_command_of_the_outer_one():
    with stop_on_signals(lambda: "outer", at_once=True), stop_on_signals() as inner:
        assert inner.goes_on() == ". This goes on: outer" and not inner.at_once
    with stop_on_signals() as alone:
        assert alone.goes_on() == ""
