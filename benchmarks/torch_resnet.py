"""ResNet and VGG-16 in PyTorch with made-up weights, and small files that it saves: golden files.

    python benchmarks/torch_resnet.py --golden=tests/golden/resnet_torch.npz \
        --saved=tests/golden/torch_saved.npz

Needs PyTorch alone, which nothing else here does. Modules bear torchvision's names and shapes. The
weights are drawn anew by the tests from the names and shapes in the file, so that it stays small.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SAMPLES = 48  # values of each level that the golden file holds
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# network -> sizes and channels of the images that it sees: even, odd, grey
IMAGES = {
    "resnet18": ((64, 96, 3), (75, 97, 3), (64, 64, 1)),
    "wide_resnet50_2": ((64, 64, 3),),
    "vgg16": ((48, 32, 1),),
}


def conv(inside, outside, k, stride=1):
    return nn.Conv2d(inside, outside, k, stride, k // 2, bias=False)


class Basic(nn.Module):
    """Two convolutions of 3 x 3."""

    def __init__(self, inside, width, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(inside, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = shortcut(inside, width, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Wide(nn.Module):
    """A bottleneck of twice the width, with the stride in its convolution of 3 x 3."""

    def __init__(self, inside, width, stride):
        super().__init__()
        inner, outside = 2 * width, 4 * width
        self.conv1, self.bn1 = conv(inside, inner, 1), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = conv(inner, inner, 3, stride), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = conv(inner, outside, 1), nn.BatchNorm2d(outside)
        self.downsample = shortcut(inside, outside, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def shortcut(inside, outside, stride):
    if inside == outside and stride == 1:
        return nn.Sequential()
    return nn.Sequential(conv(inside, outside, 1, stride), nn.BatchNorm2d(outside))


class ResNet(nn.Module):
    """Activations of the stem and of layer1 to layer4."""

    def __init__(self, block, blocks, widening):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inside = 64
        for number, count in enumerate(blocks):
            width = 64 * 2**number
            layer = []
            for place in range(count):
                layer.append(block(inside, width, 2 if number and not place else 1))
                inside = width * widening
            setattr(self, f"layer{number + 1}", nn.Sequential(*layer))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        found = {"stem": x}
        x = F.max_pool2d(x, 3, 2, 1)
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
            found[f"layer{number}"] = x
        return found


class Vgg(nn.Module):
    """Activations at the end of each of VGG-16's blocks."""

    def __init__(self):
        super().__init__()
        layers, inside = [], 3
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(inside, width, 3, padding=1), nn.ReLU()]
                inside = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def forward(self, x):
        found = {}
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                found[f"block{len(found) + 1}"] = x
            x = layer(x)
        return found


MAKERS = {
    "resnet18": lambda: ResNet(Basic, (2, 2, 2, 2), 1),
    "wide_resnet50_2": lambda: ResNet(Wide, (3, 4, 6, 3), 4),
    "vgg16": Vgg,
}


def draw_weights(shapes):
    """Weights that keep activations of one size, in the order of `shapes`."""
    rng = np.random.default_rng(0)
    drawn = {}
    for name, shape in shapes.items():
        x = rng.standard_normal(shape, np.float32)
        if len(shape) == 4:
            x *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        elif name.endswith((".weight", "running_var")):
            x = 1 + np.float32(0.3) * np.tanh(x)
        else:
            x *= np.float32(0.1)
        drawn[name] = x
    return drawn


def draw_image(height, width, channels):
    """A seeded image in [-1, 1], [1, h, w, c]."""
    rng = np.random.default_rng(height + width)
    return rng.uniform(-1, 1, (1, height, width, channels)).astype(np.float32)


def sample(x):
    """Values spread evenly over an array."""
    flat = x.reshape(-1)
    return flat[np.linspace(0, flat.size - 1, SAMPLES).astype(int)]


def looked(name):
    """What the golden file holds of one network."""
    model = MAKERS[name]().eval()
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    drawn = draw_weights({k: tuple(v.shape) for k, v in state.items()})
    model.load_state_dict({k: torch.as_tensor(v) for k, v in drawn.items()}, strict=False)
    model.double()
    arrays = {f"{name}/names": np.array(list(state))}
    arrays[f"{name}/shapes"] = np.array([[*v.shape, *[0] * (4 - v.ndim)] for v in state.values()])
    for size in IMAGES[name]:
        x = torch.as_tensor(draw_image(*size)).double().permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
        mean, std = (torch.tensor(v).double().reshape(1, 3, 1, 1) for v in (MEAN, STD))
        for level, y in model((0.5 * (x + 1) - mean) / std).items():
            y = y.permute(0, 2, 3, 1).numpy()
            key = f"{name}/{'x'.join(map(str, size))}/{level}"
            arrays[f"{key}/shape"] = np.array(y.shape)
            arrays[f"{key}/moments"] = np.array([y.mean(), y.std()])
            arrays[f"{key}/sample"] = sample(y)
    return arrays


def saved():
    """Files of a few bytes as torch.save writes them, as arrays of bytes by name."""
    a = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    state = {
        "a": a,
        "turned": a.T,
        "half": torch.tensor([0.5, -2.0], dtype=torch.float16),
        "brain": torch.tensor([0.5, -2.0], dtype=torch.bfloat16),
        "double": torch.tensor([0.1], dtype=torch.float64),
        "count": torch.tensor(7),
    }
    contents = {
        "plain": state,
        "nested": {"epoch": 3, "state_dict": state},
        "parameters": {"a": nn.Parameter(a)},
        "module": nn.Linear(2, 1),
    }
    files = {name: written(content) for name, content in contents.items()}
    return files | {"legacy": written(state, _use_new_zipfile_serialization=False)}


def written(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return np.frombuffer(file.getvalue(), np.uint8)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=Path, required=True)
    parser.add_argument("--saved", type=Path, required=True)
    given = parser.parse_args()
    with torch.inference_mode():
        arrays = {key: x for name in MAKERS for key, x in looked(name).items()}
    np.savez_compressed(given.golden, **arrays)
    np.savez_compressed(given.saved, **saved())


if __name__ == "__main__":
    main()
