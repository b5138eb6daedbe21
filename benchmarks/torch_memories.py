"""Coreset and nearest neighbours in PyTorch and FAISS, for comparison with JAX.

    python benchmarks/torch_memories.py --serve=FOLDER     (started by memories.py)

Needs PyTorch and NumPy; FAISS is compared where it is installed. `coreset` is the usual loop with
the norm of differences, `coreset_products` the same by one product a step.
"""

import argparse
import json
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.torch_serving import now, since  # noqa: E402

try:
    import faiss
except ImportError:
    faiss = None


def coreset(points, size):
    """Greedy k-centre: the distances to the newest centre as norms of differences."""
    chosen, left = [0], torch.full((len(points),), torch.inf, device=points.device)
    for _ in range(size - 1):
        apart = torch.linalg.norm(points - points[chosen[-1]], dim=1)
        left = torch.minimum(left, apart)
        chosen.append(int(left.argmax()))
    return np.array(chosen)


def coreset_products(points, size):
    """The same by |x|^2 - 2 xc + |c|^2."""
    squares = (points**2).sum(1)
    chosen, left = [0], torch.full((len(points),), torch.inf, device=points.device)
    for _ in range(size - 1):
        centre = points[chosen[-1]]
        left = torch.minimum(left, squares + squares[chosen[-1]] - 2 * (points @ centre))
        chosen.append(int(left.argmax()))
    return np.array(chosen)


def neighbours(queries, bank):
    """The nearest item of each query by torch.cdist."""
    return torch.cdist(queries, bank).argmin(1).cpu().numpy()


def neighbours_faiss(queries, bank):
    """The same by FAISS's exact index, built anew."""
    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(bank)
    return index.search(queries, 1)[1][:, 0]


class Server:
    """Answers lines on standard input by lines of JSON, until the input ends."""

    def __init__(self, folder):
        self.folder = folder
        size = json.loads((folder / "settings.json").read_text())["settings"]["size"]
        with np.load(folder / "weights.npz") as file:
            points, queries = (torch.from_numpy(file[x]) for x in ("points", "queries"))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        points, queries = points.to(self.device), queries.to(self.device)
        bank = points[:size]
        self.calls = {
            "coreset": ("coreset", lambda: coreset(points, size)),
            "coreset_products": ("coreset", lambda: coreset_products(points, size)),
            "neighbours": ("neighbours", lambda: neighbours(queries, bank)),
        }
        self.names = {
            "PyTorch": {"coreset": "coreset", "neighbours": "neighbours"},
            "PyTorch, products": {"coreset": "coreset_products"},
        }
        if faiss is not None:
            near = lambda: neighbours_faiss(queries.cpu().numpy(), bank.cpu().numpy())  # noqa: E731
            self.calls["neighbours_faiss"] = ("neighbours", near)
            self.names["FAISS"] = {"neighbours": "neighbours_faiss"}

    def hello(self):
        """Versions, the device, and what can be called."""
        version = None if faiss is None else faiss.__version__
        threads = torch.get_num_threads()
        about = {"version": torch.__version__, "faiss": version, "threads": threads}
        return about | {"calls": self.names, "device": self.device}

    def time(self, name):
        """Seconds of one call, whose indices are written."""
        work, call = self.calls[name]
        start = now()
        found = call()
        taken = since(start)
        np.save(self.folder / f"{work}.npy", found)
        return taken


def main():
    """Serves a folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", type=Path, required=True)
    server = Server(parser.parse_args().serve)
    with torch.no_grad():
        for line in sys.stdin:
            name = line.strip()
            answer = server.hello() if name == "hello" else server.time(name)
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
