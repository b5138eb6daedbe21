"""Exact Shapley values of trees: how far each column moved the sum of a forest's leaves.

The game is that of path-dependent TreeSHAP: at a question whose column is unknown a tree goes
both ways, in the shares of the training rows that did. Take a leaf of value v whose path asks m
distinct columns; o_i is 1 where the row follows the path at all questions to column i, else 0, and
z_i the product of the shares there. Its part in the Shapley value of column i is

    v (o_i - z_i) * integral over t in [0, 1] of prod_{j != i} f_j,  f_j = z_j (1 - t) + o_j t,

a polynomial of degree m - 1 in t, for which ceil(m / 2) Gauss-Legendre points are exact. Within
(0, 1) every factor is positive, so the product without i is the whole product over f_i. All trees
and rows go through a level at a time: down with the products, up with the sums of the leaves.

Source: Lundberg et al., From local explanations to global understanding with explainable AI for
trees, Nature Machine Intelligence 2020, for the game; the sum over the edges of a path, each edge
less the one before it on the same column, follows Yu et al., Linear TreeShap, NeurIPS 2022.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array

# Rows explained at once: what one level holds then stays near the processor.
_ROWS = 64


class Tree(NamedTuple):
    """A binary tree; a row goes left where row[feature] <= threshold.

    left, right: children, -1 at a leaf; a child comes after its parent. cover: weight of the
    training rows that came by, positive. value: read at leaves only.
    """

    left: Int[np.ndarray, "m"]
    right: Int[np.ndarray, "m"]
    feature: Int[np.ndarray, "m"]
    threshold: Float[np.ndarray, "m"]
    cover: Float[np.ndarray, "m"]
    value: Float[np.ndarray, "m"]


class _Nodes(NamedTuple):
    """All nodes of a group of trees, one after the other.

    column: asked above a node. z: product of the shares of this column on the path so far. before:
    the node below the nearest earlier question to the same column, -1 if there is none.
    distinct: columns asked on the path. levels: the nodes of each depth.
    """

    tree: Tree
    parent: Int[np.ndarray, "m"]
    column: Int[np.ndarray, "m"]
    z: Float[np.ndarray, "m"]
    before: Int[np.ndarray, "m"]
    distinct: Int[np.ndarray, "m"]
    levels: list[Int[np.ndarray, "_"]]


class _Level(NamedTuple):
    """The nodes of one depth, each with the edge to it; left children come before right ones.

    inner: the nodes with children, whose children are the next level. parent: place in the level
    above. column, threshold, left: what is asked there, and whether the edge is the left one.
    repeated: edges with an earlier one on the same column, and where: (level, place). grow, push:
    by what the product on the path and the Shapley value of the edge grow [state, e, q]; the
    states are off the path here, on it (as a difference), and off it before (as a difference,
    repeated edges only).
    """

    inner: Int[np.ndarray, "_"]
    value: Float[np.ndarray, "e 1 1"]
    parent: Int[np.ndarray, "e"]
    column: Int[np.ndarray, "e"]
    threshold: Float[np.ndarray, "e 1"]
    left: Bool[np.ndarray, "e 1"]
    repeated: Int[np.ndarray, "r"]
    earlier: Int[np.ndarray, "r 2"]
    grow: tuple[Float[np.ndarray, "e q"], Float[np.ndarray, "e q"], Float[np.ndarray, "r q"]]
    push: tuple[Float[np.ndarray, "e q"], Float[np.ndarray, "e q"], Float[np.ndarray, "r q"]]


class Forest:
    """Trees made ready to be explained many times.

    Attributes: `base` what the trees give on average over their training rows.
    """

    def __init__(self, trees: Sequence[Tree]):
        """Raises ValueError without a tree."""
        if not trees:
            raise ValueError("A forest needs a tree.")
        self.base = float(sum(_mean_leaf(tree) for tree in trees))
        # Every level carries as many points as the deepest tree of its group needs.
        joined = _join(trees)
        most = np.maximum.reduceat(joined.distinct, joined.levels[0])  # of each tree's paths
        points = -(-np.maximum(1, most) // 2)
        self._groups = [
            _levels(_join([trees[int(i)] for i in np.flatnonzero(points == count)]), int(count))
            for count in np.unique(points)
        ]

    def shapley_values(self, table: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
        """Shapley values of each column, float32; a row's sum is the trees' score less `base`."""
        values = np.zeros(table.shape)
        for start in range(0, len(table), _ROWS):
            rows = np.ascontiguousarray(table[start : start + _ROWS].T)
            for levels in self._groups:
                values[start : start + _ROWS] += _explain(levels, rows).T
        return values


def _mean_leaf(tree: Tree) -> float:
    leaves = tree.left < 0
    return float(np.average(tree.value[leaves], weights=tree.cover[leaves]))


def _join(trees: Sequence[Tree]) -> _Nodes:
    """The trees as one table of nodes, walked from the roots down."""
    starts = np.cumsum([0, *(len(tree.left) for tree in trees[:-1])])

    def children(name: str) -> np.ndarray:
        pairs = zip(trees, starts, strict=True)
        return np.concatenate(
            [np.where(getattr(t, name) < 0, -1, getattr(t, name) + start) for t, start in pairs]
        )

    rest = [np.concatenate([getattr(t, name) for t in trees]) for name in Tree._fields[2:]]
    rest[0] = rest[0].astype(np.int64)  # scikit-learn's own integer has another name
    tree = Tree(children("left").astype(np.int64), children("right").astype(np.int64), *rest)
    inner = np.flatnonzero(tree.left >= 0)
    parent = np.full(len(tree.left), -1)
    parent[tree.left[inner]] = parent[tree.right[inner]] = inner
    column = np.where(parent >= 0, tree.feature[parent], -1)
    z = np.where(parent >= 0, tree.cover / tree.cover[parent], 1.0)
    before, distinct, levels = np.full(len(parent), -1), np.zeros(len(parent), int), [starts]
    while (asked := levels[-1][tree.left[levels[-1]] >= 0]).size:
        nodes = np.concatenate([tree.left[asked], tree.right[asked]])
        before[nodes] = _nearest(parent, column, nodes)
        again = before[nodes] >= 0
        z[nodes] *= np.where(again, z[before[nodes]], 1.0)
        distinct[nodes] = distinct[parent[nodes]] + ~again
        levels.append(nodes)
    return _Nodes(tree, parent, column, z, before, distinct, levels)


def _nearest(
    parent: Int[np.ndarray, "m"], column: Int[np.ndarray, "m"], nodes: Int[np.ndarray, "e"]
) -> Int[np.ndarray, "e"]:
    """Nearest node above each node that the same column leads to; -1 without one."""
    above = parent[nodes]
    while (climbing := (column[above] >= 0) & (column[above] != column[nodes])).any():
        above = np.where(climbing, parent[above], above)
    return np.where(column[above] == column[nodes], above, -1)


def _levels(nodes: _Nodes, points: int) -> list[_Level]:
    t, weight = np.polynomial.legendre.leggauss(points)
    t, weight = (t + 1) / 2, weight / 2
    z, again = nodes.z[:, None], (nodes.before >= 0)[:, None]
    factor = np.stack([z * (1 - t), z * (1 - t) + t])  # off the path, on it
    slope = np.stack([-z, 1 - z]) / factor * weight
    factor_before = np.where(again, factor[:, nodes.before], 1.0)
    slope_before = np.where(again, slope[:, nodes.before], 0.0)
    # States: off since before, off from here on, on.
    grow = factor[[0, 0, 1]] / factor_before[[0, 1, 1]]
    push = slope[[0, 0, 1]] - slope_before[[0, 1, 1]]
    place, depth = np.zeros(len(nodes.parent), int), np.zeros(len(nodes.parent), int)
    for number, level in enumerate(nodes.levels):
        place[level], depth[level] = np.arange(len(level)), number
    return [_level(nodes, level, place, depth, grow, push) for level in nodes.levels]


def _level(nodes: _Nodes, level, place, depth, grow, push) -> _Level:
    def states(of: np.ndarray) -> tuple:
        since, off, on = of[:, level].astype(np.float32)
        return off, on - off, (since - off)[repeated]

    tree, above = nodes.tree, nodes.parent[level]
    repeated = np.flatnonzero(nodes.before[level] >= 0)
    earlier = nodes.before[level[repeated]]
    leaf = tree.left[level] < 0
    return _Level(
        inner=np.flatnonzero(~leaf),
        value=np.where(leaf, tree.value[level], 0.0).astype(np.float32)[:, None, None],
        parent=place[above],
        column=nodes.column[level],
        threshold=tree.threshold[above][:, None],
        left=(tree.left[above] == level)[:, None],
        repeated=repeated,
        earlier=np.stack([depth[earlier], place[earlier]], axis=1),
        grow=states(grow),
        push=states(push),
    )


def _explain(levels: list[_Level], rows: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "k n"]:
    """Walks down the levels with the products, up with the sums of the leaves below each edge."""
    follows, lost, products = _descend(levels, rows)
    below, edges = None, []
    for number in range(len(levels) - 1, 0, -1):
        level, total = levels[number], products[number]
        total *= level.value
        if below is not None:
            half = len(below) // 2
            total[level.inner] += below[:half] + below[half:]
        off, on, since = level.push
        found = np.stack([off, on], axis=1) @ total  # [e, 2, n]
        edge = found[:, 0] + follows[number] * found[:, 1]
        again = level.repeated
        edge[again] += lost[number] * (since[:, None] @ total[again])[:, 0]
        edges.append((level.column, edge))
        below = total
    if not edges:
        return np.zeros(rows.shape, np.float32)
    columns = np.concatenate([column for column, _ in edges])
    to_column = csr_array(
        (np.ones(len(columns), np.float32), (columns, np.arange(len(columns)))),
        shape=(len(rows), len(columns)),
    )
    return to_column @ np.concatenate([edge for _, edge in edges])


def _descend(
    levels: list[_Level], rows: Float[np.ndarray, "k n"]
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Lists by level: rows that follow each edge's column so far, rows that lost it, products."""
    n, points = rows.shape[1], levels[-1].grow[0].shape[1]
    follows = [np.ones((len(levels[0].value), n), bool)]
    lost: list[np.ndarray] = [np.zeros((0, n), np.float32)]
    products: list[np.ndarray] = [np.ones((len(levels[0].value), points, n), np.float32)]
    for level in levels[1:]:
        on = (rows[level.column] <= level.threshold) == level.left
        kept = np.ones((len(level.repeated), n), bool)
        for depth in np.unique(level.earlier[:, 0]):
            of = level.earlier[:, 0] == depth
            kept[of] = follows[depth][level.earlier[of, 1]]
        on[level.repeated] &= kept
        off, more, since = (part[:, :, None] for part in level.grow)
        product: np.ndarray = on.astype(np.float32)[:, None] * more
        product += off
        product[level.repeated] += (~kept).astype(np.float32)[:, None] * since
        product *= products[-1].take(level.parent, axis=0)
        follows.append(on)
        lost.append((~kept).astype(np.float32))
        products.append(product)
    return follows, lost, products
