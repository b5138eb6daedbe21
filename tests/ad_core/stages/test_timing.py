"""The account of a run's stages: time that adds up, and the memory of the process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ad_core.runtime.workdir import Workdir
from ad_core.stages.timing import read_timing, timed

ROOT = Path(__file__).parents[3]
HELD = """
import json
from ad_core.stages.timing import peak_gb
before = peak_gb()
held = bytearray(300_000_000)
held[::4096] = b"x" * len(held[::4096])
del held
print(json.dumps([before, peak_gb()]))
"""


def test_memory_once_held_counts_though_it_was_given_back():
    found = subprocess.run([sys.executable, "-c", HELD], cwd=ROOT, capture_output=True, text=True)
    before, after = json.loads(found.stdout)
    assert before + 0.2 < after < before + 0.5


def test_a_stage_that_was_cut_short_adds_up_and_one_done_again_does_not(tmp_path):
    workdir = Workdir(tmp_path)
    with pytest.raises(KeyError), timed(workdir, "train", count=lambda: 10):
        raise KeyError
    cut = read_timing(workdir)["train"]
    assert not cut["finished"] and cut["images_per_s"] is None and cut["peak_gb"] > 0
    workdir.timing.write_text(json.dumps({"train": cut | {"seconds": 100.0, "peak_gb": 900.0}}))
    with timed(workdir, "train", count=lambda: 10):
        pass
    whole = read_timing(workdir)["train"]
    assert whole["finished"] and whole["seconds"] >= 100 and whole["peak_gb"] == 900.0
    with timed(workdir, "train", count=lambda: 10):
        pass
    anew = read_timing(workdir)["train"]
    assert anew["seconds"] < 100 and anew["peak_gb"] < 900
