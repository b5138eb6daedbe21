"""The networks, losses and training step of cyclegan_ad in PyTorch, for comparison with JAX.

    python benchmarks/torch_cyclegan.py --golden=tests/golden/cyclegan_torch.npz
    python benchmarks/torch_cyclegan.py --serve=FOLDER      (started by benchmarks/cyclegan.py)

Needs PyTorch and NumPy alone. Written from the recipe of CycleGAN-AD; modules bear the names that
Linen gives theirs, so that weights move by name (`to_jax`, `from_jax`).
"""

import math
import random
import sys
from pathlib import Path
from types import SimpleNamespace

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from benchmarks.torch_linen import Chain  # noqa: E402
from benchmarks.torch_serving import Twin, golden_or_serve  # noqa: E402

SEED = 0
GENERATORS = ("to_normal", "to_abnormal")
DISCRIMINATORS = ("disc_normal", "disc_abnormal")
TINY = {
    "width": 2,
    "blocks": 1,
    "upsample": "transposed",
    "disc_width": 2,
    "disc_layers": 2,
    "adversarial_weight": 1.0,
    "cycle_weight": 10.0,
    "identity_weight": 5.0,
    "pool": 50,
    "lr": 2e-4,
    "b1": 0.5,
    "b2": 0.999,
    "eps": 1e-8,
    "channels": 3,
}
PIXELS = 16


