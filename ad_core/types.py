"""The nouns that every package shares (shapes: b images, h x w pixels, c channels)."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

Metrics = Mapping[str, Float[Array, ""]]
Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom lie outside


class Placement(NamedTuple):
    """Which part of a file's image a network's image shows, and where in it that lies.

    width, height: of the file's image, in pixels. size: height and width of the network's image.
    shown: the part, in the file's pixels. content: where it lies, in the network's. What lies
    beyond the content is its mirror image.
    """

    width: int
    height: int
    size: tuple[int, int]
    shown: Box
    content: Box

    @property
    def scale(self) -> tuple[float, float]:
        """The file's pixels for one of the network's image, across and down."""
        (l0, t0, r0, b0), (l1, t1, r1, b1) = self.shown, self.content
        return (r0 - l0) / (r1 - l1), (b0 - t0) / (b1 - t1)


class Sample(NamedTuple):
    """What a source reads at an index, from one reading of the file.

    image: at the network's size, in [-1, 1]. mask: True where abnormal, in the pixels of the file;
    all False of a normal image, None without a pixel label that can be read.
    placement: what of the file the image shows, and where. clipped: share in [0, 1] of the file's
    values that lie beyond the range that becomes -1 to 1.
    """

    image: Float[np.ndarray, "h w c"]
    mask: Bool[np.ndarray, "height width"] | None
    placement: Placement
    clipped: float


class Batch(NamedTuple):
    """Images of one static shape; rows that only pad the last batch have `valid` False.

    image: in [-1, 1]. label: 0 normal, 1 abnormal.
    index: position of each image in its data source, -1 in padding.
    content: left, top, right, bottom of what the file shows, where images are letterboxed; what
        lies beyond is its mirror image. None: all of every image.
    """

    image: Float[Array, "b h w c"]
    label: Int[Array, "b"]
    valid: Bool[Array, "b"]
    index: Int[Array, "b"]
    content: Int[Array, "b 4"] | None = None


class Reconstruction(NamedTuple):
    """What a reconstructor makes of a batch.

    image: the normal version of the input, in [-1, 1].
    maps: name -> a measure at each latent or patch position (higher is more anomalous
        unless the name says logits). Sizes may differ from map to map.
    losses: name -> one network loss per image.
    """

    image: Float[Array, "b h w c"]
    maps: dict[str, Float[Array, "b _ _"]]
    losses: dict[str, Float[Array, "b"]]


class TrainState(NamedTuple):
    """Everything that a bit-exact resume needs besides the data position.

    extra["ema"], where a reconstructor keeps one, has the structure of a part of `params`:
    `inference_state` puts it in their place.
    """

    step: Int[Array, ""]
    params: dict[str, Any]
    opt_state: Any
    extra: dict[str, Any]


class Reconstructor(NamedTuple):
    """A family's method as pure functions, made by `resolve(method).make(config)`.

    init: (key, image_shape [h, w, c]) -> TrainState.
    train_step: (state, batch, key) -> (state, metrics); traced once, no host access.
    reconstruct: (state, image, key) -> Reconstruction, from `state.params` alone.
    encode, decode: (state, image) -> latent and back, where the method has a latent.
    watch: (metrics of late steps) -> what is wrong with the training, in words, or "".
    """

    init: Callable[[PRNGKeyArray, tuple[int, int, int]], TrainState]
    train_step: Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, Metrics]]
    reconstruct: Callable[[TrainState, Float[Array, "b h w c"], PRNGKeyArray], Reconstruction]
    encode: Callable[..., Any] | None = None
    decode: Callable[..., Any] | None = None
    watch: Callable[[Mapping[str, float]], str] | None = None


def inference_state(state: TrainState) -> TrainState:
    """The state without optimisers and with the averaged weights where there are some."""
    params = {**state.params, **state.extra.get("ema", {})}
    return TrainState(step=state.step, params=params, opt_state=(), extra={})
