"""A traced function as a list of equations: calls inlined, constants computed, the idle dropped."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

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
        if _foldable(eqn, inputs):
            return _computed(eqn, inputs)
        outputs = tuple(self.term(var.aval) for var in eqn.outvars)
        self.equations.append(Equation(name, tuple(inputs), outputs, dict(params)))
        return list(outputs)


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
