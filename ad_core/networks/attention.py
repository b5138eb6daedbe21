"""Attention of tokens to tokens, with the softmax in float32.

On a CPU the softmax has a derivative of its own: with that of `jax.nn.softmax` the gradient of
attention in four heads takes three times as long there.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Kernel = Literal["xla", "cudnn"]
FUSED_FROM = 8.0  # compute capability of the first GPU with cuDNN's fused attention


def attend(
    query: Float[Array, "b n k d"], key: Float[Array, "b m k d"], value: Float[Array, "b m k d"]
) -> Float[Array, "b n k d"]:
    """Attention softmax(q k' / sqrt(d)) v of each of the k heads, with the softmax in float32.

    On a GPU that has it, cuDNN's fused kernel, which never holds the n x m matrix.
    """
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        scores = jnp.einsum("bnkd,bmkd->bknm", query, key).astype(jnp.float32)
        weights = softmax(scores * query.shape[-1] ** -0.5).astype(value.dtype)
        return jnp.einsum("bknm,bmkd->bnkd", weights, value)
    capability = getattr(device, "compute_capability", "0") if device.platform == "gpu" else "0"
    chosen = implementation(query.dtype, query.shape[-1], capability=float(capability))
    with jax.numpy_dtype_promotion("standard"):  # it joins float32 logits with bfloat16 values
        return jax.nn.dot_product_attention(query, key, value, implementation=chosen)


def implementation(dtype: DTypeLike, width: int, *, capability: float) -> Kernel:
    """Implementation of attention, "cudnn" where that takes it, else "xla".

    Args:
        width: channels of a head.
        capability: compute capability of an NVIDIA GPU; 0: none.
    """
    fits = jnp.dtype(dtype) == jnp.bfloat16 and width % 8 == 0 and width <= 128
    return "cudnn" if fits and capability >= FUSED_FROM else "xla"


@jax.custom_vjp
def softmax(scores: Float[Array, "*b n"]) -> Float[Array, "*b n"]:
    """Softmax over the last axis; its derivative takes no forward mode."""
    return jax.nn.softmax(scores)


def _softmax_forward(scores: Float[Array, "*b n"]) -> tuple[Array, Array]:
    weights = jax.nn.softmax(scores)
    return weights, weights


def _softmax_backward(
    weights: Float[Array, "*b n"], pull: Float[Array, "*b n"]
) -> tuple[Float[Array, "*b n"]]:
    return (weights * (pull - jnp.sum(weights * pull, axis=-1, keepdims=True)),)


softmax.defvjp(_softmax_forward, _softmax_backward)
