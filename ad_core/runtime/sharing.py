"""Arrays that several methods know alike: they stand once on the device, and in the program.

Methods on one pretrained network each carry its weights. As one argument of the program they are
the same to XLA, which computes once what is computed of them alike.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ad_core.runtime.inference import Begun, Inference, make_inference, round_up


class SharedInference(NamedTuple):
    """A compiled function of what is known and of up to `batch_size` images.

    knowing: what is known, a tree of arrays -> it on the device, and what begins a call with
        images, as `Inference.begin`. compilations: how many programs were compiled so far.
    """

    batch_size: int
    knowing: Callable[[Any], tuple[Any, Callable[[Any], Begun[Any]]]]
    compilations: Callable[[], int]


def make_shared_inference(
    function: Callable[[Any, Any], Any], *, batch_size: int, identity: str = ""
) -> SharedInference:
    """`function(known, images)` as `make_inference`, where arrays that are alike are known once.

    What other knowledge has alike in the same places is measured by the same program.
    """
    made: list[tuple[Any, tuple[int, ...], Inference]] = []

    def find(tree: Any, leaves: Sequence[Any]) -> tuple[tuple[int, ...], Inference]:
        for known, places, inference in made:
            if known == tree and _alike(leaves, places):
                return places, inference
        places = find_places(leaves)
        inference = make_inference(
            lambda own, images: function(_spread(tree, own, places), images),
            batch_size=batch_size,
            identity=identity and repr((identity, places)),
        )
        made.append((tree, places, inference))
        return places, inference

    def knowing(known: Any) -> tuple[Any, Callable[[Any], Begun[Any]]]:
        leaves, tree = jax.tree.flatten(known)
        places, inference = find(tree, leaves)
        own = jax.device_put({place: leaves[place] for place in sorted(set(places))})
        return _spread(tree, own, places), lambda images: inference.begin(own, images)

    def compilations() -> int:
        return sum(inference.compilations() for *_, inference in made)

    return SharedInference(round_up(batch_size), knowing, compilations)


def find_places(leaves: Sequence[Any]) -> tuple[int, ...]:
    """The place of the first array with the same shape, type and bits, of each array.

    Of an array whose values are all the same, which may be alike by chance, that is its own.
    """
    first: dict[tuple[Any, ...], list[int]] = {}
    places = []
    for place, leaf in enumerate(leaves):
        near = first.setdefault((leaf.shape, leaf.dtype), [])
        same = (other for other in near if _equal(leaves[other], leaf))
        found = next(same, place) if _tells(leaf) else place
        if found == place:
            near.append(place)
        places.append(found)
    return tuple(places)


def _tells(leaf: Any) -> bool:
    """Tells whether an array has values that differ."""
    values = np.asarray(leaf).ravel()
    return bool(values.size and (values != values[0]).any())


def _alike(leaves: Sequence[Any], places: Sequence[int]) -> bool:
    """Tells whether each array equals the one at the place that stands for it."""
    pairs = zip(leaves, (leaves[place] for place in places), strict=True)
    return all(_equal(leaf, other) for leaf, other in pairs)


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one, other = np.asarray(one), np.asarray(other)
    head = (slice(1),) * one.ndim  # most that differ do so at once
    return one[head].tobytes() == other[head].tobytes() and one.tobytes() == other.tobytes()


def _spread(tree: Any, own: Any, places: Sequence[int]) -> Any:
    return jax.tree.unflatten(tree, [own[place] for place in places])
