"""Images -> statistics, anomaly maps and normal versions, by one compiled program."""

import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ad_core.data.batches import Reading
from ad_core.data.formats.resizing import mirror
from ad_core.runtime.devices import infer, make_mesh
from ad_core.runtime.inference import Begun
from ad_core.runtime.keys import image_keys
from ad_core.runtime.sharing import make_shared_inference
from ad_core.scoring.localisation import Localiser
from ad_core.statistics import Context, WindowSettings, compute, feature_block, is_feature
from ad_core.types import Method, Sample, TrainState, View

Content = Int[Array | np.ndarray, "b 4"] | None  # of a Batch
Given = tuple[Array, Array | None]  # images, and what of each is its file's
Knowledge = tuple[TrainState, Context | None]  # of a method, and of its statistics
Look = Callable[[TrainState, Given], View]


class Measured(NamedTuple):
    """Measurements of each image for the decision and the pictures; host arrays.

    statistics: in the order of the names that were asked for.
    maps: m maps of each image, higher is more anomalous; one of each method that localises, the
        foremost first, and one in all once they are told as one (`scoring.profile`).
    drawn: the normal version, None where the method draws none.
    """

    statistics: Float[np.ndarray, "n k"]
    maps: Float[np.ndarray, "n m h w"]
    drawn: Float[np.ndarray, "n h w c"] | None

    @property
    def anomaly_map(self) -> Float[np.ndarray, "n h w"]:
        """The first map of each image."""
        return self.maps[:, 0]

    def rows(self, chosen: Any) -> "Measured":
        """Measurements of some images, by index, slice or mask."""
        drawn = None if self.drawn is None else np.asarray(self.drawn)[chosen]
        return Measured(np.asarray(self.statistics)[chosen], np.asarray(self.maps)[chosen], drawn)


def join_rows(parts: Sequence[Measured]) -> Measured:
    """The images of all parts, one after the other."""
    drawn = [part.drawn for part in parts if part.drawn is not None]
    return Measured(
        np.concatenate([part.statistics for part in parts]),
        np.concatenate([part.maps for part in parts]),
        np.concatenate(drawn) if drawn else None,
    )


class Measurer(NamedTuple):
    """Compiled functions of up to `batch_size` images: see `runtime.inference`.

    begin: (image, content) -> a begun Measured.
    view: (image, content) of `batch_size` images -> View, on every local device.
    compilations: how many programs were compiled so far.
    relearnt: the measurer with other knowledge of each method (None: as it is); of arrays of the
        same shapes it compiles nothing.
    """

    batch_size: int
    begin: Callable[[Float[np.ndarray, "b h w c"], Content], Begun[Measured]]
    view: Callable[[Float[np.ndarray, "b h w c"], Content], View]
    compilations: Callable[[], int]
    relearnt: Callable[[Sequence[Knowledge | None]], "Measurer"]

    def measure(self, image: Float[np.ndarray, "b h w c"], content: Content) -> Measured:
        """Measurements of up to `batch_size` images."""
        return self.begin(image, content).result()


def make_look(method: Method) -> Look:
    """The view of images by an inference state, each with a key of its own, made of its pixels.

    Beyond `content` (see Batch) what is drawn is mirrored as the images are: what a method draws
    there can raise no statistic and no map beyond what the image itself does.
    """

    def look(state: TrainState, given: Given) -> View:
        image, content = given
        keys = image_keys(image)
        if method.view_within is None:
            seen = method.view(state, image, keys)
        else:
            seen = method.view_within(state, image, keys, content)
        if content is None or seen.image is None:
            return seen
        return replace(seen, image=mirror(seen.image, content))

    return look


class Measuring(NamedTuple):
    """A method, what it knows, and what is measured of its views.

    names: of the statistics. localise: None where other methods localise; there is no map then.
    identity: as of `make_inference`, of the method; "": its program is not kept.
    """

    method: Method
    known: Knowledge
    names: tuple[str, ...]
    windows: WindowSettings
    localise: Localiser | None = None
    identity: str = ""


