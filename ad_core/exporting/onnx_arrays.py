"""Primitives of JAX that turn, cut, join, reduce and sort arrays, as ONNX operators."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode

from ad_core.exporting.equations import Equation
from ad_core.exporting.onnx_graph import Emit, Graph, kind_of, refuse

_END = np.iinfo(np.int64).max  # of a slice: as far as it goes


def _reshape(graph: Graph, equation: Equation, names: list[str]) -> str:
    return graph.node("Reshape", names[0], graph.shape(equation.outputs[0].shape))


def _broadcast(graph: Graph, equation: Equation, names: list[str]) -> str:
    (given, shape), places = (
        (equation.inputs[0].shape, equation.params["shape"]),
        equation.params["broadcast_dimensions"],
    )
    sides: list[Any] = [1] * len(shape)
    for place, side in zip(places, given, strict=True):
        sides[place] = side
    spread = (
        names[0]
        if len(given) == len(shape)
        else graph.node("Reshape", names[0], graph.shape(sides))
    )
    same = all(a is b or (isinstance(a, int) and a == b) for a, b in zip(sides, shape, strict=True))
    return spread if same else graph.node("Expand", spread, graph.shape(shape))


def _transpose(graph: Graph, equation: Equation, names: list[str]) -> str:
    return graph.node("Transpose", names[0], perm=list(equation.params["permutation"]))


def _slice(graph: Graph, equation: Equation, names: list[str]) -> str:
    starts, stops = equation.params["start_indices"], equation.params["limit_indices"]
    steps = equation.params["strides"] or (1,) * len(starts)
    if any(
        start or step != 1
        for start, stop, step in zip(starts, stops, steps, strict=True)
        if not isinstance(stop, int)
    ):
        raise refuse(equation, "a part of an axis of unknown size")
    whole = [stop if isinstance(stop, int) else _END for stop in stops]
    return sliced(graph, names[0], starts, whole, steps)


def sliced(
    graph: Graph, name: str, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]
) -> str:
    """A part of a tensor, every `steps`-th from `starts` to before `stops`, axis by axis."""
    bounds = (graph.whole(*starts), graph.whole(*stops))
    return graph.node("Slice", name, *bounds, graph.whole(*range(len(starts))), graph.whole(*steps))


def _rev(graph: Graph, equation: Equation, names: list[str]) -> str:
    places = equation.params["dimensions"]
    count, least = len(places), np.iinfo(np.int64).min
    bounds = graph.whole(*[-1] * count), graph.whole(*[least] * count)
    steps = graph.whole(*[-1] * count)
    return graph.node("Slice", names[0], *bounds, graph.whole(*places), steps)


def _pad(graph: Graph, equation: Equation, names: list[str]) -> str:
    low, high, inner = zip(*equation.params["padding_config"], strict=True)
    if any(inner):
        raise refuse(equation, "gaps between the values")
    return graph.node("Pad", names[0], graph.whole(*low, *high), names[1], mode="constant")


def _concatenate(graph: Graph, equation: Equation, names: list[str]) -> str:
    return graph.node("Concat", *names, axis=equation.params["dimension"])


def _stack(graph: Graph, equation: Equation, names: list[str]) -> str:
    axis = equation.params["axis"]
    wide = [graph.node("Unsqueeze", name, graph.whole(axis)) for name in names]
    return graph.node("Concat", *wide, axis=axis)


def _unstack(graph: Graph, equation: Equation, names: list[str]) -> list[str]:
    axis = equation.params["axis"]
    places = range(len(equation.outputs))
    return [
        graph.node("Gather", names[0], graph.constant(np.asarray(n, np.int64)), axis=axis)
        for n in places
    ]


def _iota(graph: Graph, equation: Equation, names: list[str]) -> str:
    """Of a symbolic side; others are constants."""
    shape = equation.params["shape"]
    if len(shape) != 1:
        raise refuse(equation, f"{len(shape)} axes of unknown size")
    stop = graph.node("Squeeze", graph.side(shape[0]), graph.whole(0))
    zero, one = (graph.constant(np.asarray(n, np.int64)) for n in (0, 1))
    return graph.cast(graph.node("Range", zero, stop, one), equation.params["dtype"])


def _dim_as_value(graph: Graph, equation: Equation, names: list[str]) -> str:
    value = graph.node("Squeeze", graph.side(equation.params["dim"]), graph.whole(0))
    return graph.cast(value, equation.outputs[0].dtype)


def _reduce(operator: str) -> Emit:
    def emit(graph: Graph, equation: Equation, names: list[str]) -> str:
        axes = equation.params["axes"]
        if not axes:
            return names[0]
        return graph.node(operator, names[0], graph.whole(*axes), keepdims=0)

    return emit


def _reduce_logical(operator: str) -> Emit:
    """All or any, as the least or the largest of 0 and 1."""

    def emit(graph: Graph, equation: Equation, names: list[str]) -> str:
        number = graph.cast(names[0], np.int32)
        axes = graph.whole(*equation.params["axes"])
        return graph.cast(graph.node(operator, number, axes, keepdims=0), np.bool_)

    return emit


_COMBINED = {"add": "ReduceSum", "min": "ReduceMin", "max": "ReduceMax", "mul": "ReduceProd"}
_PAIRED = {"add": "Add", "min": "Min", "max": "Max", "mul": "Mul"}


def _reduce_several(graph: Graph, equation: Equation, names: list[str]) -> list[str]:
    """Several arrays, each reduced by an operation of its own, from a start of its own."""
    count, inner = len(equation.outputs), equation.params["jaxpr"]
    inner = getattr(inner, "jaxpr", inner)
    axes, found = graph.whole(*equation.params["dimensions"]), []
    for place, eqn in enumerate(inner.eqns):
        own = [inner.invars[place], inner.invars[place + count]]
        alone = len(inner.eqns) == count and list(eqn.invars) == own
        if not alone or eqn.outvars[0] is not inner.outvars[place]:
            raise refuse(equation, "arrays that depend on one another")
        if eqn.primitive.name not in _COMBINED:
            raise refuse(equation, eqn.primitive.name)
        reduced = graph.node(_COMBINED[eqn.primitive.name], names[place], axes, keepdims=0)
        found.append(graph.node(_PAIRED[eqn.primitive.name], reduced, names[place + count]))
    return found


def _split(graph: Graph, equation: Equation, names: list[str]) -> list[str]:
    sizes, axis = equation.params["sizes"], equation.params["axis"]
    stops = np.cumsum(sizes)
    return [
        graph.node(
            "Slice", names[0], graph.whole(stop - size), graph.whole(stop), graph.whole(axis)
        )
        for size, stop in zip(sizes, stops, strict=True)
    ]


def _tile(graph: Graph, equation: Equation, names: list[str]) -> str:
    repeats = [int(n) for n in equation.params["reps"]]
    extra = len(equation.outputs[0].shape) - len(equation.inputs[0].shape)
    if extra or len(repeats) != len(equation.outputs[0].shape):
        raise refuse(equation, "another number of axes")
    return graph.node("Tile", names[0], graph.whole(*repeats))


def _argument(operator: str) -> Emit:
    def emit(graph: Graph, equation: Equation, names: list[str]) -> str:
        (axis,) = equation.params["axes"]
        found = graph.node(operator, names[0], axis=axis, keepdims=0)
        return graph.cast(found, equation.params["index_dtype"])

    return emit


def _cumsum(graph: Graph, equation: Equation, names: list[str]) -> str:
    axis = graph.constant(np.asarray(equation.params["axis"], np.int64))
    return graph.node("CumSum", names[0], axis, reverse=int(equation.params["reverse"]))


def _top_k(graph: Graph, equation: Equation, names: list[str]) -> list[str]:
    rank = len(equation.inputs[0].shape)
    if equation.params.get("axis", rank - 1) not in (-1, rank - 1):
        raise refuse(equation, "another axis than the last")
    k = graph.whole(equation.params["k"])
    values, places = graph.node("TopK", names[0], k, outputs=2, axis=-1, largest=1, sorted=1)
    return [values, graph.cast(places, equation.outputs[1].dtype)]


def _sort(graph: Graph, equation: Equation, names: list[str]) -> list[str]:
    """Ascending, by the first operand; the others follow it."""
    axis = equation.params["dimension"]
    if equation.params["num_keys"] != 1:
        raise refuse(equation, "several keys")
    count = graph.whole(equation.inputs[0].shape[axis])
    first, places = graph.node("TopK", names[0], count, outputs=2, axis=axis, largest=0, sorted=1)
    others = [graph.node("GatherElements", name, places, axis=axis) for name in names[1:]]
    return [first, *others]


def _gather(graph: Graph, equation: Equation, names: list[str]) -> str:
    """Whole slices along one axis, or single values along one axis of each batch."""
    numbers, operand = equation.params["dimension_numbers"], equation.inputs[0]
    if len(numbers.start_index_map) != 1 or numbers.collapsed_slice_dims != numbers.start_index_map:
        raise refuse(equation, "more than one axis")
    (axis,) = numbers.start_index_map
    batch, rank = numbers.operand_batching_dims, len(equation.outputs[0].shape)
    whole = [s for a, s in enumerate(operand.shape) if a != axis and a not in batch]
    taken = equation.params["slice_sizes"]
    if whole != [s for a, s in enumerate(taken) if a != axis and a not in batch]:
        raise refuse(equation, "parts of slices")
    places = [place for place in range(rank) if place not in numbers.offset_dims]
    indices = graph.node("Squeeze", names[1], graph.whole(len(equation.inputs[1].shape) - 1))
    indices = graph.cast(indices, np.int64)
    last = graph.constant(np.asarray(operand.shape[axis] - 1, np.int64))
    zero = graph.constant(np.asarray(0, np.int64))
    inside = graph.node("Min", graph.node("Max", indices, zero), last)
    sides = [s if place in places else 1 for place, s in enumerate(equation.outputs[0].shape)]
    if batch:
        if rank != len(operand.shape) or places != sorted((*batch, axis)):
            raise refuse(equation, "axes in another order")
        shape = graph.shape(equation.outputs[0].shape)
        spread = graph.node("Expand", graph.node("Reshape", inside, graph.shape(sides)), shape)
        found = graph.node("GatherElements", names[0], spread, axis=axis)
    else:
        if places != list(range(axis, axis + len(places))):
            raise refuse(equation, "axes in another order")
        found = graph.node("Gather", names[0], inside, axis=axis)
    if equation.params["mode"] != GatherScatterMode.FILL_OR_DROP:
        return found
    sound = graph.node("Reshape", graph.node("Equal", inside, indices), graph.shape(sides))
    return graph.node("Where", sound, found, graph.constant(_filling(equation)))


def _filling(equation: Equation) -> np.ndarray:
    """The value in place of what lies beyond an array."""
    given, kind = equation.params["fill_value"], kind_of(equation.outputs[0])
    if given is None:
        given = np.nan if kind.kind == "f" else np.iinfo(kind).min if kind.kind == "i" else 0
    return np.asarray(given, kind)


ARRAYS: dict[str, Emit] = {
    "argmax": _argument("ArgMax"),
    "argmin": _argument("ArgMin"),
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "cumsum": _cumsum,
    "dim_as_value": _dim_as_value,
    "expand_dims": _reshape,
    "gather": _gather,
    "iota": _iota,
    "pad": _pad,
    "reduce": _reduce_several,
    "reduce_and": _reduce_logical("ReduceMin"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_or": _reduce_logical("ReduceMax"),
    "reduce_prod": _reduce("ReduceProd"),
    "reduce_sum": _reduce("ReduceSum"),
    "reshape": _reshape,
    "rev": _rev,
    "slice": _slice,
    "sort": _sort,
    "split": _split,
    "squeeze": _reshape,
    "stack": _stack,
    "tile": _tile,
    "top_k": _top_k,
    "transpose": _transpose,
    "unstack": _unstack,
}
