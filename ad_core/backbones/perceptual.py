"""The optional perceptual term: distance of VGG-16 features, from weights that the user gives."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ad_core.errors import UserError

# torchvision's numbering of VGG-16's convolutions, by block; a 2x2 max-pooling between blocks.
BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
MEAN = (0.485, 0.456, 0.406)  # of ImageNet, for images in [0, 1]
STD = (0.229, 0.224, 0.225)

Weights = dict[str, Float[Array, "..."]]


def load_weights(path: str) -> Weights:
    """VGG-16's convolutions from an .npz file.

    The file holds features.<n>.weight [out, in, 3, 3] and features.<n>.bias [out] as float arrays,
    n as in torchvision's vgg16 (0 to 28). There is no fallback to random weights.

    Raises:
        UserError: no such file, or an array is missing.
    """
    if not Path(path).is_file():
        raise UserError(f"`reconstructor.perceptual_weights` (={path}): no such file.")
    wanted = [f"features.{n}.{part}" for b in BLOCKS for n in b for part in ("weight", "bias")]
    with np.load(path, allow_pickle=False) as arrays:
        missing = [name for name in wanted if name not in arrays]
        if missing:
            raise UserError(
                f"`reconstructor.perceptual_weights` (={path}) lacks {', '.join(missing[:3])}; "
                "it must hold the convolutions of torchvision's vgg16."
            )
        return {name: jnp.asarray(arrays[name], jnp.float32) for name in wanted}


def distance(
    weights: Weights, x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]
) -> Float[Array, " b"]:
    """Mean over positions of |f(x) - f(y)|^2, f of unit length, summed over the five blocks.

    Images in [-1, 1], one channel is repeated to three. This is the unweighted form of LPIPS
    (Zhang et al. 2018, section 4); an epsilon inside the root keeps the gradient of zero finite.
    """
    means = [jnp.mean(block, axis=(1, 2)) for block in _distances(weights, x, y)]
    return jnp.sum(jnp.stack(means), axis=0)


def distance_map(
    weights: Weights, x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]
) -> Float[Array, "b h w"]:
    """`distance` where it lies: each block's distances spread over the pixels they stand for.

    Its mean over the pixels is `distance`, if the sides are multiples of 16.
    """
    h, w = x.shape[1:3]
    total = jnp.zeros((x.shape[0], h, w))
    for level, block in enumerate(_distances(weights, x, y)):
        wide = jnp.repeat(jnp.repeat(block, 2**level, axis=1), 2**level, axis=2)
        beyond = ((0, 0), (0, h - wide.shape[1]), (0, w - wide.shape[2]))
        total += jnp.pad(wide, beyond, mode="edge")
    return total


def _distances(weights: Weights, x: Array, y: Array) -> list[Float[Array, "b _ _"]]:
    pairs = zip(features(weights, x), features(weights, y), strict=True)
    return [jnp.sum(jnp.square(_unit(a) - _unit(b)), axis=-1) for a, b in pairs]


def features(weights: Weights, x: Float[Array, "b h w c"]) -> list[Float[Array, "b _ _ _"]]:
    """Activations at the end of each of the five blocks."""
    mean, std = jnp.asarray(MEAN).reshape(1, 1, 1, 3), jnp.asarray(STD).reshape(1, 1, 1, 3)
    x = (0.5 * (jnp.broadcast_to(x, (*x.shape[:3], 3)) + 1.0) - mean) / std
    out = []
    for block, numbers in enumerate(BLOCKS):
        x = _halve(x) if block else x
        for n in numbers:
            x = _convolve(x, weights[f"features.{n}.weight"], weights[f"features.{n}.bias"])
        out.append(x)
    return out


def _convolve(x: Array, weight: Array, bias: Array) -> Array:
    y = jax.lax.conv_general_dilated(
        x, weight, (1, 1), "SAME", dimension_numbers=("NHWC", "OIHW", "NHWC")
    )
    return jax.nn.relu(y + bias.reshape(1, 1, 1, -1))


def _halve(x: Array) -> Array:
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _unit(x: Array) -> Array:
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-10)
