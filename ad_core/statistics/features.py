"""Distance of image and reconstruction in the features of a frozen backbone."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ad_core.errors import UserError
from ad_core.statistics.comparison import Comparison


def fid(pair: Comparison) -> Float[Array, "b"]:
    """|f - f̂|^2 + (s - ŝ)^2 of one image: the "FID" that CycleGAN-AD scores with.

    f = `context.backbone`(image) [b, d], s its standard deviation over the d features (ddof 1).
    It is the Fréchet distance of two points whose "covariance" is that one variance, no distance
    between distributions of images. 0 for identical images.

    Raises:
        UserError: the backbone does not give [b, d] with d of 2 or more.
    """
    backbone = pair.context.backbone
    assert backbone is not None  # `expand` saw to it
    f, g = (jnp.asarray(backbone(z), jnp.float32) for z in (pair.image, pair.other))
    if f.ndim != 2 or f.shape[1] < 2:
        raise UserError(f"`context.backbone` must give [b, d] with d >= 2, not {f.shape}.")
    spread = jnp.std(f, axis=1, ddof=1) - jnp.std(g, axis=1, ddof=1)
    return jnp.sum((f - g) ** 2, axis=1) + spread**2


FUNCTIONS = {"fid": fid}
