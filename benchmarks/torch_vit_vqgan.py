"""The vision transformers of vqgan_ad in PyTorch; torch_vqgan.py takes them by `network`.

Modules bear the names that Linen gives theirs, so that weights move by name.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.torch_vit import Mlp

LONGEST = 10_000.0  # wave length of the slowest position, over 2 pi, in patches


class Attention(nn.Module):
    """All tokens look at all, in `heads` heads."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, n, d = x.shape
        parts = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts)
        return self.proj(mixed.transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    """Norms before attention and layers."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.attn, self.mlp = Attention(width, heads), Mlp(width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Blocks over tokens that are told where they lie, and a norm behind them."""

    def __init__(self, width, depth, heads):
        super().__init__()
        self.depth = depth
        for number in range(depth):
            self.add_module(f"block{number}", Block(width, heads))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, grid):
        b, h, w, d = grid.shape
        x = (grid + positions(h, w, d, grid)).reshape(b, h * w, d)
        for number in range(self.depth):
            x = getattr(self, f"block{number}")(x)
        return self.norm(x).reshape(b, h, w, d)


def positions(h, w, width, like):
    """Sines and cosines of the row, then of the column, [h, w, width]."""
    quarter = width // 4
    rates = LONGEST ** -(torch.arange(quarter, device=like.device, dtype=torch.float64) / quarter)

    def waves(count):
        angle = torch.arange(count, device=like.device, dtype=torch.float64)[:, None] * rates
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    rows = waves(h)[:, None].expand(h, w, -1)
    columns = waves(w)[None].expand(h, w, -1)
    return torch.cat([rows, columns], dim=-1).to(like.dtype)


class VitEncoder(nn.Module):
    """Patches, a transformer, and a latent position of each patch."""

    def __init__(self, s):
        super().__init__()
        self.patch, width = s.vit["patch"], s.vit["width"]
        self.embed = nn.Linear(s.channels * self.patch**2, width)
        self.transformer = Transformer(width, s.vit["depth"], s.vit["heads"])
        self.latent = nn.Linear(width, s.latent)

    def forward(self, x):
        b, c, h, w = x.shape
        p = self.patch
        cut = x.reshape(b, c, h // p, p, w // p, p).permute(0, 2, 4, 3, 5, 1)
        grid = self.embed(cut.reshape(b, h // p, w // p, p * p * c))
        return self.latent(self.transformer(grid)).permute(0, 3, 1, 2)


class SmoothUnpatchify(nn.Module):
    """Doublings, linear, each with a convolution behind it."""

    def __init__(self, width, features, patch):
        super().__init__()
        self.doublings = int(math.log2(patch))
        now = width
        for number in range(self.doublings):
            wide = min(width, features * 2 ** (self.doublings - 1 - number))
            self.add_module(f"Conv_{number}", nn.Conv2d(now, wide, 3))
            now = wide

    def forward(self, x):
        for number in range(self.doublings):
            x = F.silu(x) if number else x
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = getattr(self, f"Conv_{number}")(F.pad(x, (1, 1, 1, 1), mode="replicate"))
        return x


class VitDecoder(nn.Module):
    """A transformer over the latent, then features at full resolution."""

    def __init__(self, s, norm):
        super().__init__()
        width, features = s.vit["width"], s.vit["features"]
        self.embed = nn.Linear(s.latent, width)
        self.transformer = Transformer(width, s.vit["depth"], s.vit["heads"])
        self.unpatchify = SmoothUnpatchify(width, features, s.stride)
        self.GroupNorm_0 = norm(features)

    def forward(self, z):
        grid = self.transformer(self.embed(z.permute(0, 2, 3, 1)))
        return F.silu(self.GroupNorm_0(self.unpatchify(grid.permute(0, 3, 1, 2))))
