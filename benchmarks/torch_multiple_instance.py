"""The head on local features in PyTorch, for comparison with JAX.

    python benchmarks/torch_multiple_instance.py --golden=tests/golden/multiple_instance.npz

Needs PyTorch and NumPy. Everything is computed in float64, the gradients by autograd.
"""

import argparse
import math
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

STEPS, RATE, PENALTY, TOP = 20, 0.02, 0.1, 0.15
FLOOR, BEGIN = 1e-2, 0.1
SHOWN = (1, STEPS)  # steps after which weights and bias are kept


def draw():
    """Seeded bags [n, p, d], their labels, and the parts [f, n] of which each has a head."""
    rng = np.random.default_rng(27)
    x = (rng.normal(0, 1, (24, 20, 6)) * rng.uniform(0.1, 3, 6)).astype(np.float32)
    labels = np.arange(24) % 3 == 0
    x[labels, rng.integers(20, size=labels.sum())] += 2.0
    parts = np.stack([np.arange(24) < 24, np.arange(24) % 4 != 1])
    return x, labels.astype(np.int32), parts


def train(x, labels, steps):
    """(weight, bias) of a head of features as they are, after some of the STEPS."""
    x, odd = torch.as_tensor(x, dtype=torch.float64), torch.as_tensor(labels == 1)
    rows = x.reshape(-1, x.shape[-1])
    mean, variance = rows.mean(0), rows.var(0, correction=0)
    scale = torch.sqrt(variance + FLOOR * variance.mean())
    z = (x - mean) / scale
    apart = z[odd].mean((0, 1)) - z[~odd].mean((0, 1))
    weight = (BEGIN * apart / apart.norm()).requires_grad_()
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([weight, bias], lr=RATE)
    cosine = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda step: (1 + math.cos(math.pi * step / STEPS)) / 2
    )
    count = math.ceil(TOP * x.shape[1])
    for _ in range(steps):
        logits = (z @ weight).topk(count, dim=1).values.mean(1) + bias
        each = F.binary_cross_entropy_with_logits(logits, odd.double(), reduction="none")
        loss = (each[odd].mean() + each[~odd].mean()) / 2 + PENALTY * (weight**2).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        cosine.step()
    given = (weight / scale).detach()
    return given.numpy(), (bias.detach() - mean @ given).item()


def main():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--golden", type=Path, required=True)
    given = parser.parse_args()
    x, labels, parts = draw()
    arrays = {}
    for steps in SHOWN:
        heads = [train(x[part], labels[part], steps) for part in parts]
        arrays[f"weight/{steps}"] = np.stack([weight for weight, _ in heads], axis=1)
        arrays[f"bias/{steps}"] = np.array([bias for _, bias in heads])
    np.savez_compressed(given.golden, **arrays)


if __name__ == "__main__":
    main()
