"""Products, convolutions and windows of JAX as ONNX operators."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ad_core.exporting.equations import Equation
from ad_core.exporting.onnx_arrays import sliced
from ad_core.exporting.onnx_graph import Emit, Graph, kind_of, refuse


def _dot(graph: Graph, equation: Equation, names: list[str]) -> str:
    """Einstein's sum where a side is symbolic, else a product of matrices."""
    left, right = equation.inputs
    (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
    wanted = equation.outputs[0].dtype
    if kind_of(left) != kind_of(right):
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
    return found if kind_of(left) == kind_of(right) == wanted else graph.cast(found, wanted)


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
        raise refuse(equation, "groups of images")
    numbers = params["dimension_numbers"]
    image = _turned(graph, names[0], numbers.lhs_spec)
    if any(side != 1 for side in params["lhs_dilation"]):
        sides = [equation.inputs[0].shape[place] for place in numbers.lhs_spec]
        image = _spread(graph, image, sides, params["lhs_dilation"], kind_of(equation.inputs[0]))
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
    return sliced(graph, whole, (0,) * 4, stops, (1,) * 4)


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
        raise refuse(equation, f"a window of {window}")
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


PRODUCTS: dict[str, Emit] = {
    "conv_general_dilated": _convolution,
    "dot_general": _dot,
    "reduce_window_max": _window_max,
    "reduce_window_sum": _window_sum,
}
