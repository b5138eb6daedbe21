"""Levels of a frozen backbone and a memory learnt in one pass, which all methods here share."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.backbones import Network, load_backbone, network_of
from ad_core.errors import UserError
from ad_core.runtime.devices import infer, make_mesh, replicated
from ad_core.types import Batch, OnePass, TrainState

Maps = dict[str, Float[Array, "b _ _ _"]]
Values = Callable[[Any, Float[Array, "b h w c"]], Any]  # (weights, image) -> tree of [b, ...]
TOP = 0.01  # share of the positions whose mean is the loss `top`


class Frozen(NamedTuple):
    """The levels of a backbone that a memory is made of; it holds no weights.

    spec: as `load_backbone` takes it. dtype: of the computation; the maps are float32.
    """

    spec: str
    levels: tuple[str, ...]
    dtype: str

    @property
    def network(self) -> Network:
        """The network, from its name alone: no file is read."""
        return network_of(self.spec)

    def weights(self) -> dict[str, Any]:
        """The backbone's weights, as far as the levels need them; errors as `load_backbone`."""
        return self.network.part(load_backbone(self.spec).params, self.levels)

    def maps(self, weights: Any, image: Float[Array, "b h w c"]) -> Maps:
        """The activations of the levels, in the network's order, in float32."""
        found = self.network.stages(weights, image, levels=self.levels, dtype=self.dtype)
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
                f"not; known: {', '.join(known)}."
            )
    levels = tuple(name for name in known if name in asked) if asked else known
    return Frozen(spec, levels, config.train.dtype)


def in_range(config: ConfigDict, name: str, low: int | float, high: int | float) -> Any:
    """The setting `name`; UserError unless it lies in [low, high]."""
    value = config.reconstructor[name]
    if not low <= value <= high:
        raise UserError(f"`reconstructor.{name}` (={value}) must lie in [{low:g}, {high:g}].")
    return value


def one_pass(
    frozen: Frozen, values: Values, remember: Callable[[Iterable[Seen], PRNGKeyArray], Any]
) -> OnePass:
    """Learning whose state carries the backbone's weights and what `remember` makes of all values.

    It can be called again on any part of the images: nothing is kept from call to call.
    """

    def fit(batches: Iterable[Batch], key: PRNGKeyArray) -> TrainState:
        weights = frozen.weights()
        memory = remember(look(values, weights, batches), key)
        params = {"backbone": weights, "memory": memory}
        return TrainState(jnp.ones((), jnp.int32), params, (), {})

    return OnePass(fit)


def look(values: Values, weights: Any, batches: Iterable[Batch]) -> Iterator[Seen]:
    """The values of each batch, compiled once and computed on every local device."""
    mesh = make_mesh()
    compiled, weights = infer(values, mesh), jax.device_put(weights, replicated(mesh))
    for batch in batches:
        image, valid = np.asarray(batch.image), np.asarray(batch.valid)
        beyond = -len(image) % mesh.size
        image = np.concatenate([image, np.zeros((beyond, *image.shape[1:]), image.dtype)])
        yield Seen(compiled(weights, image), np.concatenate([valid, np.zeros(beyond, bool)]))


def rows(seen: Seen) -> Any:
    """The values of the valid images alone, on the host."""
    return jax.tree.map(lambda x: np.asarray(x)[seen.valid], seen.values)


def no_images() -> UserError:
    """The error of a memory that saw no image."""
    return UserError("No normal image to learn from; give more images or other shares.")


def stack(maps: Maps) -> Float[Array, "b h w d"]:
    """All levels as channels, at the size of the finest; coarser ones are interpolated."""
    h, w = max(x.shape[1] for x in maps.values()), max(x.shape[2] for x in maps.values())
    return jnp.concatenate([enlarge(x, h, w) for x in maps.values()], axis=-1)


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
