"""The U-Net, training step and DDIM of diffusion_ad in PyTorch, for comparison with JAX.

    python benchmarks/torch_diffusion.py --golden=tests/golden/diffusion_torch.npz
    python benchmarks/torch_diffusion.py --serve=FOLDER      (started by benchmarks/diffusion.py)

Needs PyTorch and NumPy alone. Modules bear the names that Linen gives theirs, so that weights move
by name. The network tells the velocity; times and Gaussian noise of a step are each side's own.
"""

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
from benchmarks.torch_serving import Twin, golden_or_serve  # noqa: E402
from benchmarks.torch_vqgan import Downsample, Upsample, conv  # noqa: E402

SEED, IMAGES, PIXELS = 0, 3, 16
TINY = {"channels": 2, "width": 2, "multipliers": (1, 4), "blocks": 1, "attention": (1,)}
STEPS = (250, 180, 90, 0)  # times of the golden file's DDIM


def norm(channels):
    groups = next(g for g in range(min(8, channels), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels, eps=1e-6)


class TimeEmbedding(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.features = features
        self.Dense_0, self.Dense_1 = nn.Linear(features, features), nn.Linear(features, features)

    def forward(self, time):
        half = self.features // 2
        place = torch.arange(half, dtype=self.Dense_0.weight.dtype, device=time.device)
        angle = time[:, None] * torch.exp(-math.log(1e4) * place / half)
        waves = torch.cat([angle.cos(), angle.sin()], dim=1)
        return F.silu(self.Dense_1(F.silu(self.Dense_0(waves))))


class TimedBlock(nn.Module):
    def __init__(self, inside, outside, embedding):
        super().__init__()
        self.GroupNorm_0, self.Conv_0 = norm(inside), conv(inside, outside)
        self.Dense_0 = nn.Linear(embedding, 2 * outside)
        self.GroupNorm_1, self.ending = norm(outside), conv(outside, outside)
        self.Conv_1 = conv(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x, time):
        y = self.Conv_0(F.silu(self.GroupNorm_0(x)))
        scale, shift = self.Dense_0(time)[:, :, None, None].chunk(2, dim=1)
        y = self.GroupNorm_1(y) * (1.0 + scale) + shift
        return self.Conv_1(x) + self.ending(F.silu(y))


class AttentionBlock(nn.Module):
    """Names and order as Linen's, with the default norm of 32 groups."""

    def __init__(self, channels):
        super().__init__()
        groups = next(g for g in range(min(32, channels), 0, -1) if channels % g == 0)
        self.GroupNorm_0 = nn.GroupNorm(groups, channels, eps=1e-6)
        self.Dense_0 = nn.Linear(channels, 3 * channels)
        self.Dense_1 = nn.Linear(channels, channels)

    def forward(self, x):
        tokens = self.GroupNorm_0(x).flatten(2).transpose(1, 2)
        query, key, value = self.Dense_0(tokens).unsqueeze(1).chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(query, key, value).squeeze(1)
        return x + self.Dense_1(mixed).transpose(1, 2).reshape(x.shape)


class UNet(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s, self.counts = s, {}
        embedding = 4 * s.width
        self.TimeEmbedding_0 = TimeEmbedding(embedding)
        self.Conv_0, now, across = conv(s.channels, s.width), s.width, [s.width]
        levels = range(len(s.multipliers))
        for level in levels:
            for _ in range(s.blocks):
                now = self._block(now, s.width * s.multipliers[level], level)
                across.append(now)
            if level + 1 < len(levels):
                self._add(Downsample(now))
                across.append(now)
        self._add(TimedBlock(now, now, embedding))
        if s.attention:
            self._add(AttentionBlock(now))
        self._add(TimedBlock(now, now, embedding))
        for level in reversed(levels):
            for _ in range(s.blocks + 1):
                now = self._block(now + across.pop(), s.width * s.multipliers[level], level)
            if level:
                self._add(Upsample(now))
        self.GroupNorm_0, self.ending = norm(now), conv(now, s.channels)

    def _add(self, module):
        kind = type(module).__name__
        self.counts[kind] = self.counts.get(kind, -1) + 1
        self.add_module(f"{kind}_{self.counts[kind]}", module)

    def _block(self, inside, outside, level):
        self._add(TimedBlock(inside, outside, 4 * self.s.width))
        if level in self.s.attention:
            self._add(AttentionBlock(outside))
        return outside

    def forward(self, x, time):
        s, used = self.s, {}

        def of(kind):
            used[kind] = used.get(kind, -1) + 1
            return getattr(self, f"{kind}_{used[kind]}")

        def block(x, level):
            x = of("TimedBlock")(x, embedding)
            return of("AttentionBlock")(x) if level in s.attention else x

        embedding = self.TimeEmbedding_0(time)
        x = self.Conv_0(x)
        across, levels = [x], range(len(s.multipliers))
        for level in levels:
            for _ in range(s.blocks):
                x = block(x, level)
                across.append(x)
            if level + 1 < len(levels):
                x = of("Downsample")(x)
                across.append(x)
        x = of("TimedBlock")(x, embedding)
        x = of("AttentionBlock")(x) if s.attention else x
        x = of("TimedBlock")(x, embedding)
        for level in reversed(levels):
            for _ in range(s.blocks + 1):
                x = block(torch.cat([x, across.pop()], dim=1), level)
            x = of("Upsample")(x) if level else x
        return self.ending(F.silu(self.GroupNorm_0(x)))


def cosine(times=1000):
    """Signal and spread at times 0 to `times`, in float64."""
    share = torch.arange(times + 1, dtype=torch.float64) / times
    abar = torch.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2
    betas = (1 - abar[1:] / abar[:-1]).clamp(max=0.999)
    abar = torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, 0)])
    return abar.sqrt(), (1 - abar).sqrt()


