"""CycleGAN's ResNet generator, after Zhu et al. 2017 (junyanz/pytorch-CycleGAN-and-pix2pix)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ad_core.networks.blocks import Conv, doubling, instance_norm, recomputed, through, transposed


class Generator(nn.Module):
    """Generator of an image of the other domain, in [-1, 1].

    7x7 convolution, two that halve the resolution, residual blocks at 4 * width channels, two
    up-samplings, 7x7 convolution, tanh. Instance norm without learnt scale; reflected borders.

    width: channels at full resolution. upsample: "resize" (nearest neighbour, then a 3x3
    convolution: leaves no checkerboard) or "transposed" (the recipe's transposed convolution).
    remat: see `blocks.recomputed`.
    """

    channels: int
    width: int = 64
    blocks: int = 9
    upsample: str = "resize"
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Image in float32; h and w must be divisible by 4."""
        layer = recomputed(_normed, remat=self.remat)
        x = layer(Convolution(self.width, 7, self.dtype), x)
        for width in (2 * self.width, 4 * self.width):
            x = layer(Conv(width, (3, 3), 2, padding=1, dtype=self.dtype), x)
        for _ in range(self.blocks):
            x = through(ResidualBlock(self.dtype), x, remat=self.remat)
        for number, width in enumerate((2 * self.width, self.width)):
            x = layer(self._doubling(number, width), x)
        return jnp.tanh(Convolution(self.channels, 7, self.dtype)(x).astype(jnp.float32))

    def _doubling(self, number: int, width: int) -> nn.Conv:
        if self.upsample == "resize":
            return doubling(width, self.dtype)
        # As PyTorch's ConvTranspose2d(kernel 3, stride 2, padding 1, output_padding 1).
        place = {"padding": ((1, 2), (1, 2)), "input_dilation": 2}
        return transposed(number, width, (3, 3), **place, dtype=self.dtype)


def _normed(conv: Any, x: Array) -> Array:
    return nn.relu(instance_norm(conv(x)))


class Convolution(nn.Module):
    """Convolution over an image that is reflected beyond its borders."""

    features: int
    side: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        """Features at unchanged resolution."""
        reach = self.side // 2
        x = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="reflect")
        kernel = (self.side, self.side)
        return Conv(self.features, kernel, padding="VALID", dtype=self.dtype)(x)


class ResidualBlock(nn.Module):
    """Residual block of CycleGAN's recipe: x + norm(conv(relu(norm(conv(x))))), 3x3."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Features of unchanged shape."""
        channels = x.shape[-1]
        y = nn.relu(instance_norm(Convolution(channels, 3, self.dtype)(x)))
        y = instance_norm(Convolution(channels, 3, self.dtype)(y))
        return x.astype(y.dtype) + y
