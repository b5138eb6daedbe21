"""The first step of a fine-tuned head in PyTorch, for comparison with JAX.

    python benchmarks/torch_fine_tuned.py --golden=tests/golden/fine_tuned.npz \
        --packages=SITE_PACKAGES

Needs PyTorch and NumPy. SITE_PACKAGES is the folder in which the package of Lite0's weights is
installed. Everything is computed in float64, with batch norms folded.
"""

import argparse
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from benchmarks.torch_efficientnet_lite import FILES, fold, load, sample  # noqa: E402

FIRST = 11  # number of the first block of stage6
RATE, DECAY = 2e-4, 0.1
LABELS = (0, 1, 1, 0, 0, 1)
# Tensors whose gradients and values are kept: ours by name, and where PyTorch has them.
TENSORS = {
    "stage6/b0/expand/kernel": lambda model: model._blocks[FIRST]._expand_conv.weight,
    "stage6/b0/depthwise/bias": lambda model: model._blocks[FIRST]._depthwise_conv.bias,
    "stage6/b2/project/kernel": lambda model: model._blocks[FIRST + 2]._project_conv.weight,
    "stage7/b0/project/bias": lambda model: model._blocks[FIRST + 4]._project_conv.bias,
    "head/convolution/kernel": lambda model: model._conv_head.weight,
}


def draw():
    """Seeded activations of stage5, [b, h, w, c], and a classifier of the pooled head."""
    rng = np.random.default_rng(12)
    classifier = {
        "mean": rng.uniform(0, 0.5, 1280),
        "scale": rng.uniform(0.5, 1.5, 1280),
        "weight": rng.normal(0, 0.05, 1280),
        "bias": np.array(0.3),
    }
    return rng.normal(0, 1.5, (len(LABELS), 7, 8, 112)), classifier


def forward(model, x, mean, scale, weight, bias):
    """Logits from activations of stage5."""
    x = torch.as_tensor(x).permute(0, 3, 1, 2)
    for block in model._blocks[FIRST:]:
        x = block(x)
    features = F.relu6(model._bn1(model._conv_head(x))).mean((2, 3))
    return ((features - mean) / scale) @ weight + bias


def objective(logits, labels):
    """Cross-entropy, each class one half, and the squared hinge of pairs of probabilities."""
    entropy = F.binary_cross_entropy_with_logits(logits, labels.double(), reduction="none")
    q = torch.sigmoid(logits)
    pairs = torch.clamp(1 - (q[labels == 1][:, None] - q[labels == 0][None]), min=0) ** 2
    return (entropy[labels == 1].mean() + entropy[labels == 0].mean()) / 2 + pairs.mean()


def ours(name, x):
    """An array in our order of axes."""
    return (x.permute(2, 3, 1, 0) if name.endswith("kernel") else x).detach().numpy()


def write_golden(path, packages):
    """Loss, logits, gradients and the values after one step of AdamW."""
    model = fold(load(0, packages / FILES[0]).double()).requires_grad_()
    x, given = draw()
    parts = {name: torch.tensor(value) for name, value in given.items()}
    learnt = [parts[name].requires_grad_() for name in ("weight", "bias")]
    stages = torch.nn.ModuleList([*model._blocks[FIRST:], model._conv_head])
    tuned = [p for name, p in stages.named_parameters() if "depthwise_conv.weight" not in name]
    kernels = [p for p in tuned if p.ndim > 1]
    others = [p for p in tuned if p.ndim == 1] + learnt
    groups = [{"params": kernels, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=RATE)
    logits = forward(model, x, **parts)
    loss = objective(logits, torch.tensor(LABELS))
    loss.backward()
    arrays = {"loss": loss.detach().numpy(), "logits": logits.detach().numpy()}
    named = {name: find(model) for name, find in TENSORS.items()}
    for name, p in named.items():
        arrays[f"{name}/gradient"] = sample(ours(name, p.grad))
    arrays["weight/gradient"] = parts["weight"].grad.numpy()
    optimiser.step()
    for name, p in named.items():
        arrays[f"{name}/after"] = sample(ours(name, p))
    arrays["weight/after"] = parts["weight"].detach().numpy()
    arrays["bias/after"] = parts["bias"].detach().numpy()
    np.savez_compressed(path, **arrays)


def main():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--golden", type=Path, required=True)
    parser.add_argument("--packages", type=Path, required=True, help="site-packages with weights")
    given = parser.parse_args()
    write_golden(given.golden, given.packages)


if __name__ == "__main__":
    main()