def jax_name(name, tensor):
    """Place of a parameter in the JAX state: network/params/TimedBlock_0/Conv_0/kernel."""
    *inner, leaf = name.split(".")
    leaf = leaf if leaf == "bias" else "kernel" if tensor.ndim > 1 else "scale"
    return "/".join(["network", "params", *inner, leaf])


def to_jax(model, pick=lambda p: p):
    """JAX name -> array in JAX's order of axes, of `pick` of every parameter."""
    arrays = {}
    for name, p in model.named_parameters():
        x = pick(p).detach().cpu().numpy()
        x = x.transpose(2, 3, 1, 0) if p.ndim == 4 else x.T if p.ndim == 2 else x
        arrays[jax_name(name, p)] = np.ascontiguousarray(x)
    return arrays


@torch.no_grad()
def from_jax(model, arrays):
    """Sets every parameter from the arrays that JAX names; a missing name is an error."""
    for name, p in model.named_parameters():
        array = torch.from_numpy(np.array(arrays[jax_name(name, p)]))
        array = array.permute(3, 2, 0, 1) if p.ndim == 4 else array.T if p.ndim == 2 else array
        p.copy_(array)


class Trainer:
    """Adam with a clipped gradient, averaged weights; DDIM from the image itself as x_t."""

    def __init__(self, model, settings, dtype="float32"):
        self.model, self.s, self.dtype, self.count = model, settings, dtype, 0
        adam = {"lr": settings.lr, "betas": (settings.b1, settings.b2), "eps": settings.eps}
        self.optimiser = torch.optim.Adam(model.parameters(), **adam, fused=True)
        self.averaged = [p.detach().clone() for p in model.parameters()]
        self.device = next(model.parameters()).device
        self.signal, self.spread = (x.float().to(self.device) for x in cosine())

    def output(self, x, time):
        low = self.dtype == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=low):
            return self.model(x, time).to(x.dtype)

    def step(self, x):
        """One update; its loss stays on the device."""
        time = torch.randint(1, self.s.latest + 1, (len(x),), device=self.device)
        signal, spread = (f[time][:, None, None, None] for f in (self.signal, self.spread))
        noise = torch.randn_like(x)
        output = self.output(signal * x + spread * noise, time)
        snr = (signal / spread) ** 2
        weight = snr.clamp(max=self.s.min_snr) / (1 + snr)
        loss = (weight * (output - (signal * noise - spread * x)) ** 2).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.s.clip_norm)
        self.optimiser.step()
        decay = min(self.s.ema, (1 + self.count) / (10 + self.count))
        with torch.no_grad():
            torch._foreach_lerp_(self.averaged, list(self.model.parameters()), 1.0 - decay)
        self.count += 1
        return {"loss_of_own_noise": loss.detach()}

    @torch.inference_mode()
    def reconstruct(self, x):
        """The clean image of `x` as the noisy one."""
        return (ddim(self.output, x, self.s.times, self.signal, self.spread),)


def ddim(output, x, times, signal, spread):
    """Steps between these times, the last of them 0."""
    for now, then in zip(times[:-1], times[1:], strict=True):
        time = torch.full((len(x),), now, device=x.device)
        v = output(x, time)
        clean = (signal[now] * x - spread[now] * v).clamp(-1, 1)
        noise = (x - signal[now] * clean) / spread[now]
        x = signal[then] * clean + spread[then] * noise
    return x


# Golden file ------------------------------------------------------------------------------------


@torch.no_grad()
def shake(model):
    """Random weights, offsets and scales that float16 holds exactly, so that all of them count."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, dtype=p.dtype)
        if p.ndim > 1:
            noise /= math.sqrt(p[0].numel())
        else:
            noise = 0.2 * noise + (0.0 if name.endswith("bias") else 1.0)
        p.copy_(noise.half())


def write_golden(path):
    """A tiny U-Net in float64: weights, an output, the gradients of a loss, DDIM in three steps."""
    torch.manual_seed(SEED)
    model = UNet(SimpleNamespace(**TINY)).double()
    shake(model)
    shape = (IMAGES, TINY["channels"], PIXELS, PIXELS)
    x, target = (torch.randn(shape).half().double() for _ in range(2))
    time = torch.tensor([1, 250, 999])
    output = model(x, time)
    F.mse_loss(output, target).backward()
    weights, gradients = to_jax(model), to_jax(model, lambda p: p.grad)
    with torch.no_grad():
        drawn = ddim(model, x, STEPS, *cosine())
    np.savez_compressed(
        path,
        names=np.array(" ".join(sorted(weights))),
        weights=one_row(weights).astype(np.float16),
        x=_last(x).astype(np.float16),
        target=_last(target).astype(np.float16),
        time=time.numpy().astype(np.int32),
        output=_last(output.detach()).astype(np.float32),
        gradients=one_row(gradients).astype(np.float32),
        drawn=_last(drawn).astype(np.float32),
    )


def _last(x):
    return x.permute(0, 2, 3, 1).numpy()


if __name__ == "__main__":
    twin = Twin(UNet, from_jax, Trainer, step=Trainer.step, outputs=("image",))
    golden_or_serve(twin, write_golden)