class Convolution(Chain):
    """Reflected borders, then a convolution."""

    def __init__(self, inside, outside, side):
        super().__init__(nn.ReflectionPad2d(side // 2), nn.Conv2d(inside, outside, side))


class ResidualBlock(Chain):
    def __init__(self, width):
        super().__init__(
            Convolution(width, width, 3),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
            Convolution(width, width, 3),
            nn.InstanceNorm2d(width),
        )

    def forward(self, x):
        return x + super().forward(x)


def make_generator(s):
    layers = [Convolution(s.channels, s.width, 7), nn.InstanceNorm2d(s.width), nn.ReLU()]
    for now in (1, 2):
        layers.append(nn.Conv2d(now * s.width, 2 * now * s.width, 3, stride=2, padding=1))
        layers += [nn.InstanceNorm2d(2 * now * s.width), nn.ReLU()]
    layers += [ResidualBlock(4 * s.width) for _ in range(s.blocks)]
    for now in (4, 2):
        width = now * s.width // 2
        if s.upsample == "transposed":
            double = [nn.ConvTranspose2d(2 * width, width, 3, 2, padding=1, output_padding=1)]
        else:
            double = [nn.UpsamplingNearest2d(scale_factor=2), nn.Conv2d(2 * width, width, 3, 1, 1)]
        layers += [*double, nn.InstanceNorm2d(width), nn.ReLU()]
    return Chain(*layers, Convolution(s.width, s.channels, 7), nn.Tanh())


def make_discriminator(s):
    layers, now = [], s.channels
    for level in range(s.disc_layers + 1):
        width, stride = s.disc_width * min(2**level, 8), 2 if level < s.disc_layers else 1
        layers.append(nn.Conv2d(now, width, 4, stride, padding=1))
        layers += [nn.InstanceNorm2d(width)] if level else []
        layers.append(nn.LeakyReLU(0.2))
        now = width
    return Chain(*layers, nn.Conv2d(now, 1, 4, padding=1))


def make_model(s):
    return nn.ModuleDict(
        {name: make_generator(s) for name in GENERATORS}
        | {name: make_discriminator(s) for name in DISCRIMINATORS}
    )


def jax_name(name, tensor):
    """Place of a parameter in the JAX state: to_normal/params/Conv_0/kernel."""
    root, *inner, leaf = name.split(".")
    return "/".join([root, "params", *inner, "kernel" if tensor.ndim > 1 else leaf])


def _axes(name):
    """Axes of a PyTorch kernel in JAX's order, and whether it is turned by half a turn."""
    return ((2, 3, 0, 1), True) if "ConvTranspose" in name else ((2, 3, 1, 0), False)


def to_jax(model, pick=lambda p: p):
    """JAX name -> array in JAX's order of axes, of `pick` of every parameter."""
    arrays = {}
    for name, p in model.named_parameters():
        x = pick(p).detach().cpu().numpy()
        if p.ndim == 4:
            axes, turned = _axes(name)
            x = x.transpose(axes)
            x = x[::-1, ::-1] if turned else x
        arrays[jax_name(name, p)] = np.ascontiguousarray(x)
    return arrays


@torch.no_grad()
def from_jax(model, arrays):
    """Sets every parameter from the arrays that JAX names; a missing name is an error."""
    for name, p in model.named_parameters():
        x = np.array(arrays[jax_name(name, p)])
        if p.ndim == 4:
            axes, turned = _axes(name)
            x = x[::-1, ::-1] if turned else x
            x = x.transpose(np.argsort(axes))
        p.copy_(torch.from_numpy(np.ascontiguousarray(x)))


class Pool:
    """The recipe's pool of past fakes, image by image."""

    def __init__(self, size):
        self.size, self.images = size, []

    def exchange(self, fakes):
        shown = []
        for fake in fakes.detach().split(1):
            if len(self.images) < self.size:
                self.images.append(fake)
                shown.append(fake)
            elif random.random() > 0.5:
                place = random.randrange(self.size)
                shown.append(self.images[place])
                self.images[place] = fake
            else:
                shown.append(fake)
        return torch.cat(shown)


def rate_factor(epoch, epochs):
    """The recipe's learning rate of an epoch, counted from 0, as a share of the first."""
    return 1.0 - max(0.0, epoch - epochs / 10) / (epochs - epochs / 10)


class Trainer:
    """Two generators with one Adam, two discriminators with one each, and the pools."""

    def __init__(self, model, settings, dtype="float32"):
        self.model, self.s, self.dtype = model, settings, dtype
        adam = {"lr": settings.lr, "betas": (settings.b1, settings.b2), "eps": settings.eps}
        both = [p for name in GENERATORS for p in model[name].parameters()]
        self.generators = both
        self.optimisers = [torch.optim.Adam(both, **adam, fused=True)]
        self.optimisers += [
            torch.optim.Adam(model[name].parameters(), **adam, fused=True)
            for name in DISCRIMINATORS
        ]
        self.pools = [Pool(settings.pool) for _ in DISCRIMINATORS]

    @property
    def device(self):
        return self.generators[0].device

    def apply(self, name, x):
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.dtype == "bfloat16"
        ):
            return self.model[name](x).to(x.dtype)

    def gradients(self, normal, abnormal):
        """Sets the gradient of every parameter; returns the metrics."""
        s, metrics = self.s, {}
        for name in DISCRIMINATORS:
            self.model[name].requires_grad_(False)
        fake_abnormal = self.apply("to_abnormal", normal)
        fake_normal = self.apply("to_normal", abnormal)
        for domain, fake in (("abnormal", fake_abnormal), ("normal", fake_normal)):
            logits = self.apply(f"disc_{domain}", fake)
            metrics[f"adversarial_{domain}"] = F.mse_loss(logits, torch.ones_like(logits))
        cycled = self.apply("to_normal", fake_abnormal)
        metrics["cycle_normal"] = F.l1_loss(cycled, normal)
        cycled = self.apply("to_abnormal", fake_normal)
        metrics["cycle_abnormal"] = F.l1_loss(cycled, abnormal)
        metrics["identity_normal"] = F.l1_loss(self.apply("to_normal", normal), normal)
        metrics["identity_abnormal"] = F.l1_loss(self.apply("to_abnormal", abnormal), abnormal)
        weights = {"adversarial": s.adversarial_weight, "cycle": s.cycle_weight}
        weights["identity"] = s.identity_weight
        loss = sum(weights[name.split("_")[0]] * x for name, x in metrics.items())
        loss.backward()
        metrics["loss"] = loss
        metrics["gradient_norm"] = _norm(self.generators)
        reals, fakes = (normal, abnormal), (fake_normal, fake_abnormal)
        for name, pool, real, fake in zip(DISCRIMINATORS, self.pools, reals, fakes, strict=True):
            self.model[name].requires_grad_(True)
            on_real, on_fake = self.apply(name, real), self.apply(name, pool.exchange(fake))
            loss = F.mse_loss(on_real, torch.ones_like(on_real))
            loss = 0.5 * (loss + F.mse_loss(on_fake, torch.zeros_like(on_fake)))
            loss.backward()
            domain = name.removeprefix("disc_")
            metrics[f"disc_{domain}"] = loss
            metrics[f"disc_{domain}_gradient_norm"] = _norm(self.model[name].parameters())
        return {name: value.detach() for name, value in metrics.items()}

    def step(self, normal, abnormal):
        """One update of all four networks; metrics stay on the device."""
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        metrics = self.gradients(normal, abnormal)
        for optimiser in self.optimisers:
            optimiser.step()
        return metrics

    @torch.inference_mode()
    def reconstruct(self, x):
        """The normal version of each image, and its sum of squared errors."""
        image = self.apply("to_normal", x)
        return image, (image - x).square().sum((1, 2, 3))


def _norm(parameters):
    return torch.nn.utils.get_total_norm([p.grad for p in parameters])


# Golden file ------------------------------------------------------------------------------------


@torch.no_grad()
def shake(model):
    """Random weights and offsets that float16 holds exactly, so that all of them count."""
    for p in model.parameters():
        noise = torch.randn(p.shape, dtype=p.dtype)
        p.copy_((noise / math.sqrt(p[0].numel()) if p.ndim > 1 else 0.2 * noise).half())


def one_row(arrays):
    """All arrays in one long row: an archive's member for each would be mostly headers."""
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)])


