"""The networks, losses and training step of GANomaly in PyTorch, for comparison with JAX.

    python benchmarks/torch_ganomaly.py --golden=tests/golden/ganomaly_torch.npz

Needs PyTorch and NumPy alone. Written from the paper and the layout of its code; modules bear the
names that Linen gives theirs, so that weights move by name. In evaluation mode the batch norms take
running moments; these are means over all batches so far, as those here are for the first ten.
"""

import argparse
import math
import sys
from pathlib import Path
from types import SimpleNamespace

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from benchmarks.torch_cyclegan import one_row  # noqa: E402
from benchmarks.torch_linen import Chain  # noqa: E402

SEED, STEPS, IMAGES, PIXELS = 0, 3, 3, 32
TINY = SimpleNamespace(channels=3, width=2, latent=5, levels=3, lr=2e-4, b1=0.5, b2=0.999)
WEIGHTS = {"adversarial": 1.0, "contextual": 50.0, "latent": 1.0}


def batch_norm(channels):
    return nn.BatchNorm2d(channels, momentum=None)


class Features(Chain):
    def __init__(self, s):
        layers, now = [], s.channels
        for level in range(s.levels):
            width = s.width * 2**level
            layers.append(nn.Conv2d(now, width, 4, 2, 1, bias=False))
            layers += [batch_norm(width)] if level else []
            layers.append(nn.LeakyReLU(0.2))
            now = width
        super().__init__(*layers)


class Encoder(Chain):
    """Latent [b, d] and the features before it."""

    def __init__(self, s, latent):
        coarse = s.width * 2 ** (s.levels - 1)
        super().__init__(Features(s), nn.Conv2d(coarse, latent, 4, bias=False))

    def forward(self, x):
        features = self.Features_0(x)
        return self.Conv_0(features).flatten(1), features


class Decoder(Chain):
    def __init__(self, s):
        layers, now = [], s.latent
        for level in reversed(range(s.levels)):
            width = s.width * 2**level
            place = (1, 0) if level == s.levels - 1 else (2, 1)  # stride and padding
            layers.append(nn.ConvTranspose2d(now, width, 4, *place, bias=False))
            layers += [batch_norm(width), nn.ReLU()]
            now = width
        last = nn.ConvTranspose2d(now, s.channels, 4, 2, 1, bias=False)
        super().__init__(*layers, last, nn.Tanh())

    def forward(self, z):
        return super().forward(z[:, :, None, None])


def make_model(s):
    generator = {"encoder": Encoder(s, s.latent), "decoder": Decoder(s)}
    generator["encoder_again"] = Encoder(s, s.latent)
    return nn.ModuleDict({"generator": nn.ModuleDict(generator), "discriminator": Encoder(s, 1)})


def draw(model, x):
    """(image, latent, latent of that image)."""
    generator = model["generator"]
    latent, _ = generator["encoder"](x)
    image = generator["decoder"](latent)
    return image, latent, generator["encoder_again"](image)[0]


class Trainer:
    """One Adam for the generator and one for the discriminator, from the same weights."""

    def __init__(self, model, s):
        self.model = model
        adam = {"lr": s.lr, "betas": (s.b1, s.b2)}
        self.optimisers = [torch.optim.Adam(part.parameters(), **adam) for part in model.values()]

    def gradients(self, x):
        """Sets the gradient of every parameter; returns the metrics."""
        image, latent, again = draw(self.model, x)
        judge = self.model["discriminator"]
        real, real_features = judge(x)
        fake, fake_features = judge(image.detach())
        judge_loss = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        judge_loss = judge_loss + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        judge_loss = 0.5 * judge_loss
        terms = {
            "adversarial": F.mse_loss(judge(image)[1], real_features.detach()),
            "contextual": F.l1_loss(image, x),
            "latent": F.mse_loss(latent, again),
        }
        loss = sum(WEIGHTS[name] * term for name, term in terms.items())
        drawing = list(self.model["generator"].parameters())
        for p, g in zip(drawing, torch.autograd.grad(loss, drawing), strict=True):
            p.grad = g
        own = torch.autograd.grad(judge_loss, list(judge.parameters()))
        for p, g in zip(judge.parameters(), own, strict=True):
            p.grad = g
        return {"loss": loss, **terms, "discriminator": judge_loss}

    def step(self, x):
        metrics = self.gradients(x)
        for optimiser in self.optimisers:
            optimiser.step()
        return {name: float(value.detach()) for name, value in metrics.items()}


LEAVES = {"running_mean": "mean", "running_var": "variance", "bias": "bias"}


def jax_name(name, tensor):
    """Place of a parameter or a moment: generator/encoder/Features_0/Conv_0/kernel."""
    *inner, leaf = name.split(".")
    return "/".join([*inner, LEAVES.get(leaf, "kernel" if tensor.ndim > 1 else "scale")])


def to_jax(named, pick=lambda p: p):
    """JAX name -> array in JAX's order of axes, of `pick` of every named tensor."""
    arrays = {}
    for name, p in named:
        x = pick(p).detach().numpy()
        if p.ndim == 4:
            turned = "ConvTranspose" in name
            x = x.transpose((2, 3, 0, 1) if turned else (2, 3, 1, 0))
            x = x[::-1, ::-1] if turned else x
        arrays[jax_name(name, p)] = np.ascontiguousarray(x)
    return arrays


def moments(model):
    """The running means and variances of the generator."""
    named = model["generator"].named_buffers()
    return to_jax((name, x) for name, x in named if "running" in name)


@torch.no_grad()
def shake(model):
    """Random weights that float16 holds exactly, large enough for every one to count."""
    for p in model.parameters():
        noise = torch.randn(p.shape, dtype=p.dtype)
        spread = noise / math.sqrt(p[0].numel()) if p.ndim > 1 else 0.2 * noise
        p.copy_((spread + float(p.ndim == 1)).half())


def _last(x):
    return x.permute(0, 2, 3, 1).numpy()


def write_golden(path):
    """Tiny networks in float64: weights, images, gradients of a step, metrics of three, a score."""
    torch.manual_seed(SEED)
    model = make_model(TINY).double()
    shake(model)
    x = (2.0 * torch.rand(IMAGES, TINY.channels, PIXELS, PIXELS) - 1.0).half().double()
    weights = to_jax(model.named_parameters())
    arrays = {"names": np.array(" ".join(sorted(weights))), "image": _last(x).astype(np.float16)}
    arrays["weights"] = one_row(weights).astype(np.float16)
    trainer = Trainer(model, TINY)
    metrics = [trainer.step(x)]
    gradients = to_jax(model.named_parameters(), lambda p: p.grad)
    arrays["gradients"] = one_row(gradients).astype(np.float32)
    metrics += [trainer.step(x) for _ in range(STEPS - 1)]
    arrays["metric_names"] = np.array(" ".join(metrics[0]))
    arrays["metrics"] = np.array([list(m.values()) for m in metrics], np.float32)
    arrays["moment_names"] = np.array(" ".join(sorted(moments(model))))
    arrays["moments"] = one_row(moments(model)).astype(np.float32)
    model.eval()
    with torch.no_grad():
        image, latent, again = draw(model, x)
    arrays["drawn"] = _last(image).astype(np.float32)
    arrays["score"] = (latent - again).square().mean(1).numpy().astype(np.float32)
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--golden", type=Path, required=True)
    write_golden(parser.parse_args().golden)
