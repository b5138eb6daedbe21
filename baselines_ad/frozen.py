"""Levels of a frozen backbone and a memory learnt in one pass, which all methods here share."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.backbones import Network, load_backbone, network_of
from ad_core.errors import UserError
from ad_core.runtime.inference import Begun, Inference, make_inference
from ad_core.runtime.memo import begin_known
from ad_core.training.cross_fit import choose
from ad_core.types import Batch, OnePass, TrainState

Maps = dict[str, Float[Array, "b _ _ _"]]
Values = Callable[[Any, Float[Array, "b h w c"]], Any]  # (weights, image) -> tree of [b, ...]
OfMaps = Callable[[Maps], Any]  # activations of the levels -> tree of [b, ...]
log = logging.getLogger(__name__)
KEPT_BYTES = 2 * 2**30  # values of all images that are kept while parts of them are learnt
FOLDS = 20  # of the cross-fitting: another fit costs seconds, and few folds tell classes apart
TOP = 0.01  # share of the positions whose mean is the loss `top`
MIDDLE = (8, 16)  # strides of levels that are neither pixels nor the whole image


class Frozen(NamedTuple):
    """The levels of a backbone that a memory is made of; it holds no weights.

    spec: as `load_backbone` takes it. dtype: of the computation; the maps are float32. whole: as
    `Network.stages` takes it, for levels from which the network goes on.
    """

    spec: str
    levels: tuple[str, ...]
    dtype: str
    whole: bool = False

    @property
    def network(self) -> Network:
        """The network, from its name alone: no file is read."""
        return network_of(self.spec)

    def weights(self) -> dict[str, Any]:
        """The backbone's weights, as far as the levels need them; errors as `load_backbone`."""
        return self.network.part(load_backbone(self.spec).params, self.levels)

    def maps(self, weights: Any, image: Float[Array, "b h w c"]) -> Maps:
        """The activations of the levels, in the network's order, in float32."""
        found = self.network.stages(
            weights, image, levels=self.levels, dtype=self.dtype, whole=self.whole
        )
        return {name: x.astype(jnp.float32) for name, x in found.items()}


class Seen(NamedTuple):
    """A batch as a memory sees it. Rows with `valid` False are not learnt.

    values: a tree of arrays [b, ...]. A part of the images is learnt by a `valid` of that part.
    """

    values: Any
    valid: Bool[np.ndarray, " b"]


def make_frozen(config: ConfigDict) -> Frozen:
    """The levels that `reconstructor.backbone` and `reconstructor.levels` name; none named: all.

    Raises:
        UserError: no such backbone, or it has no such level.
    """
    spec, asked = config.reconstructor.backbone, tuple(config.reconstructor.levels)
    known = tuple(network_of(spec).strides)
    for name in asked:
        if name not in known:
            raise UserError(
                f"`reconstructor.levels` (={','.join(asked)}) names {name!r}, which {spec} has "
                f"not; known: {', '.join(known)}. {_take(config.method, network_of(spec).strides)}"
            )
    levels = tuple(name for name in known if name in asked) if asked else known
    return Frozen(spec, levels, config.train.dtype)


def _take(method: str, strides: Mapping[str, int]) -> str:
    """Advice on levels that a memory can do with: one of each middle stride, else the last."""
    found = {stride: name for name, stride in strides.items() if stride in MIDDLE}
    levels = ",".join(found.values() or [*strides][-1:])
    name = method.rpartition(".")[2]
    return (
        f"Add e.g. --config.reconstructor.levels={levels} (where several methods learn, "
        f"--config.reconstructor.{name}.levels={levels})."
    )


def in_range(config: ConfigDict, name: str, low: int | float, high: int | float) -> Any:
    """The setting `name`; UserError unless it lies in [low, high]."""
    value = config.reconstructor[name]
    if not low <= value <= high:
        raise UserError(f"`reconstructor.{name}` (={value}) must lie in [{low:g}, {high:g}].")
    return value


Look = Callable[[Iterable[Batch]], Iterator[Seen]]
# (values of normal images, key, room) -> memory, whose arrays leave room for so many images: then
# memories of several parts of the images have the same shapes. Room 0: for those that are given.
Remember = Callable[[Iterable[Seen], PRNGKeyArray, int], Any]
# (what begins a pass over all values anew, parts [p, n], key) -> the memory of each part.
RememberParts = Callable[
    [Callable[[], Iterable[Seen]], Bool[np.ndarray, "p n"], PRNGKeyArray], Iterator[Any]
]


