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
from ad_core.runtime.inference import Begun, make_inference
from ad_core.runtime.keys import image_keys
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
    anomaly_map: higher is more anomalous.
    drawn: the normal version, None where the method draws none.
    """

    statistics: Float[np.ndarray, "n k"]
    anomaly_map: Float[np.ndarray, "n h w"]
    drawn: Float[np.ndarray, "n h w c"] | None

    def rows(self, chosen: Any) -> "Measured":
        """Measurements of some images, by index, slice or mask."""
        drawn = None if self.drawn is None else np.asarray(self.drawn)[chosen]
        return Measured(
            np.asarray(self.statistics)[chosen], np.asarray(self.anomaly_map)[chosen], drawn
        )


def join_rows(parts: Sequence[Measured]) -> Measured:
    """The images of all parts, one after the other."""
    drawn = [part.drawn for part in parts if part.drawn is not None]
    return Measured(
        np.concatenate([part.statistics for part in parts]),
        np.concatenate([part.anomaly_map for part in parts]),
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


def make_measure(
    look: Look, *, names: tuple[str, ...], windows: WindowSettings, localise: Localiser | None
) -> Callable[[Knowledge, Given], tuple[Array, Array, Array | None]]:
    """The pure function behind a measurer: what is known and given -> the fields of a Measured.

    Args:
        localise: None where another measurer's map is shown; the map is then 0.
    """
    scalars = tuple(name for name in names if not is_feature(name))
    deep = names[len(scalars) :]  # `expand` puts them last

    def measure(learnt: Knowledge, given: Given) -> tuple[Array, Array, Array | None]:
        (state, context), (image, _) = learnt, given
        seen = look(state, given)
        statistics = compute(scalars, image, seen, context, windows=windows) if scalars else {}
        columns = [statistics[name] for name in scalars]
        stacked = jnp.stack(columns, axis=1) if columns else jnp.zeros((len(image), 0))
        if deep:
            stacked = jnp.concatenate([stacked, feature_block(deep, seen)], axis=1)
        found = jnp.zeros(image.shape[:3]) if localise is None else localise(image, seen)
        return stacked, found, seen.image

    return measure


def make_measurer(
    method: Method,
    state: TrainState,
    *,
    names: tuple[str, ...],
    context: Context | None,
    windows: WindowSettings,
    localise: Localiser | None,
    batch_size: int,
    identity: str = "",
) -> Measurer:
    """The measurer of an inference state. `batch_size` is rounded up to a multiple of the devices.

    One program measures an image however many come with it: its scores depend on nothing but the
    image. What is measured and how: `make_look`, `make_measure`.

    Args:
        identity: as of `make_inference`, of the method; "": its program is not kept.
    """
    look = make_look(method)
    measure = make_measure(look, names=names, windows=windows, localise=localise)
    told = identity and repr((identity, names, windows, localise))
    measuring = make_inference(measure, batch_size=batch_size, identity=told)
    viewing = infer(look, make_mesh())

    def knowing(learnt: Knowledge) -> Measurer:
        def begin(image: Float[np.ndarray, "b h w c"], content: Content) -> Begun[Measured]:
            begun = measuring.begin(learnt, (image, content))
            return Begun(lambda: Measured(*begun.result()), begun.cancel)

        return Measurer(
            batch_size=measuring.batch_size,
            begin=begin,
            view=lambda image, content: viewing(learnt[0], (image, content)),
            compilations=lambda: measuring.compilations() + viewing._cache_size(),
            relearnt=lambda others: knowing(others[0] or learnt),
        )

    return knowing((state, context))


def join(measurers: Sequence[Measurer], *, shown: int = 0) -> Measurer:
    """Measurer of all statistics, side by side; the map is that of measurer `shown`.

    The normal version is that of `shown` too, or of the first that draws one if `shown` draws none.
    """
    if len(measurers) == 1:
        return measurers[0]

    def begin(image: Float[np.ndarray, "b h w c"], content: Content) -> Begun[Measured]:
        begun = [each.begin(image, content) for each in measurers]

        def cancel() -> None:
            for each in begun:
                each.cancel()

        return Begun(lambda: _side_by_side([each.result() for each in begun], shown), cancel)

    def relearnt(others: Sequence[Knowledge | None]) -> Measurer:
        pairs = zip(measurers, others, strict=True)
        return join([each.relearnt([other]) for each, other in pairs], shown=shown)

    return measurers[shown]._replace(
        begin=begin,
        compilations=lambda: sum(each.compilations() for each in measurers),
        relearnt=relearnt,
    )


def _side_by_side(measured: Sequence[Measured], shown: int) -> Measured:
    images = [each.drawn for each in (measured[shown], *measured) if each.drawn is not None]
    return Measured(
        np.concatenate([each.statistics for each in measured], axis=1),
        measured[shown].anomaly_map,
        images[0] if images else None,
    )


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
    maps = measured.anomaly_map.copy()
    drawn = None if measured.drawn is None else measured.drawn.copy()
    for row, sample in enumerate(samples):
        if sample is None or sample.motion is None:
            continue
        maps[row] = sample.motion.undo(maps[row])
        if drawn is not None:
            drawn[row] = sample.motion.undo(drawn[row])
    return measured._replace(anomaly_map=maps, drawn=drawn)


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
