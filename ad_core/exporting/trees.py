"""Trees of scikit-learn in a program, with the decisions and the sums of scikit-learn itself.

A tree compares a float32 value with a float64 threshold. The largest float32 that is not above the
threshold gives the same answers: x <= t if and only if x <= it, for every float32 x.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Float64, Int32

Values = Float64[np.ndarray, "nodes"]


class Grove(NamedTuple):
    """All nodes of several trees, one tree after the other; a leaf leads to itself.

    root: the first node of each tree. depth: questions on the longest way to a leaf.
    """

    root: Int32[np.ndarray, "t"]
    feature: Int32[np.ndarray, "nodes"]
    threshold: Float32[np.ndarray, "nodes"]
    left: Int32[np.ndarray, "nodes"]
    right: Int32[np.ndarray, "nodes"]
    value: Values
    depth: int


def largest_float32_below(thresholds: Float64[np.ndarray, "n"]) -> Float32[np.ndarray, "n"]:
    """The largest float32 that is not above each number."""
    near = np.asarray(thresholds, np.float64).astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf), dtype=np.float32)
    return np.where(near.astype(np.float64) > thresholds, below, near)


def make_grove(trees: Sequence[Any], value_of: Callable[[Any], Values]) -> Grove:
    """The trees (scikit-learn's `tree_`), with the value that `value_of` a tree gives each node."""
    sizes = [tree.node_count for tree in trees]
    roots = np.cumsum([0, *sizes[:-1]])
    columns = [_columns(tree, root) for tree, root in zip(trees, roots, strict=True)]
    feature, threshold, left, right = (
        np.concatenate(parts) for parts in zip(*columns, strict=True)
    )
    return Grove(
        root=roots.astype(np.int32),
        feature=feature.astype(np.int32),
        threshold=largest_float32_below(threshold),
        left=left.astype(np.int32),
        right=right.astype(np.int32),
        value=np.concatenate([np.asarray(value_of(tree), np.float64) for tree in trees]),
        depth=max(int(tree.max_depth) for tree in trees),
    )


def _columns(tree: Any, root: Any) -> tuple[np.ndarray, ...]:
    leaf = tree.children_left < 0
    itself = np.arange(tree.node_count)
    left = np.where(leaf, itself, tree.children_left) + root
    right = np.where(leaf, itself, tree.children_right) + root
    return np.where(leaf, 0, tree.feature), np.where(leaf, 0.0, tree.threshold), left, right


def leaf_values(grove: Grove, row: Float32[Array, "k"]) -> Float64[Array, "t"]:
    """The value of the leaf that a row reaches, in each tree."""
    node = jnp.asarray(grove.root)
    for _ in range(grove.depth):
        low = _at(row, _at(grove.feature, node)) <= _at(grove.threshold, node)
        node = jnp.where(low, _at(grove.left, node), _at(grove.right, node))
    return _at(grove.value, node)


def _at(values: Any, places: Array) -> Array:
    return jnp.asarray(values).at[places].get(mode="promise_in_bounds")


def sum_in_order(values: Float64[Array, "t"], start: float = 0.0) -> Float64[Array, ""]:
    """The sum from the first to the last, as scikit-learn adds: no other order rounds the same."""
    total = jnp.asarray(start, values.dtype)
    for place in range(values.shape[0]):
        total = total + jax.lax.index_in_dim(values, place, keepdims=False)
    return total
