"""Primitives of JAX as ONNX operators: a function each, which adds its nodes to a graph.

What a function cannot say in ONNX it refuses; nothing is approximated by something else.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode, RoundingMethod

from ad_core.errors import UserError
from ad_core.exporting.equations import Equation, Equations, Operand
from ad_core.exporting.onnx_graph import Graph

_END = np.iinfo(np.int64).max  # of a slice: as far as it goes
Emit = Callable[[Graph, Equation, list[str]], Any]


def add_equations(graph: Graph, given: Equations, inputs: Sequence[str]) -> list[str]:
    """Adds a function to a graph, and returns the tensors of its outputs.

    Args:
        inputs: the tensors of its inputs.

    Raises:
        UserError: a primitive, or a use of one, that has no operator here; by its name.
    """
    unknown = sorted({x.primitive for x in given.equations} - set(OPERATORS))
    if unknown:
        raise UserError(
            f"The detector computes {', '.join(unknown)}, which has no ONNX operator here, so "
            "that it cannot be exported to onnx or openvino; use --format=stablehlo."
        )
    graph.forget_terms()
    for term, name in zip(given.inputs, inputs, strict=True):
        graph.bind(term, name)
    for equation in given.equations:
        names = [graph.name(operand) for operand in equation.inputs]
        made = OPERATORS[equation.primitive](graph, equation, names)
        for term, name in zip(
            equation.outputs, [made] if isinstance(made, str) else made, strict=True
        ):
            graph.bind(term, name)
    return [graph.name(operand) for operand in given.outputs]


def _refuse(equation: Equation, why: str) -> UserError:
    return UserError(
        f"The detector computes {equation.primitive} with {why}, which has no ONNX operator here; "
        "use --format=stablehlo."
    )


def _kind(operand: Operand) -> np.dtype:
    return np.dtype(operand.dtype)


def _plain(operator: str) -> Emit:
    """An operator that takes what the primitive takes."""
    return lambda graph, equation, names: graph.node(operator, *names)


def _negated(operator: str) -> Emit:
    return lambda graph, equation, names: graph.node("Not", graph.node(operator, *names))


def _of_constant(operator: str, value: float, *, first: bool = False) -> Emit:
    """An operator of the input and a number, in the input's type."""

    def emit(graph: Graph, equation: Equation, names: list[str]) -> str:
        number = graph.constant(np.asarray(value, _kind(equation.inputs[0])))
        pair = (number, names[0]) if first else (names[0], number)
        return graph.node(operator, *pair)

    return emit


def _rsqrt(graph: Graph, equation: Equation, names: list[str]) -> str:
    return graph.node("Reciprocal", graph.node("Sqrt", names[0]))


def _log1p(graph: Graph, equation: Equation, names: list[str]) -> str:
    one = graph.constant(np.asarray(1, _kind(equation.inputs[0])))
    return graph.node("Log", graph.node("Add", names[0], one))


def _expm1(graph: Graph, equation: Equation, names: list[str]) -> str:
    one = graph.constant(np.asarray(1, _kind(equation.inputs[0])))
    return graph.node("Sub", graph.node("Exp", names[0]), one)


def _integer_pow(graph: Graph, equation: Equation, names: list[str]) -> str:
    power = equation.params["y"]
    if power == 0:
        raise _refuse(equation, "the power 0")
    product = names[0]
    for _ in range(abs(power) - 1):
        product = graph.node("Mul", product, names[0])
    return graph.node("Reciprocal", product) if power < 0 else product


def _square(graph: Graph, equation: Equation, names: list[str]) -> str:
    return graph.node("Mul", names[0], names[0])


def _pow(graph: Graph, equation: Equation, names: list[str]) -> str:
    return graph.node("Pow", names[0], graph.cast(names[1], _kind(equation.inputs[0])))


def _round(graph: Graph, equation: Equation, names: list[str]) -> str:
    if equation.params["rounding_method"] != RoundingMethod.TO_NEAREST_EVEN:
        raise _refuse(equation, "halves rounded away from zero")
    return graph.node("Round", names[0])


def _rem(graph: Graph, equation: Equation, names: list[str]) -> str:
    return graph.node("Mod", *names, fmod=1)


def _clamp(graph: Graph, equation: Equation, names: list[str]) -> str:
    low, x, high = names
    return graph.node("Min", graph.node("Max", x, low), high)


def _is_finite(graph: Graph, equation: Equation, names: list[str]) -> str:
    wrong = graph.node("Or", graph.node("IsInf", names[0]), graph.node("IsNaN", names[0]))
    return graph.node("Not", wrong)


