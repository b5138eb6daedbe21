"""Each primitive as an ONNX operator, run by ONNX Runtime and compared with JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ad_core.errors import UserError
from ad_core.exporting.equations import trace
from ad_core.exporting.onnx_operators import OPERATORS
from tests.onnx_function import model_of

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 6, 5, 3)).astype(np.float32)
POSITIVE = np.abs(X) + np.float32(0.1)
Y = RNG.standard_normal((2, 6, 5, 3)).astype(np.float32)
PLACES = RNG.integers(0, 6, (2, 4)).astype(np.int32)
KERNEL = RNG.standard_normal((3, 3, 3, 4)).astype(np.float32)
ROW = jax.ShapeDtypeStruct((3,), np.float32)
NHWC = ("NHWC", "HWIO", "NHWC")


def convolve(**options):
    return lambda x: lax.conv_general_dilated(x, KERNEL, dimension_numbers=NHWC, **options)


def window(start, combine, padding):
    return lambda x: lax.reduce_window(x, start, combine, (1, 3, 2, 1), (1, 2, 1, 1), padding)


def running(x):
    def step(carry, part):
        return carry + part[0], carry * part[1]

    return lax.scan(step, x[0], (x, 2 * x), reverse=True)


def together(x):
    zero = jnp.float32(0)
    start = (zero, jnp.float32(-jnp.inf))
    return lax.reduce(
        (x, 2 * x), start, lambda a, b: (a[0] + b[0], jnp.maximum(a[1], b[1])), (1, 3)
    )


FUNCTIONS = {  # what is computed, and of which arrays
    "elementwise": (lambda x: jnp.abs(-x) * jnp.sign(x) + jnp.floor(x) - jnp.ceil(x), X),
    "transcendental": (lambda x: jnp.exp(x) + jnp.tanh(x) + jnp.sin(x) * jnp.cos(x), X),
    "roots and logarithms": (
        lambda x: jnp.log(x) + lax.rsqrt(x) + jnp.sqrt(x) + jnp.log1p(x), POSITIVE
    ),
    "powers": (lambda x: x**3 + x**-2 + jnp.exp2(x) + jnp.expm1(x) + x**0.5, POSITIVE),
    "activations": (lambda x: jax.nn.sigmoid(x) + lax.erf(x) + jax.nn.gelu(x) + jax.nn.silu(x), X),
    "rounding": (lambda x: jnp.round(4 * x) + lax.rem(x, jnp.full_like(x, 0.7)), X),
    "comparisons": (lambda x, y: jnp.where((x < y) | ~(x >= 0) & (y != 1), x, y), X, Y),
    "limits": (lambda x, y: jnp.clip(x, -0.5, 0.5) + jnp.maximum(x, y) - jnp.minimum(x, y), X, Y),
    "finite": (lambda x: jnp.isfinite(jnp.log(x)), X),
    "xor": (lambda x, y: (x > 0) ^ (y > 0), X, Y),
    "shapes": (lambda x: jnp.pad(x.transpose(3, 0, 2, 1)[:, :, 1:4:2, ::-1].reshape(6, -1), 1), X),
    "joined": (lambda x, y: jnp.concatenate([x, y], axis=2), X, Y),
    "stacked": (lambda x, y: jnp.stack([x, y], axis=2), X, Y),
    "split and tiled": (lambda x: jnp.tile(jnp.split(x, [2], axis=1)[1], (1, 1, 2, 1)), X),
    "sums": (lambda x: x.sum((1, 2)) + x[:, :2, 0].prod(1), X),
    "extremes": (lambda x: x.max((1, 2)) * x.min((1, 2)), X),
    "logical reductions": (lambda x: jnp.any(x > 1.5, 3) & ~jnp.all(x > 0, 3), X),
    "reduced together": (together, X),
    "arguments": (lambda x: (jnp.argmax(x, 3), jnp.argmin(x, 1)), X),
    "cumulative": (lambda x: jnp.cumsum(x, 1) + lax.cumsum(x, 2, reverse=True), X),
    "highest": (lambda x: lax.top_k(x.reshape(2, -1), 7), X),
    "sorted": (lambda x, y: lax.sort((x, y), dimension=1, num_keys=1), X, Y),
    "product of matrices": (lambda x, y: jnp.einsum("bhwi,io->bhwo", x, y[0, :3, 0]), X, Y),
    "batched product": (lambda x, y: jnp.einsum("bhwi,bvwi->bwhv", x, y), X, Y),
    "turned product": (lambda x, y: jnp.einsum("bhwi,gwhb->ig", x, y.transpose(3, 2, 1, 0)), X, Y),
    "inner product": (lambda x, y: jnp.dot(x[0, 0, 0], y[0, 0, 0]), X, Y),
    "convolution": (convolve(window_strides=(2, 1), padding="SAME"), X),
    "dilated kernel": (convolve(window_strides=(1, 1), padding="VALID", rhs_dilation=(2, 2)), X),
    "dilated image": (
        convolve(window_strides=(1, 1), padding=[(2, 1), (1, 2)], lhs_dilation=(2, 3)), X
    ),
    "sum of windows": (window(0.0, lax.add, "SAME"), X),
    "largest of windows": (window(-np.inf, lax.max, "SAME"), X),
    "taken": (lambda x, i: jnp.take(x, i, axis=1), X, PLACES),
    "taken beyond": (lambda x, i: jnp.take(x, i + 3, axis=1), X, PLACES),
    "taken along": (lambda x, i: jnp.take_along_axis(x, i[:, :, None, None], axis=1), X, PLACES),
    "a loop": (running, X),
    "where platforms differ": (
        lambda x: lax.platform_dependent(x, cpu=lambda y: y + 1, default=lambda y: y + 2) - 1, X
    ),
}  # fmt: skip


def run(function, *arrays):
    """What ONNX Runtime makes of the function."""
    session = runtime.InferenceSession(
        model_of(function, *arrays), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {f"x{number}": x for number, x in enumerate(arrays)})


@pytest.mark.parametrize("what", FUNCTIONS)
def test_an_operator_computes_what_its_primitive_does(what):
    function, *arrays = FUNCTIONS[what]
    expected = jax.tree.leaves(jax.jit(function)(*arrays))
    if what == "where platforms differ":  # an exported program runs on none of those named
        expected = [arrays[0] + np.float32(1)]
    found = run(function, *arrays)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


def test_float64_stays_float64():
    x = np.arange(1, 9.0)
    with jax.enable_x64(True):
        (found,) = run(lambda x: jnp.dot(x, jnp.exp(-x)) / 3, x)
    assert found == pytest.approx(np.dot(x, np.exp(-x)) / 3, rel=1e-15, abs=0)


def test_what_constants_make_is_computed_before():
    (equation,) = trace(lambda x: x + jnp.sort(jnp.arange(3.0) * 2)[0], ROW).equations
    assert equation.primitive == "add"
    np.testing.assert_array_equal(equation.inputs[1], 0.0)


def test_what_no_output_needs_is_dropped():
    def function(x):
        jax.random.normal(jax.random.key(0), x.shape) + lax.cummax(x)
        return x * 2

    assert [one.primitive for one in trace(function, ROW).equations] == ["mul"]


def test_a_primitive_without_operator_is_refused_by_name():
    assert "cummax" not in OPERATORS
    with pytest.raises(UserError, match="computes cummax, which has no ONNX operator"):
        run(lambda x: lax.cummax(x), X)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO), "halves rounded away"),
        (lambda x: lax.pad(x, jnp.float32(0), [(0, 0, 1)] * 4), "gaps between the values"),
        (lambda x: x.astype(jnp.int32) & 3, "the bits of whole numbers"),
        (lambda x: x[:, :2, :2, :2][[0, 1], jnp.argmax(x[:, 0, 0], 1)], "more than one axis"),
    ],
)
def test_a_use_without_operator_is_refused(function, why):
    with pytest.raises(UserError, match=why):
        run(function, X)