def write_golden(path):
    """Tiny networks in float64: weights, images, one pass, gradients, losses of three steps."""
    torch.manual_seed(SEED)
    settings = SimpleNamespace(**TINY)
    model = make_model(settings).double()
    shake(model)
    shape = (2, settings.channels, PIXELS, PIXELS)
    normal, abnormal = ((2.0 * torch.rand(shape) - 1.0).half().double() for _ in range(2))
    weights = to_jax(model)
    arrays = {"names": np.array(" ".join(sorted(weights)))}
    arrays |= {"normal": _last(normal), "abnormal": _last(abnormal), "weights": one_row(weights)}
    arrays = {k: x.astype(np.float16) if x.dtype == np.float64 else x for k, x in arrays.items()}
    resize = SimpleNamespace(**TINY | {"upsample": "resize"})
    resized = nn.ModuleDict({"to_normal": make_generator(resize)}).double()
    shake(resized)
    arrays["resized_names"] = np.array(" ".join(sorted(to_jax(resized))))
    arrays["resized_weights"] = one_row(to_jax(resized)).astype(np.float16)
    trainer = Trainer(model, settings)
    with torch.no_grad():
        arrays["drawn"] = _last(model["to_normal"](abnormal)).astype(np.float32)
        arrays["drawn_resized"] = _last(resized["to_normal"](abnormal)).astype(np.float32)
        arrays["logits"] = _last(model["disc_normal"](normal))[..., 0].astype(np.float32)
    metrics = [trainer.step(normal, abnormal)]
    arrays["gradients"] = one_row(to_jax(model, lambda p: p.grad)).astype(np.float32)
    metrics += [trainer.step(normal, abnormal) for _ in range(2)]
    arrays["metric_names"] = np.array(" ".join(metrics[0]))
    arrays["metrics"] = np.array([[float(x) for x in m.values()] for m in metrics], np.float32)
    for epochs in (50, 200):
        arrays[f"rates_{epochs}"] = np.array(rates(epochs))
    np.savez_compressed(path, **arrays)


def rates(epochs):
    """Learning rates that PyTorch's scheduler makes of the recipe's factor, epoch by epoch."""
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=TINY["lr"])
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda e: rate_factor(e, epochs))
    found = []
    for _ in range(epochs):
        found += scheduler.get_last_lr()
        optimiser.step()
        scheduler.step()
    return found


def _last(x):
    return x.permute(0, 2, 3, 1).numpy()


if __name__ == "__main__":
    golden_or_serve(
        Twin(
            make_model,
            from_jax,
            Trainer,
            step=lambda trainer, batch: trainer.step(batch[0::2], batch[1::2]),
            outputs=("image", "sse"),
        ),
        write_golden,
    )
