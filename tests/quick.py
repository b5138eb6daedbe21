"""Programs that compile in seconds, for tests that run them a few times."""

from functools import partial

import jax
import numpy as np

# XLA's optimiser takes longer than the small networks of the tests take to run: half a minute for
# a start that draws each kernel by itself, two seconds without.
compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
# For steps taken by the hundred: a third of the time each, for six more seconds of compiling.
optimised = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})


def start(method, shape, *, seed=1):
    """The state of a method that learns by steps, before the first."""
    return compiled(lambda key: method.learn.init(key, shape))(jax.random.key(seed))


def blank(method, shape):
    """As `start`, with zero for every number: for tests that bring weights of their own."""
    shapes = jax.eval_shape(lambda key: method.learn.init(key, shape), jax.random.key(0))
    return jax.tree.map(lambda x: jax.numpy.zeros(x.shape, x.dtype), shapes)


def drawn(method, shape, *, seed=0):
    """As `start`, with numbers that NumPy draws: compiles nothing."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda key: method.learn.init(key, shape), jax.random.key(0))
    return jax.tree.map(lambda x: (0.3 * rng.normal(size=x.shape)).astype(x.dtype), shapes)


def drawn_params(module, x, *, scale=0.3, seed=0):
    """Parameters of a Linen module as NumPy draws them, each around what it starts from.

    Scales start from 1 and all others from 0 here.
    """
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)

    def draw(path, leaf):
        start = 1.0 if path[-1].key == "scale" else 0.0
        fan = np.prod(leaf.shape[:-1]) if path[-1].key == "kernel" else 1.0
        spread = 1.0 if path[-1].key == "kernel" else scale
        return (start + spread * rng.standard_normal(leaf.shape) / np.sqrt(fan)).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def named_shapes(init):
    """Names and shapes of what `init` gives of a key, without a draw."""
    found = jax.eval_shape(init, jax.random.key(0))
    leaves = jax.tree_util.tree_leaves_with_path(found)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x.shape for path, x in leaves}
