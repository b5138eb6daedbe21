"""The nouns that every package shares (shapes: b images, h x w pixels, c channels)."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

Metrics = Mapping[str, Float[Array, ""]]


class Batch(NamedTuple):
    """Images of one static shape; rows that only pad the last batch have `valid` False.

    image: in [-1, 1]. label: 0 normal, 1 abnormal. mask: True where abnormal, or None.
    index: position of each image in its data source, -1 in padding.
    content: left, top, right, bottom of what the file shows, where images are letterboxed; what
        lies beyond is its mirror image. None: all of every image.
    """

    image: Float[Array, "b h w c"]
    label: Int[Array, "b"]
    mask: Bool[Array, "b h w"] | None
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
