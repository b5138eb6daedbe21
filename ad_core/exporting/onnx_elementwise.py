"""Primitives of JAX that work value by value, as ONNX operators."""

import numpy as np
from jax.lax import RoundingMethod

from ad_core.exporting.equations import Equation
from ad_core.exporting.onnx_graph import Emit, Graph, kind_of, refuse


def _plain(operator: str) -> Emit:
    """An operator that takes what the primitive takes."""
    return lambda graph, equation, names: graph.node(operator, *names)


def _negated(operator: str) -> Emit:
    return lambda graph, equation, names: graph.node("Not", graph.node(operator, *names))


def _of_constant(operator: str, value: float, *, first: bool = False) -> Emit:
    """An operator of the input and a number, in the input's type."""

    def emit(graph: Graph, equation: Equation, names: list[str]) -> str:
        number = graph.constant(np.asarray(value, kind_of(equation.inputs[0])))
        pair = (number, names[0]) if first else (names[0], number)
        return graph.node(operator, *pair)

    return emit


def _rsqrt(graph: Graph, equation: Equation, names: list[str]) -> str:
    return graph.node("Reciprocal", graph.node("Sqrt", names[0]))


def _log1p(graph: Graph, equation: Equation, names: list[str]) -> str:
    one = graph.constant(np.asarray(1, kind_of(equation.inputs[0])))
    return graph.node("Log", graph.node("Add", names[0], one))


def _expm1(graph: Graph, equation: Equation, names: list[str]) -> str:
    one = graph.constant(np.asarray(1, kind_of(equation.inputs[0])))
    return graph.node("Sub", graph.node("Exp", names[0]), one)


def _integer_pow(graph: Graph, equation: Equation, names: list[str]) -> str:
    power = equation.params["y"]
    if power == 0:
        raise refuse(equation, "the power 0")
    product = names[0]
    for _ in range(abs(power) - 1):
        product = graph.node("Mul", product, names[0])
    return graph.node("Reciprocal", product) if power < 0 else product


def _square(graph: Graph, equation: Equation, names: list[str]) -> str:
    return graph.node("Mul", names[0], names[0])


def _pow(graph: Graph, equation: Equation, names: list[str]) -> str:
    return graph.node("Pow", names[0], graph.cast(names[1], kind_of(equation.inputs[0])))


def _round(graph: Graph, equation: Equation, names: list[str]) -> str:
    if equation.params["rounding_method"] != RoundingMethod.TO_NEAREST_EVEN:
        raise refuse(equation, "halves rounded away from zero")
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
        if kind_of(equation.inputs[0]) != np.bool_:
            raise refuse(equation, "the bits of whole numbers")
        return graph.node(operator, *names)

    return emit


def _select(graph: Graph, equation: Equation, names: list[str]) -> str:
    if len(names) != 3 or kind_of(equation.inputs[0]) != np.bool_:
        raise refuse(equation, "more than two cases")
    which, false, true = names
    return graph.node("Where", which, true, false)


def _convert(graph: Graph, equation: Equation, names: list[str]) -> str:
    return graph.cast(names[0], equation.params["new_dtype"])


ELEMENTWISE: dict[str, Emit] = {
    "abs": _plain("Abs"),
    "add": _plain("Add"),
    "add_any": _plain("Add"),
    "and": _logical("And"),
    "ceil": _plain("Ceil"),
    "clamp": _clamp,
    "convert_element_type": _convert,
    "cos": _plain("Cos"),
    "div": _plain("Div"),
    "eq": _plain("Equal"),
    "erf": _plain("Erf"),
    "exp": _plain("Exp"),
    "exp2": _of_constant("Pow", 2.0, first=True),
    "expm1": _expm1,
    "floor": _plain("Floor"),
    "ge": _plain("GreaterOrEqual"),
    "gt": _plain("Greater"),
    "integer_pow": _integer_pow,
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
    "pow": _pow,
    "rem": _rem,
    "round": _round,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "sign": _plain("Sign"),
    "sin": _plain("Sin"),
    "sqrt": _plain("Sqrt"),
    "square": _square,
    "sub": _plain("Sub"),
    "tanh": _plain("Tanh"),
    "xor": _logical("Xor"),
}