def make_measure(
    look: Look, *, names: tuple[str, ...], windows: WindowSettings, localise: Localiser | None
) -> Callable[[Knowledge, Given], tuple[Array, Array | None, Array | None]]:
    """The pure function behind a measurer: what is known and given -> statistics, map, drawn."""
    scalars = tuple(name for name in names if not is_feature(name))
    deep = names[len(scalars) :]  # `expand` puts them last

    def measure(learnt: Knowledge, given: Given) -> tuple[Array, Array | None, Array | None]:
        (state, context), (image, _) = learnt, given
        seen = look(state, given)
        statistics = compute(scalars, image, seen, context, windows=windows) if scalars else {}
        columns = [statistics[name] for name in scalars]
        stacked = jnp.stack(columns, axis=1) if columns else jnp.zeros((len(image), 0))
        if deep:
            stacked = jnp.concatenate([stacked, feature_block(deep, seen)], axis=1)
        return stacked, localise and localise(image, seen), seen.image

    return measure


def make_measure_all(
    each: Sequence[Measuring], *, shown: int = 0
) -> Callable[[Sequence[Knowledge], Given], tuple[Array, Array, Array | None]]:
    """The pure function of several methods side by side -> the fields of a Measured.

    The first map is that of method `shown`, and so is the normal version, or that of the first
    method that draws one if `shown` draws none.
    """
    order = [shown, *(place for place in range(len(each)) if place != shown)]
    measures = [
        make_measure(
            make_look(one.method), names=one.names, windows=one.windows, localise=one.localise
        )
        for one in each
    ]

    def measure(known: Sequence[Knowledge], given: Given) -> tuple[Array, Array, Array | None]:
        found = [one(own, given) for one, own in zip(measures, known, strict=True)]
        statistics = jnp.concatenate([one[0].astype(jnp.float32) for one in found], axis=1)
        maps = [x for x in (found[place][1] for place in order) if x is not None]
        drawn = (x for x in (found[place][2] for place in order) if x is not None)
        image, _ = given
        blank = jnp.zeros((len(image), 1, *image.shape[1:3]))
        return statistics, jnp.stack(maps, axis=1) if maps else blank, next(drawn, None)

    return measure


def make_measurer(each: Sequence[Measuring], *, batch_size: int, shown: int = 0) -> Measurer:
    """The measurer of methods. `batch_size` is rounded up to a multiple of the devices.

    One program measures an image however many come with it: its scores depend on nothing but the
    image. The methods share it, and what several of them know alike (`runtime.sharing`), so that a
    backbone is passed through once for all of them. What is measured: `make_measure_all`.

    Args:
        shown: the place of the method whose map stands first.
    """
    measure = make_measure_all(each, shown=shown)
    look = make_look(each[shown].method)
    told = [(one.identity, one.names, one.windows, one.localise) for one in each]
    identity = repr((told, shown)) if all(one.identity for one in each) else ""
    inference = make_shared_inference(measure, batch_size=batch_size, identity=identity)
    viewing = infer(look, make_mesh())

    def knowing(known: Sequence[Knowledge]) -> Measurer:
        known, begin_shared = inference.knowing(known)

        def begin(image: Float[np.ndarray, "b h w c"], content: Content) -> Begun[Measured]:
            begun = begin_shared((image, content))
            return Begun(lambda: Measured(*begun.result()), begun.cancel)

        def relearnt(others: Sequence[Knowledge | None]) -> Measurer:
            return knowing([one or own for one, own in zip(others, known, strict=True)])

        return Measurer(
            batch_size=inference.batch_size,
            begin=begin,
            view=lambda image, content: viewing(known[shown][0], (image, content)),
            compilations=lambda: inference.compilations() + viewing._cache_size(),
            relearnt=relearnt,
        )

    return knowing([one.known for one in each])


