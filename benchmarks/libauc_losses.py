"""LibAUC 2.0's losses of some scores, for tests, and its training's time, for benchmarks.

    pip install torch==2.13.0 pandas scikit-learn tqdm && pip install --no-deps libauc==2.0.1
    python benchmarks/libauc_losses.py --golden=tests/golden/libauc.npz
    python benchmarks/libauc_losses.py --rows=10000 --positives=100 --fits=2 --steps=300

Needs PyTorch, LibAUC and the three packages that it imports on the way to its losses; and nothing
of this project. LibAUC's stochastic losses keep moving estimates of inner optima: here each sees
the whole table at once, with the estimate set to the optimum (momentum 1, or the exact quantile),
so that its gradient is that of the loss it stands for.
"""

import argparse
import json
import resource
import sys
import time

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path.pop(0)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from libauc.losses.auc import (  # noqa: E402
    PairwiseAUCLoss,
    pAUC_CVaR_Loss,
    pAUC_DRO_Loss,
    tpAUC_CVaR_loss,
    tpAUC_KL_Loss,
)
from libauc.losses.losses import CrossEntropyLoss, FocalLoss  # noqa: E402

torch.set_default_dtype(torch.float64)
POSITIVES, NEGATIVES = 10, 40


def value_and_gradient(loss, scores, *more):
    """The loss of scores and its gradient."""
    given = torch.tensor(scores, requires_grad=True)
    value = loss(given, *more)
    value.backward()
    return value.item(), given.grad.numpy().ravel()


def kept_largest(surrogate, count):
    """The value that exactly `count` of each row's entries exceed."""
    ordered = torch.sort(surrogate, dim=1, descending=True)[0]
    return (ordered[:, count - 1 : count] + ordered[:, count : count + 1]) / 2


def golden():
    """Name -> value and gradient of each loss on 50 scores."""
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [POSITIVES, NEGATIVES])
    scores = rng.uniform(0.05, 0.95, labels.size) * 0.7 + 0.25 * labels
    truth, index = torch.tensor(labels), torch.arange(labels.size)
    size = labels.size
    found = {}

    def note(name, loss, *more):
        found[f"{name}_value"], found[f"{name}_gradient"] = value_and_gradient(loss, scores, *more)

    for gamma in (0.1, 0.5):
        note(f"wmw_{gamma}", PairwiseAUCLoss("squared_hinge", gamma), truth)
    note("pauc_kl", pAUC_DRO_Loss(size, gamma=1.0, margin=1.0, Lambda=0.5), truth, index)
    note(
        "two_way_kl",
        tpAUC_KL_Loss(size, tau=0.1, Lambda=1.0, gammas=(1.0, 1.0), margin=1.0),
        truth,
        index,
    )
    positive, negative = torch.tensor(scores[labels == 1]), torch.tensor(scores[labels == 0])
    surrogate = torch.clamp(1.0 - (positive[:, None] - negative[None]), min=0) ** 2
    cvar = pAUC_CVaR_Loss(size, POSITIVES, margin=1.0, beta=0.2, eta=0.0)
    cvar.u_pos = torch.zeros(size, 1)
    cvar.u_pos[:POSITIVES] = kept_largest(surrogate, NEGATIVES // 5)
    note("pauc_fpr", cvar, truth, index)
    two = tpAUC_CVaR_loss(size, threshold=1.0, alpha=0.0, theta_0=0.3, theta_1=0.25)
    two.u, two.s1 = torch.ones(size, 1), torch.zeros(size, 1)
    two.s1[:POSITIVES] = kept_largest(surrogate, NEGATIVES // 4)
    two.dual_var = torch.zeros(size, 1)
    two.dual_var[torch.argsort(positive)[:3]] = 1.0
    note("two_way", two, truth, index)
    logits = np.log(scores / (1 - scores))
    for name, loss in (("bce", CrossEntropyLoss()), ("focal", FocalLoss(alpha=0.5, gamma=2))):
        given = torch.tensor(logits, requires_grad=True)
        value = loss(given, truth.double())
        value.backward()
        found[f"{name}_value"], found[f"{name}_gradient"] = value.item(), given.grad.numpy()
    return {"scores": scores, "labels": labels} | found


def train(rows, positives, columns, steps, hidden=32):
    """Seconds of one fit: a perceptron under tpAUC_KL_Loss, on the whole table in every step."""
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    labels = torch.zeros(rows)
    labels[:positives] = 1
    table = torch.randn(rows, columns) + labels[:, None] * 0.5
    net = torch.nn.Sequential(
        torch.nn.Linear(columns, hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, 1),
    )
    loss = tpAUC_KL_Loss(rows, tau=0.1, Lambda=1.0, gammas=(1.0, 1.0))
    loss.u_pos = torch.zeros(rows, 1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.001)
    index = torch.arange(rows)
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        optimiser.zero_grad()
        loss(torch.sigmoid(net(table)), labels, index).backward()
        optimiser.step()
    return time.perf_counter() - began, time.process_time() - cpu


def main():
    """Writes the golden file, or prints the time of fits as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--positives", type=int, default=100)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--fits", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if given.golden:
        np.savez_compressed(given.golden, **golden())
        return
    torch.set_num_threads(given.threads)
    times = [
        train(given.rows, given.positives, given.columns, given.steps) for _ in range(given.fits)
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": times, "peak_mb": peak, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
