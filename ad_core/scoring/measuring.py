"""Images -> statistics, anomaly maps and reconstructions, in one compiled call a batch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ad_core.data.batches import Reading
from ad_core.data.formats.resizing import mirror
from ad_core.runtime.devices import infer, make_mesh
from ad_core.scoring.localisation import anomaly_map
from ad_core.statistics import Context, WindowSettings, compute
from ad_core.types import Reconstruction, Reconstructor, TrainState

Content = Int[Array | np.ndarray, "b 4"] | None  # of a Batch


class Measured(NamedTuple):
    """What the decision and the pictures need of each image; host arrays.

    statistics: in the order of the names that were asked for.
    anomaly_map: blurred residual, higher is more anomalous.
    """

    statistics: Float[np.ndarray, "n k"]
    anomaly_map: Float[np.ndarray, "n h w"]
    reconstruction: Float[np.ndarray, "n h w c"]


class Measurer(NamedTuple):
    """Compiled functions of batches of `batch_size` images, on every local device.

    measure: (image, content) -> Measured of device arrays, dispatched without waiting.
    reconstruct: (image, content) -> Reconstruction.
    compilations: how many programs were compiled so far.
    """

    batch_size: int
    measure: Callable[[Float[np.ndarray, "b h w c"], Content], Measured]
    reconstruct: Callable[[Float[np.ndarray, "b h w c"], Content], Reconstruction]
    compilations: Callable[[], int]


def make_measurer(
    reconstructor: Reconstructor,
    state: TrainState,
    *,
    names: tuple[str, ...],
    context: Context | None,
    windows: WindowSettings,
    sigma_px: float,
    batch_size: int,
) -> Measurer:
    """The measurer of an inference state. `batch_size` is rounded up to a multiple of the devices.

    The same key serves every call, so that an image's scores depend on nothing but the image.
    Beyond `content` (see Batch) reconstructions are mirrored as the images are: what a method draws
    there can raise no statistic and no map beyond what the image itself does.
    """
    mesh = make_mesh()
    key = jax.random.key(0)

    def reconstruct(
        state: TrainState, given: tuple[Array, Array | None], key: PRNGKeyArray
    ) -> Reconstruction:
        image, content = given
        drawn = reconstructor.reconstruct(state, image, key)
        return drawn if content is None else drawn._replace(image=mirror(drawn.image, content))

    def measure(
        learnt: tuple[TrainState, Context | None],
        given: tuple[Array, Array | None],
        key: PRNGKeyArray,
    ) -> tuple[Array, Array, Array]:
        (state, context), (image, _) = learnt, given
        drawn = reconstruct(state, given, key)
        statistics = compute(names, image, drawn, context, windows=windows) if names else {}
        columns = [statistics[name] for name in names]
        stacked = jnp.stack(columns, axis=1) if columns else jnp.zeros((len(image), 0))
        return stacked, anomaly_map(image, drawn.image, sigma_px=sigma_px), drawn.image

    measuring, reconstructing = infer(measure, mesh), infer(reconstruct, mesh)
    return Measurer(
        batch_size=-(-batch_size // mesh.size) * mesh.size,
        measure=lambda image, content: Measured(
            *measuring((state, context), (image, content), key)
        ),
        reconstruct=lambda image, content: reconstructing(state, (image, content), key),
        compilations=lambda: measuring._cache_size() + reconstructing._cache_size(),
    )


def join(own: Measurer, others: Sequence[Measurer]) -> Measurer:
    """`own`, whose statistics are followed by those of `others`; maps and images are its own."""
    if not others:
        return own

    def measure(image: Float[np.ndarray, "b h w c"], content: Content) -> Measured:
        measured = own.measure(image, content)
        columns: Any = [other.measure(image, content).statistics for other in others]
        return measured._replace(statistics=jnp.concatenate([measured.statistics, *columns], 1))

    return own._replace(
        measure=measure,
        compilations=lambda: sum(each.compilations() for each in (own, *others)),
    )


def measure_batches(
    measurer: Measurer, readings: Iterator[Reading]
) -> Iterator[tuple[Reading, Measured]]:
    """Each batch with what was measured of it, padding included, fetched one batch late.

    While the host handles one batch the device computes the next.
    """
    pending: tuple[Reading, Any] | None = None
    for reading in readings:
        batch = reading.batch
        dispatched = measurer.measure(np.asarray(batch.image), batch.content)
        if pending is not None:
            yield pending[0], jax.tree.map(np.asarray, pending[1])
        pending = (reading, dispatched)
    if pending is not None:
        yield pending[0], jax.tree.map(np.asarray, pending[1])
