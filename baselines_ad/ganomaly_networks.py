"""GANomaly's encoder and decoder, which are DCGAN's (samet-akcay/ganomaly, lib/networks.py).

The decoder's convolutions are transposed, as in the original: its weights then have a place here.
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ad_core.networks.blocks import Conv, transposed
from ad_core.training.partition import mean_over_devices, sum_over_devices

MOMENTS = "moments"  # the collection in which running means and variances lie
SLOPE = 0.2  # of the leaky ReLU


class Training(NamedTuple):
    """Batch of a training as its norms see it.

    weight: of each image (see `image_weights`). momentum: share in (0, 1] of the batch in the
    running moments after it.
    """

    weight: Float[Array, " b"]
    momentum: Float[Array, ""]


class BatchNorm(nn.Module):
    """Batch normalisation that counts no padding, as PyTorch's BatchNorm2d.

    In training it takes mean and variance of the batch, of all devices together, and, where the
    collection MOMENTS may change, moves the running ones towards them (the variance with n - 1).
    At scoring the running ones serve, and no image sees another.
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], training: Training | None
    ) -> Float[Array, "b h w c"]:
        """Normalised x, in the dtype of x."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        offset = self.param("bias", nn.initializers.zeros, (channels,))
        wide = x.astype(jnp.float32)
        if training is None:
            running = self._running(channels)
            mean, variance = running["mean"].value, running["variance"].value
        else:
            mean, variance = _moments(wide, training.weight)
            if self.is_mutable_collection(MOMENTS):
                unbiased = variance * _unbiased(wide, training.weight)
                self._move(mean, unbiased, training.momentum)
        factor = scale * jax.lax.rsqrt(variance + self.epsilon)
        centred = wide - mean[None, None, None]
        return (centred * factor[None, None, None] + offset[None, None, None]).astype(x.dtype)

    def _running(self, channels: int) -> dict[str, nn.Variable]:
        starts = {"mean": jnp.zeros, "variance": jnp.ones}
        return {name: self.variable(MOMENTS, name, fn, channels) for name, fn in starts.items()}

    def _move(
        self, mean: Float[Array, " c"], variance: Float[Array, " c"], momentum: Float[Array, ""]
    ) -> None:
        running = self._running(len(mean))
        for name, new in (("mean", mean), ("variance", variance)):
            old = running[name].value
            running[name].value = old + momentum * (jax.lax.stop_gradient(new) - old)


def _moments(
    x: Float[Array, "b h w c"], weight: Float[Array, " b"]
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Mean and variance of each channel over the images that count."""

    def mean(values: Float[Array, "b h w c"]) -> Float[Array, " c"]:
        each = jnp.mean(values, axis=(1, 2))
        return mean_over_devices(jnp.sum(weight[:, None] * each, axis=0))

    centre = mean(x)
    # Centred before squaring: E[x^2] - E[x]^2 would cancel in float32.
    return centre, mean(jnp.square(x - centre[None, None, None]))


def _unbiased(x: Float[Array, "b h w c"], weight: Float[Array, " b"]) -> Float[Array, ""]:
    """Factor n / (n - 1) for the n values of a channel that count."""
    images = sum_over_devices(jnp.sum((weight > 0.0).astype(jnp.float32)))
    n = images * float(x.shape[1] * x.shape[2])
    return n / jnp.maximum(n - 1.0, 1.0)


class Features(nn.Module):
    """Features of an image at the coarsest resolution, 2^levels times smaller a side.

    4x4 convolutions of stride 2: `width` channels, then twice as many at each level. Leaky ReLU;
    a batch norm after each but the first; no biases.
    """

    width: int
    levels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], training: Training | None
    ) -> Float[Array, "b hz wz d"]:
        """Features, d = width * 2^(levels - 1)."""
        for level in range(self.levels):
            width = self.width * 2**level
            x = Conv(width, (4, 4), 2, padding=1, use_bias=False, dtype=self.dtype)(x)
            x = BatchNorm()(x, training) if level else x
            x = nn.leaky_relu(x, SLOPE)
        return x


class Encoder(nn.Module):
    """Features, and one convolution over all of their positions.

    latent: numbers that it makes of an image; 1 makes a discriminator's logit of it.
    """

    width: int
    levels: int
    latent: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], training: Training | None
    ) -> tuple[Float[Array, "b d"], Float[Array, "b hz wz f"]]:
        """The latent, and the features before it; both in float32."""
        features = Features(self.width, self.levels, self.dtype)(x, training)
        size = features.shape[1:3]
        join = nn.Conv(self.latent, size, padding="VALID", use_bias=False, dtype=self.dtype)
        return join(features)[:, 0, 0].astype(jnp.float32), features.astype(jnp.float32)


class Decoder(nn.Module):
    """Decoder of a latent as an image in [-1, 1]: the encoder's mirror, with ReLU and tanh.

    size: height and width of the coarsest features.
    """

    channels: int
    width: int
    levels: int
    size: tuple[int, int]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b d"], training: Training | None
    ) -> Float[Array, "b h w c"]:
        """The image, in float32."""
        h, w = self.size
        # A kernel's reach less one on each side: PyTorch's ConvTranspose2d without padding.
        whole = ((h - 1, h - 1), (w - 1, w - 1))
        layer = partial(transposed, use_bias=False, dtype=self.dtype)
        larger = partial(layer, size=(4, 4), padding=((2, 2), (2, 2)), input_dilation=2)
        widths = [self.width * 2**level for level in reversed(range(self.levels))]
        x = layer(0, widths[0], self.size, padding=whole)(z[:, None, None])
        x = nn.relu(BatchNorm()(x, training))
        for number, width in enumerate(widths[1:], 1):
            x = nn.relu(BatchNorm()(larger(number, width)(x), training))
        x = larger(self.levels, self.channels)(x)
        return jnp.tanh(x.astype(jnp.float32))
