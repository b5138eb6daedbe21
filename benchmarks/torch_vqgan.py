"""The network, losses and training step of vqgan_ad in PyTorch, for comparison with JAX.

    python benchmarks/torch_vqgan.py --golden=tests/golden/vqgan_torch.npz
    python benchmarks/torch_vqgan.py --serve=FOLDER      (started by benchmarks/vqgan.py)

Needs PyTorch and NumPy alone. Modules bear the names that Linen gives theirs, so that weights
move by name (`to_jax`, `from_jax`). Covers VQGAN's default settings, with attention, and
its transformers (torch_vit_vqgan.py).
"""

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from benchmarks.torch_linen import Chain  # noqa: E402
from benchmarks.torch_serving import Twin, golden_or_serve  # noqa: E402
from benchmarks.torch_vit_vqgan import VitDecoder, VitEncoder  # noqa: E402

SEED = 0
TINY = {
    "network": "cnn",
    "width": 2,
    "multipliers": (1, 2),
    "blocks": 1,
    "attention": (1,),
    "latent": 4,
    "disc_width": 2,
    "disc_layers": 2,
    "codes": 8,
    "quantisation": 1.0,
    "beta": 0.25,
    "disc_weight": 0.8,
    "delta": 1e-4,
    "lambda_max": 1e4,
    "ema": 0.999,
    "lr": 1e-2,
    "b1": 0.5,
    "b2": 0.9,
    "eps": 1e-8,
    "channels": 3,
    "restart_every": 0,  # steps between restarts of dead codes; 0: never
}
# Tensors whose whole gradient the golden file holds.
GRADIENTS = (
    "generator/encoder/params/Conv_0/kernel",
    "generator/encoder/params/Middle_0/AttentionBlock_0/Dense_0/kernel",
    "generator/decoder/params/Upsample_0/Conv_0/kernel",
    "generator/head/params/Conv_0/kernel",
    "generator/codebook",
    "discriminator/params/Conv_1/kernel",
    "discriminator/params/GroupNorm_0/scale",
)


