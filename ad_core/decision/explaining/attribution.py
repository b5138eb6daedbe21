"""Ways to divide a fitted model's score among its columns: how far each pushed it, and whereto.

Each takes a fitted pipeline and rows of normal images [m, k] to start from, both behind cleaning.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.pipeline import Pipeline

Rows = Float[np.ndarray, "n k"]


class Attribution(NamedTuple):
    """A way to divide scores among columns.

    method: in words. push: rows [n, k] -> [n, k], above 0 towards abnormal. sums: whether the
    pushes of a row sum to its score less what the method starts from.
    """

    method: str
    push: Callable[[Rows], Rows]
    sums: bool = True


def coefficients(model: Pipeline, normals: Rows) -> Attribution:
    """Attribution of a linear model: coefficient times distance from the normals' mean."""
    final: Any = model[-1]
    start, slope = _before(model, _mean(normals)), final.coef_[0]
    return Attribution("coefficients", lambda rows: (_before(model, rows) - start) * slope)


def ridge_value(model: Pipeline, normals: Rows) -> Attribution:
    """Attribution of the value behind a rank: slope times distance from the normals' mean."""
    final: Any = model[-1]
    start = _mean(normals)
    return Attribution(
        "coefficients of the value that is ranked",
        lambda rows: (rows - start) * final.slope_,
        sums=False,
    )


def squared_distance(model: Pipeline, normals: Rows) -> Attribution:
    """Attribution of z' P z: z_j (P z)_j, with no start. P is the precision, z standardised."""
    final: Any = model[-1]

    def push(rows: Rows) -> Rows:
        z = _before(model, rows) - final.location_
        return z * (z @ final.precision_)

    return Attribution("terms of the squared distance", push)


def integrated_gradients(model: Pipeline, normals: Rows) -> Attribution:
    """Attribution of a network: integrated gradients from the normals' mean."""
    final: Any = model[-1]
    start = _mean(normals)[0]
    return Attribution(
        "integrated gradients from the mean normal image",
        lambda rows: final.integrated_gradients(rows, start),
    )


def weighted_sum(parts: Sequence[Attribution], weights: Float[np.ndarray, "p"]) -> Attribution:
    """Attribution of a weighted sum of scores: the weighted sum of their attributions."""

    def push(rows: Rows) -> Rows:
        pushes = [weight * of.push(rows) for weight, of in zip(weights, parts, strict=True)]
        return np.sum(pushes, axis=0)

    methods = ", ".join(dict.fromkeys(of.method for of in parts))
    return Attribution(f"weighted sum of {methods}", push, all(of.sums for of in parts))


def occlusion(score: Callable[[Rows], Float[np.ndarray, "n"]], normals: Rows) -> Attribution:
    """Attribution of any score: its fall when a column alone is set to the normals' median."""
    median = np.median(normals, axis=0)

    def push(rows: Rows) -> Rows:
        whole, pushes = score(rows), np.zeros(rows.shape)
        for column in range(rows.shape[1]):
            covered = rows.copy()
            covered[:, column] = median[column]
            pushes[:, column] = whole - score(covered)
        return pushes

    return Attribution("occlusion by the normals' median", push, sums=False)


def _mean(normals: Float[np.ndarray, "m k"]) -> Float[np.ndarray, "1 k"]:
    return normals.mean(axis=0, keepdims=True)


def _before(model: Pipeline, rows: Rows) -> Rows:
    """The rows as the last step of `model` sees them."""
    return np.asarray(model[:-1].transform(rows), np.float64) if len(model) > 1 else rows
