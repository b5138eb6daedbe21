"""An ONNX graph that grows node by node, and the tensors in it by name."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ad_core.errors import UserError
from ad_core.exporting.equations import Equation, Operand, Term
from ad_core.exporting.libraries import require

OPSET = 18
_IR_VERSION = 10  # of the file; older runtimes refuse newer ones


class Graph:
    """Nodes and constants of a model.

    Shapes may hold symbolic sides: `sides` has the name of a tensor [1] (int64) for each.
    """

    def __init__(self) -> None:
        self._onnx = require("onnx")
        self._nodes: list[Any] = []
        self._constants: dict[str, np.ndarray] = {}
        self._small: dict[tuple[Any, ...], str] = {}
        self._names: dict[int, str] = {}
        self.sides: dict[str, str] = {}

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """The outputs of a new node by name: one name, or a list where there are several."""
        names = [f"n{len(self._nodes)}_{number}" for number in range(outputs)]
        made = self._onnx.helper.make_node(operator, list(inputs), names, **attributes)
        self._nodes.append(made)
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Name of a constant; of equal small ones there is one."""
        array = np.ascontiguousarray(np.asarray(value, dtype)).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 64 else None
        if key in self._small:
            return self._small[key]
        name = f"c{len(self._constants)}"
        self._constants[name] = array
        if key is not None:
            self._small[key] = name
        return name

    def whole(self, *numbers: Any) -> str:
        """A constant vector of whole numbers, in int64."""
        return self.constant(np.array(numbers, np.int64))

    def shape(self, sides: Sequence[Any]) -> str:
        """The tensor that holds a shape, whose sides may be symbolic."""
        if all(isinstance(side, int) for side in sides):
            return self.whole(*sides)
        parts = [self.whole(x) if isinstance(x, int) else self.side(x) for x in sides]
        return self.node("Concat", *parts, axis=0)

    def side(self, side: Any) -> str:
        """The tensor [1] of a symbolic side."""
        if str(side) not in self.sides:
            raise UserError(f"Side {side} of an array cannot be exported: it is no input's own.")
        return self.sides[str(side)]

    def cast(self, name: str, dtype: Any) -> str:
        """The tensor in another type."""
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.node("Cast", name, to=kind)

    def name(self, operand: Operand) -> str:
        """The tensor of an operand."""
        return self._names[operand.number] if isinstance(operand, Term) else self.constant(operand)

    def bind(self, term: Term, name: str) -> None:
        """Makes a tensor stand for a term."""
        self._names[term.number] = name

    def forget_terms(self) -> None:
        """Forgets which tensor stands for which term, before another function is added."""
        self._names.clear()

    def model(self, inputs: dict[str, tuple[Any, Any]], outputs: dict[str, tuple[Any, Any]]) -> Any:
        """The model; of each input and output the type and the shape.

        Args:
            outputs: of tensors of that name.
        """
        helper, numpy_helper = self._onnx.helper, self._onnx.numpy_helper

        def described(of: dict[str, tuple[Any, Any]]) -> list[Any]:
            return [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), list(shape)
                )
                for name, (kind, shape) in of.items()
            ]

        used = {name for node in self._nodes for name in node.input}
        kept = {name: x for name, x in self._constants.items() if name in used}
        constants = [numpy_helper.from_array(x, name) for name, x in kept.items()]
        graph = helper.make_graph(
            self._nodes, "detector", described(inputs), described(outputs), constants
        )
        imports = [helper.make_opsetid("", OPSET)]
        return helper.make_model(
            graph, producer_name="zfn-ad", opset_imports=imports, ir_version=_IR_VERSION
        )

    def rename(self, name: str, wanted: str) -> None:
        """Gives a tensor the name of an output."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [name], [wanted]))


# Adds a primitive's nodes, given the names of its inputs; the names of its outputs.
Emit = Callable[[Graph, Equation, list[str]], Any]


def refuse(equation: Equation, why: str) -> UserError:
    """The error that a use of a primitive has no operator here."""
    return UserError(
        f"The detector computes {equation.primitive} with {why}, which has no ONNX operator here; "
        "use --format=stablehlo."
    )


def kind_of(operand: Operand) -> np.dtype:
    """Type of the numbers of an operand."""
    return np.dtype(operand.dtype)