def one_pass(
    frozen: Frozen,
    of_maps: OfMaps,
    remember: Remember,
    remember_parts: RememberParts | None = None,
    *,
    levels: tuple[str, ...] = (),
) -> OnePass:
    """Learning whose state carries the backbone's weights and what `remember` makes of all values.

    Of several parts of the images the values are computed once, as long as they fit KEPT_BYTES.

    Args:
        of_maps: makes the values of an image from its activations.
        remember_parts: None: `remember` is called for each part.
        levels: those that it learns from, of those whose weights it carries; (): all.
    """
    seen = frozen._replace(levels=levels or frozen.levels)

    def fit(batches: Iterable[Batch], key: PRNGKeyArray) -> TrainState:
        weights = frozen.weights()
        return _state(weights, remember(look_through(seen, of_maps, weights)(batches), key, 0))

    def fit_parts(
        batches: Callable[[], Iterable[Batch]], parts: Bool[np.ndarray, "p n"], key: PRNGKeyArray
    ) -> Iterator[TrainState]:
        weights, (_, images) = frozen.weights(), parts.shape
        look = look_through(seen, of_maps, weights)
        again = keep(lambda: look(batches()), images=images)
        if remember_parts is not None:
            yield from (_state(weights, one) for one in remember_parts(again, parts, key))
            return
        for part in parts:
            yield _state(weights, remember(only(again(), part), key, images))

    return OnePass(fit, fit_parts)


def _state(weights: Any, memory: Any) -> TrainState:
    params = {"backbone": weights, "memory": memory}
    return TrainState(jnp.ones((), jnp.int32), params, (), {})


def make_look(values: Values, weights: Any) -> Look:
    """A function that gives the values of each batch, computed as those of images to be scored.

    So on a CPU an image has the same bits whatever comes with it, and on however many devices: a
    process of many learns what one alone does.
    """
    weights = jax.device_put(weights)

    @lru_cache
    def inference(batch_size: int) -> Inference:
        return make_inference(values, batch_size=batch_size)

    return _looking(lambda image: inference(len(image)).begin(weights, image))


def look_through(frozen: Frozen, of_maps: OfMaps, weights: Any) -> Look:
    """A function as `make_look` gives, of what `of_maps` makes of the levels of `frozen`.

    Methods of a job that look at the same images compute a level of them once (`runtime.memo`).
    """
    weights = jax.device_put(weights)
    same = (frozen.spec, frozen.dtype, frozen.whole)

    def ordered(maps: Maps) -> Maps:
        return {name: maps[name] for name in frozen.levels}  # as the network has them

    @lru_cache
    def programs(batch_size: int) -> tuple[Inference, Inference]:
        values = make_inference(lambda _, maps: of_maps(ordered(maps)), batch_size=batch_size)
        return make_inference(frozen.maps, batch_size=batch_size), values

    def begin(image: np.ndarray) -> Begun[Any]:
        maps, values = programs(len(image))
        begun = begin_known(same, frozen.levels, image, lambda x: maps.begin(weights, x))
        return Begun(lambda: values.begin((), begun.result()).result(), begun.cancel)

    return _looking(begin)


def _looking(begin: Callable[[np.ndarray], Begun[Any]]) -> Look:
    """A look at batch after batch, of which each is begun before the last one is fetched."""

    def look(batches: Iterable[Batch]) -> Iterator[Seen]:
        begun: deque[tuple[Begun[Any], np.ndarray]] = deque()
        for batch in batches:
            begun.append((begin(np.asarray(batch.image)), np.asarray(batch.valid)))
            if len(begun) > 1:
                yield _seen(*begun.popleft())
        for last in begun:
            yield _seen(*last)

    return look


def _seen(begun: Begun[Any], valid: np.ndarray) -> Seen:
    return Seen(begun.result(), valid)


def keep(look_anew: Callable[[], Iterator[Seen]], *, images: int) -> Callable[[], Iterable[Seen]]:
    """A function that gives a pass over all values; it looks once where they fit KEPT_BYTES.

    Where they do not it looks anew each time, and says so at the first batch.
    """
    kept: list[Seen] = []
    fits: bool | None = None

    def again() -> Iterator[Seen]:
        nonlocal fits
        if kept:
            yield from kept
            return
        found: list[Seen] = []
        for seen in look_anew():
            fits = _fits(seen, images) if fits is None else fits
            if fits:
                found.append(seen)
            yield seen
        kept.extend(found)

    return again


