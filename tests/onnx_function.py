"""A function of JAX as an ONNX model, for tests that run it elsewhere."""

import jax

from ad_core.exporting.equations import trace
from ad_core.exporting.onnx_graph import Graph
from ad_core.exporting.onnx_operators import add_equations


def model_of(function, *arrays):
    """The function as an ONNX model of inputs x0, x1, … and outputs y0, y1, …."""
    traced = trace(function, *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays))
    graph = Graph()
    names = [f"x{number}" for number in range(len(arrays))]
    outputs = add_equations(graph, traced, names)
    described = {}
    for number, (name, term) in enumerate(zip(outputs, traced.outputs, strict=True)):
        graph.rename(name, f"y{number}")
        described[f"y{number}"] = (term.dtype, term.shape)
    inputs = {name: (x.dtype, x.shape) for name, x in zip(names, arrays, strict=True)}
    return graph.model(inputs, described).SerializeToString()
