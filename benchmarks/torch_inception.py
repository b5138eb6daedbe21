"""Features of torchvision's Inception-v3 with made-up weights, for a golden file.

    python benchmarks/torch_inception.py --golden=tests/golden/inception_torchvision.npz

Needs torch and torchvision, which nothing else here does. The weights are drawn anew by the test
from the names and shapes in the file, so that it stays small.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torchvision.models.inception import Inception3

SIDE, PAD = 64, 117


def main() -> None:
    """Writes names and shapes of the weights, and the features of two images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=Path, required=True)
    given = parser.parse_args()
    model = Inception3(aux_logits=False, init_weights=False).eval().double()
    state = {k: v for k, v in model.state_dict().items() if wanted(k)}
    drawn = draw_weights({name: tuple(x.shape) for name, x in state.items()})
    rest = {k: v for k, v in model.state_dict().items() if not wanted(k)}
    model.load_state_dict({k: torch.as_tensor(v) for k, v in drawn.items()} | rest)
    with torch.no_grad():
        features = pooled(model, torch.as_tensor(draw_images()))
    names = list(state)
    shapes = np.zeros((len(names), 4), np.int64)
    for row, name in enumerate(names):
        shapes[row, : state[name].ndim] = state[name].shape
    np.savez_compressed(
        given.golden, names=np.array(names), shapes=shapes, features=features.numpy()
    )


def wanted(name: str) -> bool:
    """Tells whether an array is a weight of a layer before the classifier."""
    return not name.startswith("fc.") and not name.endswith("num_batches_tracked")


def draw_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights that keep activations of one size, in the order of `shapes`."""
    rng = np.random.default_rng(0)
    drawn = {}
    for name, shape in shapes.items():
        x = rng.standard_normal(shape)
        if name.endswith("conv.weight"):
            x *= np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("bn.weight", "running_var")):
            x = 1 + 0.3 * np.tanh(x)
        else:
            x *= 0.1
        drawn[name] = x
    return drawn


def draw_images() -> np.ndarray:
    """Two grey images in [-1, 1], [2, 64, 64, 1]."""
    return np.random.default_rng(1).uniform(-1, 1, (2, SIDE, SIDE, 1))


def pooled(model: Inception3, images: torch.Tensor) -> torch.Tensor:
    """The 2048 features, fed as CycleGAN-AD's code does: zeros around, grey to RGB, 2 x - 1."""
    x = images.permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
    x = 2 * torch.nn.functional.pad(x, (PAD,) * 4) - 1
    model.fc, model.transform_input = torch.nn.Identity(), False
    return model(x)


if __name__ == "__main__":
    main()
