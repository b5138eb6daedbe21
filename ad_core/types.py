"""The nouns that every package shares (shapes: b images, h x w pixels, c channels)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

Metrics = Mapping[str, Float[Array, ""]]
# A view may hold shapes in place of arrays; code that reads one is written for arrays.
if TYPE_CHECKING:
    Shaped = Array
else:
    Shaped = Array | np.ndarray | jax.ShapeDtypeStruct
Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom lie outside


class Placement(NamedTuple):
    """Part of a file's image that a network's image shows, and its place there.

    width, height: of the file's image, in pixels. size: height and width of the network's image.
    shown: the part, in the file's pixels. content: where it lies, in the network's. What lies
    beyond the content is its mirror image. large: every pixel is looked at, though `size` is less.
    """

    width: int
    height: int
    size: tuple[int, int]
    shown: Box
    content: Box
    large: bool = False

    @property
    def scale(self) -> tuple[float, float]:
        """The file's pixels for one of the network's image, across and down."""
        (l0, t0, r0, b0), (l1, t1, r1, b1) = self.shown, self.content
        return (r0 - l0) / (r1 - l1), (b0 - t0) / (b1 - t1)


class Moving(Protocol):
    """Motion of pictures at the network's size, and back."""

    def __call__(self, image: Float[np.ndarray, "h w *c"]) -> Float[np.ndarray, "h w *c"]:
        """The picture, moved."""
        ...

    def undo(self, image: Float[np.ndarray, "h w *c"]) -> Float[np.ndarray, "h w *c"]:
        """The picture, moved back."""
        ...


class Sample(NamedTuple):
    """Image that a source reads at an index, with its mask, from one reading of the file.

    image: at the network's size, in [-1, 1]. mask: True where abnormal, in the pixels of the file;
    all False of a normal image, None without a pixel label that can be read.
    placement: what of the file the image shows, and where. clipped: share in [0, 1] of the file's
    values that lie beyond the range that becomes -1 to 1. large: reads all pixels of a file that is
    read at its own size and does not fit the network's; `image` then shows it reduced. motion:
    what brought `image` to lie as a reference does.
    """

    image: Float[np.ndarray, "h w c"]
    mask: Bool[np.ndarray, "height width"] | None
    placement: Placement
    clipped: float
    large: Callable[[], Float[np.ndarray, "height width c"]] | None = None
    motion: "Moving | None" = None


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


@dataclass(frozen=True)
class View:
    """Result of a method on a batch. A pytree, of arrays or of their shapes.

    image: the normal version of the input, in [-1, 1]; None where the method draws none.
    maps: name -> a measure at each position (higher is more anomalous unless the name says
        logits). Sizes may differ from map to map.
    losses: name -> one number per image.
    anomaly: which map localises; "" is the residual between the input and `image`.
    features: level -> pooled features of each image, of which a classifier makes one number.
    """

    image: Float[Shaped, "b h w c"] | None = None
    maps: Mapping[str, Float[Shaped, "b _ _"]] = field(default_factory=dict)
    losses: Mapping[str, Float[Shaped, "b"]] = field(default_factory=dict)
    anomaly: str = ""
    features: Mapping[str, Float[Shaped, "b _"]] = field(default_factory=dict)


_ARRAYS = ("image", "maps", "losses", "features")  # fields of a View that JAX sees


def _view_of(anomaly: str, parts: tuple[Any, ...]) -> View:
    """A view of whatever JAX puts in the places of its arrays, which no annotation describes."""
    view = object.__new__(View)
    for name, value in zip((*_ARRAYS, "anomaly"), (*parts, anomaly), strict=True):
        object.__setattr__(view, name, value)
    return view


jax.tree_util.register_pytree_node(
    View, lambda view: (tuple(getattr(view, name) for name in _ARRAYS), view.anomaly), _view_of
)


class TrainState(NamedTuple):
    """State of a training: all that a bit-exact resume needs besides the data position.

    extra["ema"], where a method keeps one, has the structure of a part of `params`:
    `inference_state` puts it in their place.
    """

    step: Int[Array, ""]
    params: dict[str, Any]
    opt_state: Any
    extra: dict[str, Any]


class Steps(NamedTuple):
    """Learning by gradient: what the one training loop runs.

    init: (key, image_shape [h, w, c]) -> TrainState.
    train_step: (state, batch, key) -> (state, metrics); traced once, no host access.
    watch: (metrics of late steps) -> what is wrong with the training, in words, or "".
    """

    init: Callable[[PRNGKeyArray, tuple[int, int, int]], TrainState]
    train_step: Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, Metrics]]
    watch: Callable[[Mapping[str, float]], str] | None = None


class OnePass(NamedTuple):
    """Learning from every image once.

    fit: (batches of host arrays, the last one padded; key) -> TrainState with all that is learnt in
        `params`. Memory must be bounded, whatever the number of batches.
    fit_parts: (a function that begins a pass over the batches anew; parts [p, n]; key) -> p states
        with arrays of the same shapes, one after the other: the caller may drop one before it asks
        for the next. State j has learnt from the images i with parts[j, i], where i counts the
        valid rows in the order of a pass, as `fit` learns from these images alone with the same
        key. None: p calls of `fit`.
    """

    fit: Callable[[Iterable[Batch], PRNGKeyArray], TrainState]
    fit_parts: (
        Callable[
            [Callable[[], Iterable[Batch]], Bool[np.ndarray, "p n"], PRNGKeyArray],
            Iterable[TrainState],
        ]
        | None
    ) = None


class Method(NamedTuple):
    """A family's method as pure functions, made by `resolve(method).make(config)`.

    learn: how it learns.
    view: (state, image, keys [b]) -> View, from `state.params` alone; pure and jittable. A draw for
        an image comes from its own key, so that no image's view depends on its row or its batch.
    trains_on_abnormal: it learns from pairs of a normal and an abnormal image.
    learns_from_calibration: of a method that learns in one pass: it learns from the labelled images
        that calibrate too, normal and abnormal. Each of them is then measured by a state that has
        learnt neither it nor its group (`ad_core.training.cross_fit`).
    losses, maps: names of what its views hold, in the order in which their statistics stand; left
        empty, they stand in the order of their names.
    curves: training metrics that are worth showing.
    folds: in how many parts it is cross-fitted unless the configuration says otherwise, whatever
        other methods stand beside it. A state of few parts has learnt plainly less than the final
        one, which a classifier can take for a difference between the classes; each part costs
        another fit.
    localises: how well its map finds defects, by measurement: of several methods those with the
        highest number show their maps, as one. 0 where nothing was measured: of these the first.
    knows_place: what it learns differs from place to place in an image.
    view_within: as `view`, of images of which only `content` (see Batch) shows their file; None:
        what lies beyond counts as the rest does.
    """

    learn: Steps | OnePass
    view: Callable[[TrainState, Float[Array, "b h w c"], Key[Array, "b"]], View]
    trains_on_abnormal: bool = False
    learns_from_calibration: bool = False
    losses: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    folds: int = 5
    localises: int = 0
    knows_place: bool = False
    view_within: (
        Callable[
            [TrainState, Float[Array, "b h w c"], Key[Array, "b"], Int[Array, "b 4"] | None], View
        ]
        | None
    ) = None


def inference_state(state: TrainState) -> TrainState:
    """The state without optimisers and with the averaged weights where there are some."""
    params = {**state.params, **state.extra.get("ema", {})}
    return TrainState(step=state.step, params=params, opt_state=(), extra={})
