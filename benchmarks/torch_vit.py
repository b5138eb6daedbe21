"""DINOv2's ViT-S/14 and ViT-B/14 in PyTorch with made-up weights: a golden file.

    python benchmarks/torch_vit.py --golden=tests/golden/vit_torch.npz

Needs PyTorch alone, which nothing else here does. Modules bear DINOv2's names and shapes. Weights
are drawn anew by the tests from the names and shapes in the file, so that it stays small.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SAMPLES = 48  # values of each level that the golden file holds
PATCH, SIDE = 14, 37
LEVELS = (3, 6, 9, 12)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WIDTHS = {"dinov2_vits14": 384, "dinov2_vitb14": 768}
# network -> sizes and channels of the images that it sees: of whole patches, of broken ones
IMAGES = {
    "dinov2_vits14": ((56, 84, 3), (61, 90, 1)),
    "dinov2_vitb14": ((28, 42, 3),),
}


class Attention(nn.Module):
    """Queries, keys and values of all heads in one product."""

    def __init__(self, width):
        super().__init__()
        self.heads = width // 64
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, 64).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / 8).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, d))


class Mlp(nn.Module):
    """Two layers with GELU."""

    def __init__(self, width):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """A factor for each channel."""

    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.gamma * x


class Block(nn.Module):
    """Norms before attention and layers, scales behind them."""

    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.attn, self.mlp = Attention(width), Mlp(width)
        self.ls1, self.ls2 = LayerScale(width), LayerScale(width)

    def forward(self, x):
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """A convolution over patches."""

    def __init__(self, width):
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)

    def forward(self, x):
        return self.proj(x)


class Vit(nn.Module):
    """Tokens of the patches behind the blocks LEVELS, those of the last normalised."""

    def __init__(self, width):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + SIDE**2, width))
        self.patch_embed = PatchEmbed(width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(12))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def positions(self, h, w):
        """As DINOv2 interpolates them, by a scale with an offset."""
        grid = self.pos_embed[:, 1:].reshape(1, SIDE, SIDE, -1).permute(0, 3, 1, 2)
        scale = ((h + 0.1) / SIDE, (w + 0.1) / SIDE)
        grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", antialias=False)
        assert grid.shape[2:] == (h, w)
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)

    def forward(self, x):
        grid = self.patch_embed(x)
        b, d, h, w = grid.shape
        tokens = torch.cat([self.cls_token.expand(b, -1, -1), grid.flatten(2).transpose(1, 2)], 1)
        tokens, found = tokens + self.positions(h, w), {}
        for number, block in enumerate(self.blocks, 1):
            tokens = block(tokens)
            if number in LEVELS:
                shown = self.norm(tokens) if number == LEVELS[-1] else tokens
                found[f"block{number}"] = shown[:, 1:].reshape(b, h, w, d)
        return found


def draw_weights(shapes):
    """Weights that keep activations of one size, in the order of `shapes`."""
    rng = np.random.default_rng(0)
    drawn = {}
    for name, shape in shapes.items():
        x = rng.standard_normal(shape, np.float32)
        if name in ("cls_token", "pos_embed"):
            x *= np.float32(0.5)
        elif len(shape) > 1:
            x *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        elif name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "gamma")):
            x = 1 + np.float32(0.3) * np.tanh(x)
        else:
            x *= np.float32(0.1)
        drawn[name] = x
    return drawn


def draw_image(height, width, channels):
    """A seeded image in [-1, 1], [1, h, w, c]."""
    rng = np.random.default_rng(height + width)
    return rng.uniform(-1, 1, (1, height, width, channels)).astype(np.float32)


def prepared(image):
    """The image at sides of whole patches, by ImageNet's mean and deviation."""
    x = torch.as_tensor(image).double().permute(0, 3, 1, 2)
    sides = [side // PATCH * PATCH for side in x.shape[2:]]
    if list(x.shape[2:]) != sides:
        x = F.interpolate(x, sides, mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v).double().reshape(1, 3, 1, 1) for v in (MEAN, STD))
    return (0.5 * (x.expand(-1, 3, -1, -1) + 1) - mean) / std


def looked(name):
    """What the golden file holds of one network."""
    model = Vit(WIDTHS[name]).eval()
    state = model.state_dict()
    drawn = draw_weights({k: tuple(v.shape) for k, v in state.items()})
    model.load_state_dict({k: torch.as_tensor(v) for k, v in drawn.items()})
    model.double()
    arrays = {f"{name}/names": np.array(list(state))}
    arrays[f"{name}/shapes"] = np.array([[*v.shape, *[0] * (4 - v.ndim)] for v in state.values()])
    for size in IMAGES[name]:
        for level, y in model(prepared(draw_image(*size))).items():
            key, flat = f"{name}/{'x'.join(map(str, size))}/{level}", y.numpy().reshape(-1)
            arrays[f"{key}/shape"] = np.array(y.shape)
            arrays[f"{key}/moments"] = np.array([flat.mean(), flat.std()])
            arrays[f"{key}/sample"] = flat[np.linspace(0, flat.size - 1, SAMPLES).astype(int)]
    return arrays


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=Path, required=True)
    given = parser.parse_args()
    with torch.inference_mode():
        arrays = {key: x for name in WIDTHS for key, x in looked(name).items()}
    np.savez_compressed(given.golden, **arrays)


if __name__ == "__main__":
    main()
