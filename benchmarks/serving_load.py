"""The service under a steady load: latencies and memory while images come at a stated rate.

    python benchmarks/serving_load.py --detector=DIR [--rate=10 --seconds=120]
    python benchmarks/serving_load.py --detector=DIR --rate=0 --count=200

Starts launch/serve.py on loopback in a process of its own, with a new store, and sends noisy
pictures of the detector's size, each a different file, when their time has come: an answer that is
late delays no other image. With --rate=0 one image follows the answer to the one before: the time
of a single image, warm. Prints p50, p99 and the outcomes, then resident memory over time.
"""

import io
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import httpx  # noqa: E402
import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402
from PIL import Image  # noqa: E402

flags.DEFINE_string("detector", None, "Folder of a detector.", required=True)
flags.DEFINE_float("rate", 10.0, "Images a second; 0: one after the other.", lower_bound=0)
flags.DEFINE_float("seconds", 120.0, "How long they come, at a rate.")
flags.DEFINE_integer("count", 200, "Images, one after the other.", lower_bound=1)
flags.DEFINE_integer("side", 256, "Pixels of a side of an image.")
FLAGS = flags.FLAGS
LOOKS = 8  # at the memory, evenly over the time
WARM = 5  # images before those that count, one after the other


def draw_images(count, side):
    """PNG files of blobs in grey, each a different one."""
    rng, files = np.random.default_rng(0), []
    rows, columns = np.mgrid[:side, :side] / side
    base = 90 + 80 * np.exp(-8 * ((rows - 0.5) ** 2 + (columns - 0.5) ** 2))
    for _ in range(count):
        picture = np.clip(base + rng.normal(0, 6, base.shape), 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, format="PNG", compress_level=1)
        files.append(stream.getvalue())
    return files


def begin(store):
    """The process of the service, its address and the token of a device."""
    command = [sys.executable, str(ROOT / "launch" / "serve.py"), f"--store={store}"]
    device = [*command, "--add_device=benchmark"]
    told = subprocess.run(device, check=True, stdout=subprocess.PIPE, text=True).stdout
    flags_of = [f"--detector={FLAGS.detector}", "--port=0"]
    process = subprocess.Popen([*command, *flags_of], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if found := re.search(r"answers at (\S+),", line):
            return process, found[1], told.split()[-1]
    raise SystemExit("the service did not begin")


def resident_mb(process):
    """Resident memory of a process now, in MB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Load:
    """Images that are sent when their time has come, and what came back."""

    def __init__(self, url, token, files):
        self.url, self.files = url, files
        limits = httpx.Limits(max_connections=None)
        self.client = httpx.Client(
            headers={"authorization": f"Bearer {token}"}, timeout=60, limits=limits
        )
        self.seconds, self.outcomes = [], Counter()

    def send(self, number, due):
        """Sends one image; its latency counts from when it was due."""
        answer = self.client.post(self.url, content=self.files[number]).json()
        self.seconds.append(time.monotonic() - due)
        self.outcomes[answer["decision"], answer["outcome"]] += 1

    def run(self, process):
        """Sends all of them; memory in MB by second."""
        return self._in_turn(process) if not FLAGS.rate else self._steadily(process)

    def _in_turn(self, process):
        for number in range(WARM):
            self.send(number, time.monotonic())
        self.seconds.clear()
        began, before = time.monotonic(), resident_mb(process)
        for number in range(WARM, len(self.files)):
            self.send(number, time.monotonic())
        return {0: before, round(time.monotonic() - began): resident_mb(process)}

    def _steadily(self, process):
        began, threads, memory = time.monotonic(), [], {}
        every = max(1, len(self.files) // LOOKS)
        for number in range(len(self.files)):
            due = began + number / FLAGS.rate
            time.sleep(max(0.0, due - time.monotonic()))
            if number % every == 0:
                memory[round(due - began)] = resident_mb(process)
            threads.append(threading.Thread(target=self.send, args=(number, due)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        return memory | {round(time.monotonic() - began): resident_mb(process)}


def main(_):
    """Begins the service, sends the images, prints the tables."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    count = round(FLAGS.rate * FLAGS.seconds) if FLAGS.rate else FLAGS.count + WARM
    files = draw_images(count, FLAGS.side)
    with tempfile.TemporaryDirectory() as folder:
        process, url, token = begin(Path(folder) / "store")
        try:
            load = Load(url, token, files)
            memory = load.run(process)
        finally:
            process.send_signal(signal.SIGTERM)
            told = process.communicate()[0]
    half, most = np.quantile(load.seconds, (0.5, 0.99), method="inverted_cdf")
    pace = f"{FLAGS.rate:g} a second" if FLAGS.rate else "one after the other"
    print(f"{len(load.seconds)} images, {pace}, {FLAGS.side} pixels a side")
    print(f"p50 {1000 * half:.0f} ms, p99 {1000 * most:.0f} ms, longest {max(load.seconds):.2f} s")
    for (decision, outcome), count in sorted(load.outcomes.items()):
        print(f"  {count:6} {decision}, {outcome}")
    print("| second | resident memory, MB |\n| --- | --- |")
    for second, megabytes in memory.items():
        print(f"| {second} | {megabytes:.0f} |")
    print(told.strip().splitlines()[-1])


if __name__ == "__main__":
    app.run(main)
