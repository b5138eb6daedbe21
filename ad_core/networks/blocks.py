"""Convolutional blocks that several families share; parameters float32, compute in `dtype`.

Beside them stands how any block is computed again for the gradient instead of being kept.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ad_core.networks.convolution import convolve, convolve_doubled

# What --help says of the setting `remat`.
REMAT = "compute the inside of blocks again for the gradient, to save memory"


Conv = partial(nn.Conv, conv_general_dilated=convolve)


def doubling(features: int, dtype: DTypeLike) -> nn.Conv:
    """Layer of `convolve_doubled`."""
    return Conv(features, (3, 3), conv_general_dilated=convolve_doubled, dtype=dtype)


def transposed(number: int, features: int, size: tuple[int, int], **settings: Any) -> nn.Conv:
    """Transposed convolution, named as Linen names its own, the `number`-th of a module.

    settings: `input_dilation`, the stride of PyTorch's; `padding`, a kernel's reach less one less
    PyTorch's; any other of `nn.Conv`.
    """
    return Conv(features, size, name=f"ConvTranspose_{number}", **settings)


class GroupNorm(nn.Module):
    """Group normalisation over (h, w, channels of a group) with a learnt scale and offset.

    The moments of each channel are taken first and then joined by groups, in float32: on CPU
    four times faster than normalising the regrouped array. Source: Wu and He 2018.
    """

    groups: int = 32
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalised x, in the dtype of x. The number of groups is cut to divide c."""
        channels = x.shape[-1]
        groups = next(g for g in range(min(self.groups, channels), 0, -1) if channels % g == 0)
        scale = self.param("scale", nn.initializers.ones, (channels,))
        offset = self.param("bias", nn.initializers.zeros, (channels,))
        wide = x.astype(jnp.float32)
        mean = jnp.mean(wide, axis=(1, 2))
        # Centred by channel before squaring: E[x^2] - E[x]^2 would cancel in float32.
        variance = jnp.mean(jnp.square(wide - mean[:, None, None, :]), axis=(1, 2))
        group_mean, group_variance = _join(mean, variance, groups)
        factor = scale[None] * jax.lax.rsqrt(group_variance + self.epsilon)
        shift = offset[None] - group_mean * factor
        return (wide * factor[:, None, None, :] + shift[:, None, None, :]).astype(x.dtype)


def _join(mean: Array, variance: Array, groups: int) -> tuple[Array, Array]:
    """Moments of equal-sized channels [b c] joined by group and repeated to [b c]."""
    b, c = mean.shape
    grouped = mean.reshape(b, groups, c // groups)
    joint = jnp.mean(grouped, axis=2, keepdims=True)
    spread = jnp.mean(jnp.square(grouped - joint), axis=2)
    joint_variance = jnp.mean(variance.reshape(b, groups, c // groups), axis=2) + spread
    repeat = c // groups
    return jnp.repeat(joint[..., 0], repeat, axis=1), jnp.repeat(joint_variance, repeat, axis=1)


class ResidualBlock(nn.Module):
    """Residual block x + conv(swish(norm(conv(swish(norm(x)))))), 3x3.

    A 1x1 convolution widens or narrows x on a change of width.

    Source: Esser et al. 2021 (taming-transformers), without its time embedding.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        """Features at unchanged resolution, `features` channels of them."""
        y = Conv(self.features, (3, 3), dtype=self.dtype)(nn.swish(GroupNorm()(x)))
        y = Conv(self.features, (3, 3), dtype=self.dtype)(nn.swish(GroupNorm()(y)))
        if x.shape[-1] != self.features:
            x = Conv(self.features, (1, 1), dtype=self.dtype)(x)
        return x.astype(y.dtype) + y


class AttentionBlock(nn.Module):
    """Block x + single-head self-attention over all positions. Source: as ResidualBlock."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Features of unchanged shape; softmax in float32, memory grows with (h w)^2."""
        b, h, w, c = x.shape
        tokens = GroupNorm()(x).reshape(b, h * w, c)
        query, key, value = jnp.split(nn.Dense(3 * c, dtype=self.dtype)(tokens), 3, axis=-1)
        scores = jnp.einsum("bqc,bkc->bqk", query, key).astype(jnp.float32) * c**-0.5
        mixed = jnp.einsum("bqk,bkc->bqc", nn.softmax(scores).astype(value.dtype), value)
        y = nn.Dense(c, dtype=self.dtype)(mixed)
        return x.astype(y.dtype) + y.reshape(b, h, w, c)


class Downsample(nn.Module):
    """3x3 convolution with stride 2, padded on the far side: halves h and w."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """Features with an unchanged number of channels."""
        pad = ((0, 1), (0, 1))
        return Conv(x.shape[-1], (3, 3), strides=2, padding=pad, dtype=self.dtype)(x)


class Upsample(nn.Module):
    """Nearest-neighbour doubling, then a 3x3 convolution (leaves no checkerboard), in one."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """Features with an unchanged number of channels."""
        return doubling(x.shape[-1], self.dtype)(x)


def instance_norm(x: Float[Array, "b h w c"], *, epsilon: float = 1e-5) -> Float[Array, "b h w c"]:
    """Normalises each channel of each image to mean 0 and variance 1, in the dtype of x."""
    wide = x.astype(jnp.float32)
    # Centred before squaring: E[x^2] - E[x]^2 would cancel in float32.
    centred = wide - jnp.mean(wide, axis=(1, 2), keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=(1, 2), keepdims=True)
    return (centred * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)


def recomputed(function: Callable[..., Any], *, remat: bool) -> Callable[..., Any]:
    """`function(module, *inputs)`, of which only the inputs are kept for the gradient if `remat`.

    Values, gradients and the names of parameters are those of `function`, but for rounding.
    Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".
    """
    return nn.remat(function) if remat else function


def through(module: Any, *inputs: Any, remat: bool) -> Any:
    """`module(*inputs)`, recomputed if `remat`."""
    return recomputed(lambda module, *inputs: module(*inputs), remat=remat)(module, *inputs)