def _fits(seen: Seen, images: int) -> bool:
    """Tells whether the values of all images can be kept; a log line where not."""
    size = images * sum(x.nbytes for x in jax.tree.leaves(seen.values)) // len(seen.valid)
    if size > KEPT_BYTES:
        log.info(
            "The features of %s images take %.1f GB, more than the %.1f GB that are kept: they are "
            "computed anew for each fold.",
            f"{images:,}",
            size / 2**30,
            KEPT_BYTES / 2**30,
        )
    return size <= KEPT_BYTES


def only(seen: Iterable[Seen], part: Bool[np.ndarray, " n"]) -> Iterator[Seen]:
    """The values of all images, valid in the rows of a part; `part` counts the valid rows."""
    first = 0
    for values, valid in seen:
        yield Seen(values, choose(valid, part, first))
        first += int(valid.sum())


def gather(seen: Iterable[Seen], part: Bool[np.ndarray, " n"]) -> Iterator[Seen]:
    """The values of a part alone, in batches of the same size, of which only the last is padded.

    So a small part costs what its own images cost.
    """
    first, pending = 0, None
    for values, valid in seen:
        places = np.flatnonzero(valid)
        chosen = places[part[first : first + len(places)]]
        first += len(places)
        own = jax.tree.map(lambda x, chosen=chosen: np.asarray(x)[chosen], values)
        joined = own if pending is None else jax.tree.map(_join, pending, own)
        count, size = len(jax.tree.leaves(joined)[0]), len(valid)
        for start in range(0, count - size + 1, size):
            yield Seen(_rows(joined, start, size), np.ones(size, bool))
        pending = _rows(joined, count - count % size, size)
    if pending is not None and (count := len(jax.tree.leaves(pending)[0])):
        padded = jax.tree.map(lambda x: np.resize(x, (size, *x.shape[1:])), pending)
        yield Seen(padded, np.arange(size) < count)


def _join(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.concatenate([one, other])


def _rows(values: Any, start: int, count: int) -> Any:
    return jax.tree.map(lambda x: x[start : start + count], values)


def rows(seen: Seen) -> Any:
    """The values of the valid images alone, on the host."""
    return jax.tree.map(lambda x: np.asarray(x)[seen.valid], seen.values)


def no_images() -> UserError:
    """The error of a memory that saw no image."""
    return UserError("No normal image to learn from; give more images or other shares.")


def stack(maps: Maps) -> Float[Array, "b h w d"]:
    """All levels as channels, at the size of the finest; coarser ones are interpolated.

    They stand in the order of their names, as compiled programs give dictionaries back.
    """
    found = [maps[name] for name in sorted(maps)]
    h, w = max(x.shape[1] for x in found), max(x.shape[2] for x in found)
    return jnp.concatenate([enlarge(x, h, w) for x in found], axis=-1)


def widths_of(maps: Mapping[str, Any]) -> list[int]:
    """Channels of each level, in the order of `stack`."""
    return [maps[name].shape[-1] for name in sorted(maps)]


def enlarge(x: Float[Array, "b _ _ d"], h: int, w: int) -> Float[Array, "b {h} {w} d"]:
    """The map at h x w positions, linear between the centres of its own."""
    if x.shape[1:3] == (h, w):
        return x
    return jax.image.resize(x, (x.shape[0], h, w, x.shape[3]), "linear", antialias=False)


def average(x: Float[Array, "b h w d"], *, window: int, stride: int) -> Float[Array, "b _ _ d"]:
    """Means over windows; at the border over the part that lies inside."""
    if window == stride == 1:
        return x
    shape = ((1, window, window, 1), (1, stride, stride, 1), "SAME")
    total = jax.lax.reduce_window(x, 0.0, jax.lax.add, *shape)
    inside = jnp.ones((1, *x.shape[1:3], 1), x.dtype)
    return total / jax.lax.reduce_window(inside, 0.0, jax.lax.add, *shape)


def highest(maps: Float[Array, "b h w"]) -> Float[Array, " b"]:
    """The largest value of each map."""
    return jnp.max(maps, axis=(1, 2))


def top(maps: Float[Array, "b h w"]) -> Float[Array, " b"]:
    """Mean of the ceil(TOP * positions) largest values of each map."""
    flat = maps.reshape(maps.shape[0], -1)
    count = int(np.ceil(TOP * flat.shape[1]))
    return jnp.mean(jax.lax.top_k(flat, count)[0], axis=1)
