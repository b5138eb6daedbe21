"""The service under SIGKILL and SIGTERM, as processes of their own, while a line sends images."""

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from ad_core.console.store import Store
from ad_core.console.users import Users
from tests.ad_core.console.conftest import png
from tests.ad_core.console.test_line import wait_until

ROOT = Path(__file__).parents[3]
IMAGES = [png(grey, side=8 + grey) for grey in (10, 40, 70, 160, 190, 220)]
DECISIONS = {
    hashlib.sha256(content).hexdigest(): "normal" if number < 3 else "inspect"
    for number, content in enumerate(IMAGES)
}


@pytest.fixture(scope="module")
def beginner():
    """The process that begins services."""
    command = [sys.executable, ROOT / "tests/ad_core/console/services.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, env=environment) as process:
        yield process
        process.stdin.close()
        assert process.wait() == 0


class Services:
    """One service after the other on one store; `answers` is what a line was told by all."""

    def __init__(self, beginner, store):
        with Store(store) as opened:
            self.token = Users(opened).add_device("camera")
        self.store, self.process = store, beginner
        self.answers, self.silences = [], 0

    def heard(self, pattern):
        """What the group of a pattern stands for, in the next line that has it."""
        for line in self.process.stdout:
            if found := re.search(pattern, line):
                return found[1]
            assert not line.startswith("status "), "the service ended by itself; see its errors"
        raise AssertionError(f"no line with {pattern}")

    def begin(self):
        """Number and address of the next service."""
        self.process.stdin.write(f"{self.store}\n")
        self.process.stdin.flush()
        return int(self.heard(r"process (\d+)")), self.heard(r"answers at (\S+),")

    def send(self, url, until, seed):
        """Sends images without a pause, until one is not answered any more."""
        rng, headers = random.Random(seed), {"authorization": f"Bearer {self.token}"}
        with httpx.Client(headers=headers, timeout=20, verify=False) as client:
            while not until.is_set():
                try:
                    answer = client.post(url, content=rng.choice(IMAGES))
                except httpx.HTTPError:  # silence: the line inspects the part
                    self.silences += 1
                    return
                self.answers.append((answer.status_code, answer.json()))

    def load(self, url, seconds, number):
        """A service under load for so long, then ended by a signal; returns its status."""
        process, until = number[0], threading.Event()
        threads = [
            threading.Thread(target=self.send, args=(url, until, 10 * number[2] + each))
            for each in range(6)
        ]
        before = len(self.answers)
        for thread in threads:
            thread.start()
        try:
            if number[2] % 5 < 4:  # else it may be killed before it has answered anything
                wait_until(lambda: len(self.answers) > before)
            time.sleep(seconds)
        finally:
            os.kill(process, number[1])
        status = int(self.heard(r"status (-?\d+)"))
        until.set()
        for thread in threads:
            thread.join()
        return status


def check(store, answers):
    """Every answer has its event, every accepted image an outcome, and the chain is whole."""
    with Store(store, read_only=True) as trail:
        events = {event.seq: event for event in trail.events()}
        assert trail.verify() is None and trail.stale_image() is None
        assert trail.unanswered() == []
    for status, told in answers:
        if told["event"] is None:
            assert told["decision"] == "inspect" and status != 200
            continue
        event = events[told["event"]]
        assert (event.image_sha, event.decision) == (told["image"] or "", told["decision"])
        assert status == 200 or told["decision"] == "inspect"
        assert status != 200 or told["decision"] == DECISIONS[told["image"]]
    outcomes = {event.about for event in events.values() if event.kind in ("scored", "error")}
    received = {event.seq for event in events.values() if event.kind == "received"}
    assert received <= outcomes
    normal = [event for event in events.values() if event.decision == "normal"]
    assert all(DECISIONS[event.image_sha] == "normal" for event in normal)
    return events


def kill_at_random(beginner, store, count, seed=0):
    """Kills as many services under load, lets one more end by itself, and checks."""
    rng, services = random.Random(seed), Services(beginner, store)
    for number in range(count):
        process, url = services.begin()
        seconds = rng.uniform(0.0, 0.5)
        assert services.load(url, seconds, (process, signal.SIGKILL, number)) == -9
    process, url = services.begin()
    silences = services.silences
    assert services.load(url, 0.2, (process, signal.SIGTERM, count)) == 143
    assert silences >= count  # of six senders at least one stood in the middle of an image
    return check(store, services.answers), services.answers


def test_three_kills_under_load_lose_no_accepted_image_and_break_no_chain(beginner, tmp_path):
    events, answers = kill_at_random(beginner, tmp_path / "store", 3)
    assert len(answers) > 10
    assert {told["outcome"] for _, told in answers} >= {"scored", "queue_full"}


@pytest.mark.slow
def test_fifty_kills_under_load_lose_no_accepted_image_and_break_no_chain(beginner, tmp_path):
    events, answers = kill_at_random(beginner, tmp_path / "store", 50, seed=1)
    cut = [event for event in events.values() if event.detail.get("outcome") == "interrupted"]
    assert len(answers) > 100 and cut  # on an idle machine thousands


def test_sigterm_answers_what_was_accepted_and_leaves_with_143(beginner, tmp_path):
    services = Services(beginner, tmp_path / "store")
    process, url = services.begin()
    assert services.load(url, 0.5, (process, signal.SIGTERM, 0)) == 143
    events = check(tmp_path / "store", services.answers)
    assert not [e for e in events.values() if e.detail.get("outcome") == "interrupted"]
    scored = {event.seq for event in events.values() if event.kind == "scored"}
    assert scored == {told["event"] for _, told in services.answers if told["outcome"] == "scored"}
