"""The PatchGAN discriminator that VQGAN and CycleGAN share."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ad_core.networks.blocks import Conv, GroupNorm, instance_norm


class PatchGAN(nn.Module):
    """Raw logits of overlapping patches (Isola et al. 2017); 70 x 70 pixels at `layers` = 3.

    4x4 convolutions with padding 1: features, 2 features, 4 features with stride 2 (`layers` of
    them), 8 features with stride 1, then one channel with stride 1. Leaky ReLU 0.2; a norm after
    every convolution but the first and the last.

    norm: "instance" (no learnt scale, as CycleGAN), "group" (does not mix images of a batch,
        unlike the batch norm of VQGAN's code), or "none".
    """

    features: int = 64
    layers: int = 3
    norm: str = "group"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b hp wp"]:
        """Float32 logits, high where a patch looks real; 256 px give 30 x 30, 64 px 6 x 6."""
        for level in range(self.layers + 1):
            stride = 2 if level < self.layers else 1
            width = self.features * min(2**level, 8)
            x = self._conv(width, stride, biased=level == 0 or self.norm == "instance")(x)
            x = nn.leaky_relu(self._normalise(x) if level else x, 0.2)
        return self._conv(1, 1, biased=True)(x)[..., 0].astype(jnp.float32)

    def _conv(self, width: int, stride: int, *, biased: bool) -> nn.Conv:
        init = nn.initializers.normal(0.02)
        return Conv(
            width, (4, 4), stride, padding=1, use_bias=biased, kernel_init=init, dtype=self.dtype
        )

    def _normalise(self, x: Array) -> Array:
        if self.norm == "none":
            return x
        if self.norm == "group":
            return GroupNorm()(x)
        if self.norm != "instance":
            raise ValueError(f"`norm` (={self.norm!r}) must be one of instance, group, none.")
        return instance_norm(x)
