"""A Gaussian blur as the normal version: what statistics say of images without any learning.

Whatever a generator is worth, it is worth above this: the residual of a blur is the fine detail of
an image, and no image has taught it anything.
"""

from collections.abc import Callable, Iterable, Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.data.shape import image_shape
from ad_core.scoring.localisation import blur
from ad_core.types import Batch, Method, OnePass, TrainState, View
from baselines_ad.frozen import in_range, no_images

EXPLAINED = {  # what --help says of each
    "sigma": "of the blur, as a share of the image's shorter side (2 of 64 px)",
}


def defaults(size: str) -> ConfigDict:
    """The `config.reconstructor` section, the same for every size."""
    return ConfigDict({"sigma": 0.03125})


def make(config: ConfigDict) -> Method:
    """The method of a complete configuration; UserError if sigma is out of (0, 1]."""
    sigma_px = in_range(config, "sigma", 1e-3, 1.0) * min(image_shape(config.data)[:2])
    return Method(
        learn=OnePass(learn_nothing, learn_nothing_of_parts),
        view=lambda state, image, keys: _view(image, sigma_px),
        folds=20,
    )


def learn_nothing(batches: Iterable[Batch], key: PRNGKeyArray) -> TrainState:
    """A state without parameters. Raises UserError where there is no image, as others would."""
    if not sum(int(np.sum(batch.valid)) for batch in batches):
        raise no_images()
    return _knowing_nothing()


def learn_nothing_of_parts(
    batches: Callable[[], Iterable[Batch]], parts: Bool[np.ndarray, "p n"], key: PRNGKeyArray
) -> Iterator[TrainState]:
    """The same state for each part, without a look at an image; errors as `learn_nothing`."""
    for part in parts:
        if not part.any():
            raise no_images()
        yield _knowing_nothing()


def _knowing_nothing() -> TrainState:
    return TrainState(step=jnp.int32(1), params={}, opt_state=(), extra={})


def _view(image: Float[Array, "b h w c"], sigma_px: float) -> View:
    """Each channel blurred by itself, so within the range of the image."""
    channels = jnp.split(image.astype(jnp.float32), image.shape[-1], axis=-1)
    blurred = [blur(channel[..., 0], sigma_px=sigma_px) for channel in channels]
    return View(image=jnp.clip(jnp.stack(blurred, axis=-1), -1.0, 1.0))