def conv(inside, outside, side=3, **options):
    return nn.Conv2d(inside, outside, side, padding=side // 2, **options)


def norm(channels):
    groups = next(g for g in range(min(32, channels), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    def __init__(self, inside, outside):
        super().__init__()
        self.GroupNorm_0, self.Conv_0 = norm(inside), conv(inside, outside)
        self.GroupNorm_1, self.Conv_1 = norm(outside), conv(outside, outside)
        self.Conv_2 = conv(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x):
        y = self.Conv_0(F.silu(self.GroupNorm_0(x)))
        return self.Conv_2(x) + self.Conv_1(F.silu(self.GroupNorm_1(y)))


class AttentionBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.GroupNorm_0 = norm(channels)
        self.Dense_0, self.Dense_1 = (
            nn.Linear(channels, 3 * channels),
            nn.Linear(channels, channels),
        )

    def forward(self, x):
        tokens = self.GroupNorm_0(x).flatten(2).transpose(1, 2)
        query, key, value = self.Dense_0(tokens).unsqueeze(1).chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(query, key, value).squeeze(1)
        return x + self.Dense_1(mixed).transpose(1, 2).reshape(x.shape)


class Downsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.Conv_0 = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x):
        return self.Conv_0(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.Conv_0 = conv(channels, channels)

    def forward(self, x):
        return self.Conv_0(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Middle(Chain):
    def __init__(self, channels, attend):
        attention = [AttentionBlock(channels)] if attend else []
        super().__init__(
            ResidualBlock(channels, channels), *attention, ResidualBlock(channels, channels)
        )


def level_blocks(inside, outside, count, attend):
    for number in range(count):
        yield ResidualBlock(outside if number else inside, outside)
        if attend:
            yield AttentionBlock(outside)


def make_encoder(s):
    if s.network == "vit":
        return VitEncoder(s)
    layers, now = [conv(s.channels, s.width)], s.width
    for level, multiplier in enumerate(s.multipliers):
        layers += [Downsample(now)] if level else []
        layers += level_blocks(now, s.width * multiplier, s.blocks, level in s.attention)
        now = s.width * multiplier
    return Chain(*layers, Middle(now, bool(s.attention)), norm(now), nn.SiLU(), conv(now, s.latent))


def make_decoder(s):
    if s.network != "cnn":
        return VitDecoder(s, norm)
    now = s.width * s.multipliers[-1]
    layers = [conv(s.latent, now), Middle(now, bool(s.attention))]
    for level in reversed(range(len(s.multipliers))):
        width = s.width * s.multipliers[level]
        layers += level_blocks(now, width, s.blocks + 1, level in s.attention)
        layers += [Upsample(width)] if level else []
        now = width
    return Chain(*layers, norm(now), nn.SiLU())


def make_discriminator(s):
    layers, now = [], s.channels
    for level in range(s.disc_layers + 1):
        width, stride = s.disc_width * min(2**level, 8), 2 if level < s.disc_layers else 1
        layers.append(nn.Conv2d(now, width, 4, stride, padding=1, bias=level == 0))
        layers += [norm(width)] if level else []
        layers.append(nn.LeakyReLU(0.2))
        now = width
    return Chain(*layers, nn.Conv2d(now, 1, 4, padding=1))


class Passed(NamedTuple):
    image: torch.Tensor
    codes: torch.Tensor
    latent: torch.Tensor
    quantisation: torch.Tensor
    commitment: torch.Tensor


class Generator(nn.Module):
    """Encoder, quantiser with straight-through gradient, decoder, last convolution."""

    def __init__(self, s):
        super().__init__()
        self.encoder, self.decoder = make_encoder(s), make_decoder(s)
        inside = s.width * s.multipliers[0] if s.network == "cnn" else s.vit["features"]
        self.head = Chain(conv(inside, s.channels))
        self.codebook = nn.Parameter((2.0 * torch.rand(s.codes, s.latent) - 1.0) / s.codes)

    def forward(self, x):
        latent = self.encoder(x)
        with torch.autocast(x.device.type, enabled=False):
            latent = latent.to(self.codebook.dtype).permute(0, 2, 3, 1)
            codes = nearest(self.codebook.detach(), latent.detach())
            chosen = F.embedding(codes, self.codebook)
            straight = latent + (chosen - latent).detach()
            quantisation = F.mse_loss(chosen, latent.detach())
            commitment = F.mse_loss(latent, chosen.detach())
        image = self.head(self.decoder(straight.permute(0, 3, 1, 2))).to(self.codebook.dtype)
        return Passed(image, codes, latent, quantisation, commitment)


def nearest(codebook, latent):
    return (codebook.square().sum(1) - 2.0 * latent @ codebook.T).argmin(-1)


def make_model(s):
    return nn.ModuleDict({"generator": Generator(s), "discriminator": make_discriminator(s)})


def jax_name(name, tensor):
    """Place of a parameter in the JAX state: generator/encoder/params/Conv_0/kernel."""
    parts = name.split(".")
    if parts[-1] == "codebook":
        return "/".join(parts)
    leaf = {"bias": "bias"}.get(parts[-1], "kernel" if tensor.ndim > 1 else "scale")
    root = 2 if parts[0] == "generator" else 1
    return "/".join([*parts[:root], "params", *parts[root:-1], leaf])


def _to_jax_order(tensor, name):
    if tensor.ndim == 4:
        return tensor.permute(2, 3, 1, 0)
    return tensor.T if tensor.ndim == 2 and name.endswith("kernel") else tensor


def to_jax(model, pick=lambda p: p):
    """JAX name -> array in JAX's order of axes, of `pick` of every parameter."""
    named = {jax_name(name, p): pick(p).detach() for name, p in model.named_parameters()}
    return {name: _to_jax_order(t, name).cpu().numpy() for name, t in named.items()}


@torch.no_grad()
def from_jax(model, arrays):
    """Sets every parameter from the arrays that JAX names; a missing name is an error."""
    for name, p in model.named_parameters():
        array = torch.from_numpy(np.array(arrays[jax_name(name, p)]))
        if p.ndim == 4:
            array = array.permute(3, 2, 0, 1)
        elif p.ndim == 2 and not name.endswith("codebook"):
            array = array.T
        p.copy_(array)


class Trainer:
    """Both players with Adam, averaged weights and the codes' count; a step as JAX takes it."""

    def __init__(self, model, settings, dtype="float32"):
        self.model, self.s, self.count = model, settings, 0
        self.generator, self.discriminator = model["generator"], model["discriminator"]
        adam = {"lr": settings.lr, "betas": (settings.b1, settings.b2), "eps": settings.eps}
        self.generator_opt = torch.optim.Adam(self.generator.parameters(), **adam, fused=True)
        self.disc_opt = torch.optim.Adam(self.discriminator.parameters(), **adam, fused=True)
        self.averaged = [p.detach().clone() for p in self.generator.parameters()]
        self.used = torch.zeros(settings.codes, device=self.device, dtype=torch.long)
        self.dtype = dtype

    @property
    def device(self):
        return self.generator.codebook.device

    def autocast(self):
        low = self.dtype == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=low)

    def logits(self, x):
        with self.autocast():
            return self.discriminator(x).squeeze(1).to(x.dtype)

    def gradients(self, x):
        """Sets the gradient of every parameter; returns the pass and its metrics."""
        s = self.s
        with self.autocast():
            passed = self.generator(x)
        image = passed.image.detach().requires_grad_()
        nll = F.mse_loss(image, x)
        (nll_pull,) = torch.autograd.grad(nll, image)
        fake, real = self.logits(image), self.logits(x)
        fake_loss, real_loss = F.softplus(fake).mean(), F.softplus(-real).mean()
        adversarial = -fake_loss  # log(1 - D), which the generator minimises
        (game_pull,) = torch.autograd.grad(adversarial, image, retain_graph=True)
        discriminator = 0.5 * (fake_loss + real_loss)
        discriminator.backward(inputs=list(self.discriminator.parameters()))

        kernel = self.generator.head.Conv_0.weight
        norms = [
            torch.autograd.grad(passed.image, kernel, pull, retain_graph=True)[0].norm()
            for pull in (nll_pull, game_pull)
        ]
        adaptive = (norms[0] / (norms[1] + s.delta)).clamp(0.0, s.lambda_max) * s.disc_weight
        vq_loss = s.quantisation * passed.quantisation + s.beta * passed.commitment
        torch.autograd.backward((passed.image, vq_loss), (nll_pull + adaptive * game_pull, None))
        metrics = {
            "loss": nll + vq_loss,
            "reconstruction": nll,
            "quantisation": passed.quantisation,
            "adversarial": adversarial,
            "discriminator": discriminator,
            "logits_real": real.mean(),
            "logits_fake": fake.mean(),
            "adaptive_weight": adaptive,
            "gradient_norm": _norm(self.generator),
            "disc_gradient_norm": _norm(self.discriminator),
        }
        return passed, {name: value.detach() for name, value in metrics.items()}

    def step(self, x):
        """One update of both players; metrics stay on the device."""
        self.generator_opt.zero_grad(set_to_none=True)
        self.disc_opt.zero_grad(set_to_none=True)
        passed, metrics = self.gradients(x)
        self.generator_opt.step()
        self.disc_opt.step()
        with torch.no_grad():
            self._keep(passed)
        self.count += 1
        return metrics

    def _keep(self, passed):
        self.used += torch.bincount(passed.codes.flatten(), minlength=self.s.codes)
        if self.s.restart_every and (self.count + 1) % self.s.restart_every == 0:
            points = passed.latent.reshape(-1, self.s.latent)
            drawn = points[torch.randint(len(points), (self.s.codes,), device=self.device)]
            codebook = self.generator.codebook
            codebook.copy_(torch.where((self.used == 0)[:, None], drawn, codebook))
            self.used.zero_()
        decay = min(self.s.ema, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(self.averaged, list(self.generator.parameters()), 1.0 - decay)

    @torch.inference_mode()
    def reconstruct(self, x):
        """Image in [-1, 1], logits of both images, codes, mean error of each image."""
        with self.autocast():
            passed = self.generator(x)
        image = passed.image.clamp(-1.0, 1.0)
        error = (image - x).square().mean((1, 2, 3))
        return image, self.logits(x), self.logits(image), passed.codes, error


def _norm(module):
    return torch.nn.utils.get_total_norm([p.grad for p in module.parameters()])


# Golden file ------------------------------------------------------------------------------------


@torch.no_grad()
def shake(model):
    """Random weights, offsets and scales that float16 holds exactly, so that all of them count."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, dtype=p.dtype)
        if name.endswith("codebook"):
            noise *= 0.5
        elif p.ndim > 1:
            noise /= math.sqrt(p[0].numel())
        else:
            noise = 0.2 * noise + (0.0 if name.endswith("bias") else 1.0)
        p.copy_(noise.half())


def write_golden(path):
    """A tiny VQGAN in float64: weights, images, one pass, gradients, losses of three steps."""
    torch.manual_seed(SEED)
    settings = SimpleNamespace(**TINY)
    model = make_model(settings).double()
    shake(model)
    image = (2.0 * torch.rand(2, settings.channels, 16, 16) - 1.0).half().double()
    weights = to_jax(model)
    names = sorted(weights)
    # One long row: an archive's member of its own for each would be mostly headers.
    row = np.concatenate([weights[name].ravel() for name in names])
    arrays = {"names": np.array(" ".join(names)), "weights": row.astype(np.float16)}
    trainer = Trainer(model, settings)
    with torch.no_grad():
        passed = trainer.generator(image)
        arrays["image"] = _last(image).astype(np.float16)
        arrays["reconstruction"] = _last(passed.image).astype(np.float32)
        arrays["codes"] = passed.codes.numpy().astype(np.int32)
        arrays["logits"] = trainer.logits(image).numpy().astype(np.float32)
    metrics = [trainer.step(image)]
    gradients = to_jax(model, lambda p: p.grad)
    arrays |= {f"gradients/{name}": gradients[name].astype(np.float32) for name in GRADIENTS}
    metrics += [trainer.step(image), trainer.step(image)]
    arrays["metric_names"] = np.array(" ".join(metrics[0]))
    arrays["metrics"] = np.array([[float(x) for x in m.values()] for m in metrics], np.float32)
    # The network above is too narrow for a group of more than one channel.
    grouped = norm(40).double()
    shake(grouped)
    x = torch.randn(2, 40, 3, 4).half().double()
    arrays["norm/scale"] = grouped.weight.detach().numpy().astype(np.float16)
    arrays["norm/bias"] = grouped.bias.detach().numpy().astype(np.float16)
    arrays["norm/x"] = _last(x).astype(np.float16)
    arrays["norm/y"] = _last(grouped(x).detach()).astype(np.float32)
    np.savez_compressed(path, **arrays)


def _last(x):
    return x.permute(0, 2, 3, 1).numpy()


if __name__ == "__main__":
    golden_or_serve(
        Twin(
            make_model,
            from_jax,
            Trainer,
            step=Trainer.step,
            outputs=("image", "real", "fake", "codes"),
        ),
        write_golden,
    )
