"""A network in PyTorch that takes turns with JAX: calls come as lines, answers go as JSON."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch


class Twin(NamedTuple):
    """Parts of a network, which JAX has too, that a server needs.

    make_model(settings); from_jax(model, arrays) sets its weights; trainer(model, settings, dtype)
    has `reconstruct(batch)`, a tuple that begins with `outputs`; step(trainer, batch) -> metrics.
    """

    make_model: Callable[[Any], Any]
    from_jax: Callable[[Any, Any], None]
    trainer: Callable[[Any, Any, str], Any]
    step: Callable[[Any, Any], dict[str, Any]]
    outputs: tuple[str, ...]


class Server:
    """Answers lines on standard input by lines of JSON, until the input ends."""

    def __init__(self, twin, folder):
        given = json.loads((folder / "settings.json").read_text())
        self.twin, self.folder = twin, folder
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.layout = torch.channels_last if given["channels_last"] else torch.contiguous_format
        torch.set_float32_matmul_precision("high")  # as XLA does on GPUs
        torch.backends.cudnn.benchmark = True
        settings = SimpleNamespace(**given["settings"])
        model = twin.make_model(settings)
        with np.load(folder / "weights.npz") as file:
            twin.from_jax(model, file)
        model = model.to(self.device, memory_format=self.layout)
        self.parameters = sum(p.numel() for p in model.parameters())
        self.trainer = twin.trainer(model, settings, given["dtype"])
        images = np.load(folder / "images.npy").transpose(0, 1, 4, 2, 3)
        self.batches = [torch.from_numpy(np.ascontiguousarray(x)) for x in images]

    def _place(self, number):
        batch = self.batches[number % len(self.batches)]
        return batch.to(self.device, memory_format=self.layout)

    def hello(self):
        """Version, device, threads and parameters of what runs here."""
        return {
            "parameters": self.parameters,
            "version": torch.__version__,
            "device": torch.cuda.get_device_name() if self.device == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
        }

    def forward(self):
        """Writes forward.npz for the first batch; an image in JAX's order of axes."""
        found = self.trainer.reconstruct(self._place(0))
        arrays = dict(zip(self.twin.outputs, found, strict=False))
        arrays["image"] = arrays["image"].permute(0, 2, 3, 1)
        np.savez(self.folder / "forward.npz", **{k: v.cpu().numpy() for k, v in arrays.items()})
        return {}

    def train(self, steps):
        """Seconds for `steps` steps, metrics of each fetched one step late; those of the first."""
        first, late, start = None, None, now()
        for number in range(steps):
            metrics = self.twin.step(self.trainer, self._place(number))
            late, metrics = metrics, late
            if metrics is not None:
                fetched = _fetch(metrics)
                first = first or fetched
        fetched = _fetch(late)
        return {**since(start), "metrics": first or fetched}

    def reconstruct(self, steps):
        """Seconds for `steps` batches, each fetched to the host."""
        start = now()
        for number in range(steps):
            for out in self.trainer.reconstruct(self._place(number)):
                out.cpu()
        return since(start)


def now():
    """Wall time and time on the processor, both in seconds."""
    return time.perf_counter(), time.process_time()


def since(start):
    """Time that went by since `now` was `start`."""
    seconds, cpu_seconds = now()
    return {"seconds": seconds - start[0], "cpu_seconds": cpu_seconds - start[1]}


def _fetch(metrics):
    return dict(zip(metrics, torch.stack(list(metrics.values())).tolist(), strict=True))


def serve(twin, folder):
    """Runs one call per line, `train 20`, and prints its result."""
    server = Server(twin, folder)
    for line in sys.stdin:
        name, *arguments = line.split()
        calls = {"hello": server.hello, "forward": server.forward}
        calls |= {"train": server.train, "reconstruct": server.reconstruct}
        print(json.dumps(calls[name](*map(int, arguments))), flush=True)


def golden_or_serve(twin, write_golden):
    """A twin's command line: --golden=FILE writes the tests' numbers, --serve=FOLDER serves."""
    parser = argparse.ArgumentParser()
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--golden", type=Path)
    mode.add_argument("--serve", type=Path)
    arguments = parser.parse_args()
    if arguments.golden:
        write_golden(arguments.golden)
    else:
        serve(twin, arguments.serve)
