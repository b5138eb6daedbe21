"""Primitives of JAX as ONNX operators: a function each, which adds its nodes to a graph.

What a function cannot say in ONNX it refuses; nothing is approximated by something else.
"""

from collections.abc import Sequence

from ad_core.errors import UserError
from ad_core.exporting.equations import Equations
from ad_core.exporting.onnx_arrays import ARRAYS
from ad_core.exporting.onnx_elementwise import ELEMENTWISE
from ad_core.exporting.onnx_graph import Emit, Graph
from ad_core.exporting.onnx_products import PRODUCTS

OPERATORS: dict[str, Emit] = {**ELEMENTWISE, **ARRAYS, **PRODUCTS}


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