def measure_batches(
    measurer: Measurer, readings: Iterator[Reading]
) -> Iterator[tuple[Reading, Measured]]:
    """Each batch with what was measured of it, NaN in rows that are not valid, one batch late.

    While the host handles one batch the next is computed.
    """
    begun: deque[tuple[Reading, Begun[Measured]]] = deque()
    try:
        for reading in readings:
            begun.append((reading, _begin(measurer, reading)))
            if len(begun) > 1:
                yield _finished(*begun.popleft())
        while begun:
            yield _finished(*begun.popleft())
    finally:
        for _, call in begun:
            call.cancel()


def _begin(measurer: Measurer, reading: Reading) -> Begun[Measured]:
    """Begins to measure the rows that are valid, and no padding."""
    batch, valid = reading.batch, np.asarray(reading.batch.valid)
    content = None if batch.content is None else np.asarray(batch.content)[valid]
    read = [sample for sample, is_valid in zip(reading.samples, valid, strict=True) if is_valid]
    return begin_all(measurer, np.asarray(batch.image)[valid], content, read)


def begin_all(
    measurer: Measurer,
    image: Float[np.ndarray, "b h w c"],
    content: Content,
    samples: Sequence[Sample | None],
) -> Begun[Measured]:
    """Begins to measure images, each that has a `Sample.large` by all its pixels, one at a time.

    The first of these is read from now on, each other one while the one before it is measured.
    Maps and normal versions of images that were registered lie as their files do.

    Args:
        samples: of each image.
    """
    begun = _begin_large(measurer, image, content, [one and one.large for one in samples])
    if not any(one is not None and one.motion for one in samples):
        return begun
    return Begun(lambda: _moved_back(begun.result(), samples), begun.cancel)


def _moved_back(measured: Measured, samples: Sequence[Sample | None]) -> Measured:
    maps = measured.maps.copy()
    drawn = None if measured.drawn is None else measured.drawn.copy()
    for row, sample in enumerate(samples):
        if sample is None or sample.motion is None:
            continue
        maps[row] = [sample.motion.undo(each) for each in maps[row]]
        if drawn is not None:
            drawn[row] = sample.motion.undo(drawn[row])
    return measured._replace(maps=maps, drawn=drawn)


def _begin_large(
    measurer: Measurer,
    image: Float[np.ndarray, "b h w c"],
    content: Content,
    large: Sequence[Callable[[], Float[np.ndarray, "_ _ c"]] | None],
) -> Begun[Measured]:
    if all(one is None for one in large):
        return measurer.begin(image, content)
    small = np.array([one is None for one in large])
    own = None if content is None else np.asarray(content)[small]
    begun = measurer.begin(image[small], own) if small.any() else None
    coming = deque(read for read in large if read is not None)
    first = _reader().submit(coming.popleft())

    def result() -> Measured:
        found, reading = [], first
        while reading is not None:
            pixels = reading.result()
            reading = _reader().submit(coming.popleft()) if coming else None
            found.append(measurer.measure(pixels[None], None))
        order = np.argsort(np.concatenate([np.flatnonzero(~small), np.flatnonzero(small)]))
        return join_rows([*found, *([] if begun is None else [begun.result()])]).rows(order)

    def cancel() -> None:
        first.cancel()
        if begun is not None:
            begun.cancel()

    return Begun(result, cancel)


@functools.cache
def _reader() -> ThreadPoolExecutor:
    """The thread that reads large images beside what is measured."""
    return ThreadPoolExecutor(1, thread_name_prefix="large")


def _finished(reading: Reading, begun: Begun[Measured]) -> tuple[Reading, Measured]:
    valid = np.asarray(reading.batch.valid)

    def spread(found: np.ndarray) -> np.ndarray:
        rows = np.full((len(valid), *found.shape[1:]), np.nan, found.dtype)
        rows[valid] = found
        return rows

    measured = begun.result()
    return reading, measured if valid.all() else jax.tree.map(spread, measured)
