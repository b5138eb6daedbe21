"""A frozen pretrained network: what it is, and its weights, known by their hash."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ad_core.errors import UserError

Params = dict[str, Any]  # nested, with arrays at its ends


class Level(NamedTuple):
    """One place of a network at which its activations can be taken.

    stride: pixels of the image for one position. apply(params, x): the activations here from
    those of the level before, in the dtype of x. shown: of them the channels that are activations
    of a place, where others behind them are for the next level alone; 0: all.
    """

    name: str
    stride: int
    apply: Callable[[Params, Array], Array]
    shown: int = 0


@dataclasses.dataclass(frozen=True)
class Network:
    """A network without its weights: levels in a row, each fed by the one before.

    It is hashable, so that a compiled program takes it for a constant.

    module: path of the module whose `network(name)` gives it again.
    prepare: from an image in [-1, 1], [b, h, w, 1 or 3], to what the first level takes.
    over_image: the positions of a level lie over the image from edge to edge.
    """

    name: str
    module: str
    prepare: Callable[[Array], Array]
    levels: tuple[Level, ...]
    licence: str
    origin: str
    over_image: bool = True

    @functools.cached_property
    def strides(self) -> dict[str, int]:
        """Pixels of the image for one position of each level, from the image on."""
        return {level.name: level.stride for level in self.levels}

    def stages(
        self,
        params: Params,
        x: Float[Array, "b h w c"],
        *,
        levels: Sequence[str] = (),
        start: str = "",
        dtype: DTypeLike = jnp.float32,
        whole: bool = False,
    ) -> dict[str, Float[Array, "b _ _ _"]]:
        """Activations of the asked levels; nothing beyond the last of them is computed.

        Args:
            x: images in [-1, 1] of any size and 1 or 3 channels; with `start`, the activations of
                that level, whole.
            levels: names from `strides`; none: all that follow `start`.
            start: the level from whose activations to go on; "": from the image.
            dtype: of the computation and of the activations; weights keep theirs.
            whole: with what only the next level needs, to go on from it (see Level.shown).

        Raises:
            UserError: a level that the network has not, or has only at or before `start`.
        """
        first = self._place(start) + 1 if start else 0
        wanted = {self._place(name) for name in levels} or set(range(first, len(self.levels)))
        if not wanted or min(wanted) < first:
            raise UserError(f"`levels` (={list(levels)}) must come after `start` (={start!r}).")
        x = (x if start else self.prepare(x)).astype(dtype)
        found = {}
        for number in range(first, max(wanted) + 1):
            level = self.levels[number]
            x = level.apply(params, x)
            if number in wanted:
                shown = x[..., : level.shown] if level.shown and not whole else x
                found[level.name] = shown
        return found

    def part(self, params: Params, levels: Sequence[str]) -> Params:
        """The weights that `stages` needs for these levels, of all that the network has."""
        taken = _Taken(params)
        image = jax.ShapeDtypeStruct((1, 320, 320, 1), np.float32)
        jax.eval_shape(lambda x: self.stages(taken, x, levels=levels), image)
        return {name: params[name] for name in params if name in taken.names}

    def _place(self, name: str) -> int:
        names = list(self.strides)
        if name not in names:
            raise UserError(f"Unknown level {name!r} of {self.name}; known: {', '.join(names)}.")
        return names.index(name)


class _Taken(dict):
    """Weights that know which of them were asked for by name."""

    def __init__(self, params: Params):
        super().__init__(params)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params"],
    meta_fields=["network", "sha256", "source"],
)
@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network with its weights: a pytree, of which a program sees `params` alone as data.

    sha256: `digest` of the weights as they were loaded. source: where these weights come from, if
    that is more than what their network's `origin` says.
    """

    network: Network
    params: Params
    sha256: str
    source: str = ""

    @property
    def name(self) -> str:
        """Name under which the backbone is loaded and saved."""
        return self.network.name

    @property
    def licence(self) -> str:
        """Licence of the weights."""
        return self.network.licence

    @property
    def origin(self) -> str:
        """Origin of the weights."""
        return self.source or self.network.origin

    @property
    def facts(self) -> dict[str, str]:
        """Facts of the weights that a result tells: name, origin, licence and sha256."""
        return {name: getattr(self, name) for name in ("name", "origin", "licence", "sha256")}

    @property
    def strides(self) -> dict[str, int]:
        """Names of the levels, from the image on, and the pixels for one position of each."""
        return self.network.strides

    @property
    def stages(self) -> Callable[..., dict[str, Array]]:
        """Function `Network.stages` of the network."""
        return self.network.stages


def with_weights(network: Network, arrays: Mapping[str, Any], *, source: str = "") -> Backbone:
    """The backbone of a network and its weights, nested dicts of NumPy arrays."""
    return Backbone(network, jax.tree.map(jnp.asarray, dict(arrays)), digest(arrays), source)


def digest(params: Mapping[str, Any]) -> str:
    """SHA-256 of weights: of name, dtype, shape and bytes of each array, in order of names."""
    flat = flax.traverse_util.flatten_dict(dict(params), sep="/")
    found = hashlib.sha256()
    for name, values in sorted(flat.items()):
        array = np.ascontiguousarray(values)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()