def _logical(operator: str) -> Emit:
    def emit(graph: Graph, equation: Equation, names: list[str]) -> str:
        if _kind(equation.inputs[0]) != np.bool_:
            raise _refuse(equation, "the bits of whole numbers")
        return graph.node(operator, *names)

    return emit


def _select(graph: Graph, equation: Equation, names: list[str]) -> str:
    if len(names) != 3 or _kind(equation.inputs[0]) != np.bool_:
        raise _refuse(equation, "more than two cases")
    which, false, true = names
    return graph.node("Where", which, true, false)


def _convert(graph: Graph, equation: Equation, names: list[str]) -> str:
    return graph.cast(names[0], equation.params["new_dtype"])


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
        raise _refuse(equation, "a part of an axis of unknown size")
    whole = [stop if isinstance(stop, int) else _END for stop in stops]
    return _sliced(graph, names[0], starts, whole, steps)


def _sliced(
    graph: Graph, name: str, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]
) -> str:
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
        raise _refuse(equation, "gaps between the values")
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
        raise _refuse(equation, f"{len(shape)} axes of unknown size")
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
            raise _refuse(equation, "arrays that depend on one another")
        if eqn.primitive.name not in _COMBINED:
            raise _refuse(equation, eqn.primitive.name)
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
        raise _refuse(equation, "another number of axes")
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
        raise _refuse(equation, "another axis than the last")
    k = graph.whole(equation.params["k"])
    values, places = graph.node("TopK", names[0], k, outputs=2, axis=-1, largest=1, sorted=1)
    return [values, graph.cast(places, equation.outputs[1].dtype)]


def _sort(graph: Graph, equation: Equation, names: list[str]) -> list[str]:
    """Ascending, by the first operand; the others follow it."""
    axis = equation.params["dimension"]
    if equation.params["num_keys"] != 1:
        raise _refuse(equation, "several keys")
    count = graph.whole(equation.inputs[0].shape[axis])
    first, places = graph.node("TopK", names[0], count, outputs=2, axis=axis, largest=0, sorted=1)
    others = [graph.node("GatherElements", name, places, axis=axis) for name in names[1:]]
    return [first, *others]


