"""Batch norms of frozen convolutions, folded into them."""

import numpy as np
from jaxtyping import Float

EPSILON = 1e-3  # of Inception's and EfficientNet's batch norms


def fold(
    weight: Float[np.ndarray, "o i kh kw"],
    scale: Float[np.ndarray, " o"],
    offset: Float[np.ndarray, " o"],
    mean: Float[np.ndarray, " o"],
    var: Float[np.ndarray, " o"],
    *,
    epsilon: float = EPSILON,
) -> tuple[Float[np.ndarray, "o i kh kw"], Float[np.ndarray, " o"]]:
    """Weight and bias of the convolution that equals convolution and batch norm, in float64."""
    factor = scale / np.sqrt(var.astype(np.float64) + epsilon)
    return weight * factor[:, None, None, None], offset - mean * factor
