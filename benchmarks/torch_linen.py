"""A chain of PyTorch modules named as Linen names its own, so that weights move by name."""

from torch import nn

LINEN = {
    "BatchNorm2d": "BatchNorm",
    "Conv2d": "Conv",
    "ConvTranspose2d": "ConvTranspose",
    "Linear": "Dense",
}


class Chain(nn.Module):
    """Layers one after the other, named as Linen names them: Conv_0, Conv_1, ..."""

    def __init__(self, *layers):
        super().__init__()
        counts = {}
        for layer in layers:
            kind = type(layer).__name__
            kind = LINEN.get(kind, kind)
            counts[kind] = counts.get(kind, -1) + 1
            self.add_module(f"{kind}_{counts[kind]}", layer)

    def forward(self, x):
        for layer in self.children():
            x = layer(x)
        return x
