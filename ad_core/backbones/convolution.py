"""Convolutions with a bias, of frozen networks whose batch norms are folded, and their levels."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ad_core.backbones.backbone import Level, Params


class Convolution(nn.Module):
    """A convolution of every channel with every other; side 1 is a product of matrices.

    symmetric: as many zeros on each side, as PyTorch pads; else TensorFlow's SAME.
    """

    features: int
    side: int = 1
    stride: int = 1
    symmetric: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        shape = (self.side, self.side, x.shape[-1], self.features)
        kernel = given_weight(self, "kernel", shape).astype(x.dtype)
        bias = given_weight(self, "bias", (self.features,))
        beside = self.side // 2
        if self.side == 1:
            x = x[:, :: self.stride, :: self.stride]
            y = jnp.einsum("bhwi,io->bhwo", x, kernel[0, 0], preferred_element_type=jnp.float32)
        else:
            y = jax.lax.conv_general_dilated(
                x,
                kernel,
                (self.stride, self.stride),
                [(beside, beside), (beside, beside)] if self.symmetric else "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        return (y.astype(jnp.float32) + bias.reshape(1, 1, 1, -1)).astype(x.dtype)


def given_weight(module: nn.Module, name: str, shape: tuple[int, ...]) -> Array:
    """Weight `name` of a module that is frozen: nobody draws its start.

    `Module.param` would trace how to draw it, only to compare shapes: that was more than half of
    the time for which such a network was traced.

    Raises:
        ValueError: it is missing, or has another shape.
    """
    found = module.get_variable("params", name)
    if found is None or found.shape != shape:
        has = "is missing" if found is None else f"has the shape {found.shape}"
        raise ValueError(f"Weight {'/'.join((*module.path, name))} {has}; it must have {shape}.")
    return found


def module_level(name: str, stride: int, module: nn.Module) -> Level:
    """Level of a network that `module` computes, from the weights `params[name]`."""

    def apply(params: Params, x: Array) -> Any:
        return _apply(params[name], x, module=module)

    return Level(name, stride, apply)


@functools.partial(jax.jit, static_argnames=("module",))
def _apply(params: Any, x: Array, *, module: nn.Module) -> Any:
    """`module.apply`, traced once for images of one size however many programs look through it."""
    return module.apply({"params": params}, x)
