"""A traced function as a list of equations: calls inlined, constants computed, the idle dropped."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

_UNROLLED = 20_000  # equations that a loop may become
_LARGEST = 1_000_000  # numbers in a constant that is larger than what it was computed from
# Primitives that call a function, and the parameter that holds it.
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


class Term(NamedTuple):
    """A number, array or key that is known only when the program runs."""

    number: int
    shape: tuple[Any, ...]
    dtype: Any


Operand = Term | np.ndarray


class Equation(NamedTuple):
    """One primitive: outputs = primitive(inputs, **params)."""

    primitive: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Term, ...]
    params: dict[str, Any]


class Equations(NamedTuple):
    """A function as equations in an order in which they can be computed."""

    inputs: tuple[Term, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[Operand, ...]


def trace(function: Callable[..., Any], *shapes: jax.ShapeDtypeStruct) -> Equations:
    """The equations of `function`; its arrays that are not arguments are constants.

    Where a function depends on the platform, it is that of an accelerator: what is fast by nature
    and not what XLA happens to be slow at.
    """
    closed = jax.make_jaxpr(function)(*shapes)
    flat = _Flattening()
    inputs = tuple(flat.term(var.aval) for var in closed.jaxpr.invars)
    outputs = flat.run(closed.jaxpr, closed.consts, inputs)
    return Equations(inputs, _needed(flat.equations, outputs), tuple(outputs))


class _Flattening:
    """The equations found so far."""

    def __init__(self) -> None:
        self.equations: list[Equation] = []
        self._count = 0

    def term(self, aval: Any) -> Term:
        self._count += 1
        return Term(self._count, tuple(aval.shape), aval.dtype)

    def run(self, jaxpr: Any, consts: Sequence[Any], given: Sequence[Operand]) -> list[Operand]:
        """The outputs of a jaxpr, whose equations are added."""
        known: dict[Any, Operand] = dict(zip(jaxpr.invars, given, strict=True))
        known |= dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))

        def read(atom: Any) -> Operand:
            return np.asarray(atom.val) if isinstance(atom, core.Literal) else known[atom]

        for eqn in jaxpr.eqns:
            found = self._equation(eqn, [read(atom) for atom in eqn.invars])
            known.update(zip(eqn.outvars, found, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, eqn: Any, inputs: list[Operand]) -> list[Operand]:
        name, params = eqn.primitive.name, eqn.params
        if name in _CALLS:
            inner = params[_CALLS[name]]
            return self.run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
        if name == "platform_index":
            return [np.asarray(params["platforms"].index(None), np.int32)]
        if name == "cond" and isinstance(inputs[0], np.ndarray):
            place = int(np.clip(int(inputs[0]), 0, len(params["branches"]) - 1))
            branch = params["branches"][place]
            return self.run(branch.jaxpr, branch.consts, inputs[1:])
        if name in ("optimization_barrier", "copy", "stop_gradient"):
            return list(inputs)
        if name == "scan" and params["length"] * len(params["jaxpr"].jaxpr.eqns) <= _UNROLLED:
            return self._unrolled(eqn, inputs)
        if _foldable(eqn, inputs):
            return _computed(eqn, inputs)
        outputs = tuple(self.term(var.aval) for var in eqn.outvars)
        self.equations.append(Equation(name, tuple(inputs), outputs, dict(params)))
        return list(outputs)

    def _unrolled(self, eqn: Any, inputs: list[Operand]) -> list[Operand]:
        """The outputs of a loop whose steps follow one another; what is sliced comes last."""
        body, length = eqn.params["jaxpr"], eqn.params["length"]
        inner, outer = body.jaxpr.invars, eqn.invars
        sliced = sum(len(a.aval.shape) < len(b.aval.shape) for a, b in _pairs(inner, outer))
        stacked = sum(
            len(a.aval.shape) < len(b.aval.shape)
            for a, b in _pairs(body.jaxpr.outvars, eqn.outvars)
        )
        carried = len(eqn.outvars) - stacked
        fixed = len(inner) - carried - sliced
        consts, carry, rest = (
            inputs[:fixed],
            inputs[fixed : fixed + carried],
            inputs[len(inner) - sliced :],
        )
        found: list[list[Operand]] = []
        for step in range(length):
            place = length - 1 - step if eqn.params["reverse"] else step
            rows = [self._row(x, place) for x in rest]
            outputs = self.run(body.jaxpr, body.consts, [*consts, *carry, *rows])
            carry = outputs[:carried]
            found.append(outputs[carried:])
        if eqn.params["reverse"]:
            found.reverse()
        columns = zip(*found, strict=True)
        made = zip(columns, eqn.outvars[carried:], strict=True)
        return [*carry, *(self._stacked(list(column), var.aval) for column, var in made)]

    def _row(self, operand: Operand, place: int) -> Operand:
        """One of the entries along the first axis."""
        if isinstance(operand, np.ndarray):
            return np.asarray(operand[place])
        rank, rest = len(operand.shape), operand.shape[1:]
        bounds = {
            "start_indices": (place,) + (0,) * (rank - 1),
            "limit_indices": (place + 1, *rest),
            "strides": None,
        }
        self._count += 2
        part = Term(self._count - 1, (1, *rest), operand.dtype)
        row = Term(self._count, tuple(rest), operand.dtype)
        self.equations.append(Equation("slice", (operand,), (part,), bounds))
        self.equations.append(Equation("squeeze", (part,), (row,), {"dimensions": (0,)}))
        return row

    def _stacked(self, entries: list[Operand], aval: Any) -> Operand:
        if all(isinstance(entry, np.ndarray) for entry in entries):
            return np.stack(entries)
        whole = self.term(aval)
        self.equations.append(Equation("stack", tuple(entries), (whole,), {"axis": 0}))
        return whole


def _pairs(inner: Sequence[Any], outer: Sequence[Any]) -> zip:
    return zip(inner, outer, strict=True)


def _foldable(eqn: Any, inputs: Sequence[Operand]) -> bool:
    avals = [var.aval for var in eqn.outvars]
    if not all(isinstance(x, np.ndarray) for x in inputs):
        return False
    if any(jnp.issubdtype(aval.dtype, jax.dtypes.extended) for aval in avals):
        return False
    if eqn.primitive.name in ("dim_as_value", "scan", "while", "cond"):
        return False
    if not all(isinstance(side, int) for aval in avals for side in aval.shape):
        return False
    given = sum(np.size(x) for x in inputs)
    return sum(int(np.prod(aval.shape)) for aval in avals) <= max(_LARGEST, 2 * given)


def _computed(eqn: Any, inputs: Sequence[Operand]) -> list[Operand]:
    found = eqn.primitive.bind(*map(jnp.asarray, inputs), **eqn.params)
    return [np.asarray(x) for x in (found if eqn.primitive.multiple_results else [found])]


def _needed(equations: Sequence[Equation], outputs: Sequence[Operand]) -> tuple[Equation, ...]:
    """The equations on which the outputs depend, in order."""
    wanted = {term.number for term in outputs if isinstance(term, Term)}
    kept = []
    for equation in reversed(equations):
        if any(term.number in wanted for term in equation.outputs):
            kept.append(equation)
            wanted |= {term.number for term in equation.inputs if isinstance(term, Term)}
    return tuple(reversed(kept))