def _dot(graph: Graph, equation: Equation, names: list[str]) -> str:
    """Einstein's sum where a side is symbolic, else a product of matrices."""
    left, right = equation.inputs
    (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
    wanted = equation.outputs[0].dtype
    if _kind(left) != _kind(right):
        names = [graph.cast(name, wanted) for name in names]
    sides = (*left.shape, *right.shape)
    vectors = len(left.shape) == len(right.shape) == 1 and len(left_sum) == 1
    plain = not left_batch and left_sum == (len(left.shape) - 1,) and right_sum == (0,)
    if vectors:  # OpenVINO falls over the product of a row and a constant column
        found = graph.node("ReduceSum", graph.node("Mul", *names), graph.whole(0), keepdims=0)
    elif plain and len(right.shape) == 2 and len(left.shape) >= 2:
        found = graph.node("MatMul", *names)
    elif not all(isinstance(side, int) for side in sides) or not all(sides):
        found = graph.node("Einsum", *names, equation=_letters(equation))
    else:
        found = _product(graph, equation, names)
    return found if _kind(left) == _kind(right) == wanted else graph.cast(found, wanted)


def _letters(equation: Equation) -> str:
    """The sum in Einstein's notation."""
    left, right = equation.inputs
    (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
    a = [chr(97 + place) for place in range(len(left.shape))]
    b = [chr(97 + len(a) + place) for place in range(len(right.shape))]
    for i, j in zip((*left_sum, *left_batch), (*right_sum, *right_batch), strict=True):
        b[j] = a[i]
    batch = [a[i] for i in left_batch]
    kept = [x for i, x in enumerate(a) if i not in (*left_sum, *left_batch)]
    kept += [x for j, x in enumerate(b) if j not in (*right_sum, *right_batch)]
    return f"{''.join(a)},{''.join(b)}->{''.join(batch + kept)}"


def _product(graph: Graph, equation: Equation, names: list[str]) -> str:
    """Both operands as [batch, rows, columns], and the shape that is wanted of their product."""
    left, right = equation.inputs
    (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
    rows = [i for i in range(len(left.shape)) if i not in (*left_sum, *left_batch)]
    columns = [j for j in range(len(right.shape)) if j not in (*right_sum, *right_batch)]
    a = _as_matrix(graph, names[0], left.shape, left_batch, rows, left_sum)
    b = _as_matrix(graph, names[1], right.shape, right_batch, right_sum, columns)
    shape = graph.shape(equation.outputs[0].shape)
    return graph.node("Reshape", graph.node("MatMul", a, b), shape)


def _as_matrix(graph: Graph, name: str, shape: Sequence[int], *axes: Sequence[int]) -> str:
    """The tensor with its axes in three groups, each as one axis."""
    order = [axis for group in axes for axis in group]
    if order != sorted(order):
        name = graph.node("Transpose", name, perm=order)
    sides = [math.prod(shape[axis] for axis in group) for group in axes]
    turned = [shape[axis] for axis in order]
    return name if turned == sides else graph.node("Reshape", name, graph.whole(*sides))


def _convolution(graph: Graph, equation: Equation, names: list[str]) -> str:
    params = equation.params
    if params["batch_group_count"] != 1:
        raise _refuse(equation, "groups of images")
    numbers = params["dimension_numbers"]
    image = _turned(graph, names[0], numbers.lhs_spec)
    if any(side != 1 for side in params["lhs_dilation"]):
        sides = [equation.inputs[0].shape[place] for place in numbers.lhs_spec]
        image = _spread(graph, image, sides, params["lhs_dilation"], _kind(equation.inputs[0]))
    kernel = equation.inputs[1]
    if isinstance(kernel, np.ndarray):
        weights = graph.constant(kernel.transpose(numbers.rhs_spec))
    else:
        weights = _turned(graph, names[1], numbers.rhs_spec)
    low, high = zip(*params["padding"], strict=True)
    found = graph.node(
        "Conv",
        image,
        weights,
        strides=list(params["window_strides"]),
        dilations=list(params["rhs_dilation"]),
        pads=[*low, *high],
        group=params["feature_group_count"],
    )
    return _turned(graph, found, np.argsort(numbers.out_spec))


def _spread(
    graph: Graph, name: str, sides: Sequence[int], steps: Sequence[int], kind: np.dtype
) -> str:
    """An image [n, c, h, w] with zeros between its pixels, of which only the last has none."""
    (n, c, h, w), (down, across) = sides, steps
    apart = graph.node("Reshape", name, graph.whole(n, c, h, 1, w, 1))
    pads = graph.whole(*[0] * 6, 0, 0, 0, down - 1, 0, across - 1)
    filled = graph.node("Pad", apart, pads, graph.constant(np.asarray(0, kind)), mode="constant")
    whole = graph.node("Reshape", filled, graph.whole(n, c, h * down, w * across))
    stops = (n, c, (h - 1) * down + 1, (w - 1) * across + 1)
    return _sliced(graph, whole, (0,) * 4, stops, (1,) * 4)


def _turned(graph: Graph, name: str, order: Any) -> str:
    places = [int(place) for place in order]
    return name if places == sorted(places) else graph.node("Transpose", name, perm=places)


def _window_sum(graph: Graph, equation: Equation, names: list[str]) -> str:
    """The mean over a window, times its area."""
    window, found = (
        equation.params["window_dimensions"],
        _pooled(graph, equation, names, "AveragePool", count_include_pad=1),
    )
    area = graph.constant(np.asarray(math.prod(window), equation.outputs[0].dtype))
    return graph.node("Mul", found, area)


def _window_max(graph: Graph, equation: Equation, names: list[str]) -> str:
    return _pooled(graph, equation, names, "MaxPool")


def _pooled(
    graph: Graph, equation: Equation, names: list[str], operator: str, **options: int
) -> str:
    params = equation.params
    window, rank = params["window_dimensions"], len(params["window_dimensions"])
    dilated = (*(params["base_dilation"] or ()), *(params["window_dilation"] or ()))
    still = rank == 4 and window[0] == window[3] == 1
    if not still or any(side != 1 for side in dilated):
        raise _refuse(equation, f"a window of {window}")
    pads = params["padding"][1:3]
    found = graph.node(
        operator,
        graph.node("Transpose", names[0], perm=[0, 3, 1, 2]),
        kernel_shape=list(window[1:3]),
        strides=list(params["window_strides"][1:3]),
        pads=[pad[0] for pad in pads] + [pad[1] for pad in pads],
        **options,
    )
    return graph.node("Transpose", found, perm=[0, 2, 3, 1])


def _gather(graph: Graph, equation: Equation, names: list[str]) -> str:
    """Whole slices along one axis, or single values along one axis of each batch."""
    numbers, operand = equation.params["dimension_numbers"], equation.inputs[0]
    if len(numbers.start_index_map) != 1 or numbers.collapsed_slice_dims != numbers.start_index_map:
        raise _refuse(equation, "more than one axis")
    (axis,) = numbers.start_index_map
    batch, rank = numbers.operand_batching_dims, len(equation.outputs[0].shape)
    whole = [s for a, s in enumerate(operand.shape) if a != axis and a not in batch]
    taken = equation.params["slice_sizes"]
    if whole != [s for a, s in enumerate(taken) if a != axis and a not in batch]:
        raise _refuse(equation, "parts of slices")
    places = [place for place in range(rank) if place not in numbers.offset_dims]
    indices = graph.node("Squeeze", names[1], graph.whole(len(equation.inputs[1].shape) - 1))
    indices = graph.cast(indices, np.int64)
    last = graph.constant(np.asarray(operand.shape[axis] - 1, np.int64))
    zero = graph.constant(np.asarray(0, np.int64))
    inside = graph.node("Min", graph.node("Max", indices, zero), last)
    sides = [s if place in places else 1 for place, s in enumerate(equation.outputs[0].shape)]
    if batch:
        if rank != len(operand.shape) or places != sorted((*batch, axis)):
            raise _refuse(equation, "axes in another order")
        shape = graph.shape(equation.outputs[0].shape)
        spread = graph.node("Expand", graph.node("Reshape", inside, graph.shape(sides)), shape)
        found = graph.node("GatherElements", names[0], spread, axis=axis)
    else:
        if places != list(range(axis, axis + len(places))):
            raise _refuse(equation, "axes in another order")
        found = graph.node("Gather", names[0], inside, axis=axis)
    if equation.params["mode"] != GatherScatterMode.FILL_OR_DROP:
        return found
    sound = graph.node("Reshape", graph.node("Equal", inside, indices), graph.shape(sides))
    return graph.node("Where", sound, found, graph.constant(_filling(equation)))


def _filling(equation: Equation) -> np.ndarray:
    """The value in place of what lies beyond an array."""
    given, kind = equation.params["fill_value"], _kind(equation.outputs[0])
    if given is None:
        given = np.nan if kind.kind == "f" else np.iinfo(kind).min if kind.kind == "i" else 0
    return np.asarray(given, kind)


OPERATORS: dict[str, Emit] = {
    "abs": _plain("Abs"),
    "add": _plain("Add"),
    "add_any": _plain("Add"),
    "and": _logical("And"),
    "argmax": _argument("ArgMax"),
    "argmin": _argument("ArgMin"),
    "broadcast_in_dim": _broadcast,
    "ceil": _plain("Ceil"),
    "clamp": _clamp,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolution,
    "convert_element_type": _convert,
    "cos": _plain("Cos"),
    "cumsum": _cumsum,
    "dim_as_value": _dim_as_value,
    "div": _plain("Div"),
    "dot_general": _dot,
    "eq": _plain("Equal"),
    "erf": _plain("Erf"),
    "exp": _plain("Exp"),
    "exp2": _of_constant("Pow", 2.0, first=True),
    "expand_dims": _reshape,
    "expm1": _expm1,
    "floor": _plain("Floor"),
    "gather": _gather,
    "ge": _plain("GreaterOrEqual"),
    "gt": _plain("Greater"),
    "integer_pow": _integer_pow,
    "iota": _iota,
    "is_finite": _is_finite,
    "le": _plain("LessOrEqual"),
    "log": _plain("Log"),
    "log1p": _log1p,
    "logistic": _plain("Sigmoid"),
    "lt": _plain("Less"),
    "max": _plain("Max"),
    "min": _plain("Min"),
    "mul": _plain("Mul"),
    "ne": _negated("Equal"),
    "neg": _plain("Neg"),
    "not": _logical("Not"),
    "or": _logical("Or"),
    "pad": _pad,
    "pow": _pow,
    "reduce": _reduce_several,
    "reduce_and": _reduce_logical("ReduceMin"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_or": _reduce_logical("ReduceMax"),
    "reduce_prod": _reduce("ReduceProd"),
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_window_max": _window_max,
    "reduce_window_sum": _window_sum,
    "rem": _rem,
    "reshape": _reshape,
    "rev": _rev,
    "round": _round,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "sign": _plain("Sign"),
    "sin": _plain("Sin"),
    "slice": _slice,
    "sort": _sort,
    "split": _split,
    "sqrt": _plain("Sqrt"),
    "square": _square,
    "squeeze": _reshape,
    "stack": _stack,
    "sub": _plain("Sub"),
    "tile": _tile,
    "tanh": _plain("Tanh"),
    "top_k": _top_k,
    "transpose": _transpose,
    "unstack": _unstack,
    "xor": _logical("Xor"),
}
