"""Losses that ask every abnormal row to score above the normal ones.

Each is a pure function (scores [n], labels [n], *, ...) -> scalar in float32, for jit, grad and
vmap. Scores lie in [0, 1] and rise with abnormality; labels are 1 abnormal, 0 normal, and -1
for rows that do not take part, so that folds of one table can be trained side by side. Over the
whole table these losses are exact; without an abnormal or without a normal row they are 0.

A loss over pairs is the mean of R(s_i - s_j) = max(gamma - (s_i - s_j), 0)^p over abnormal i and
normal j, possibly restricted to a part of the ROC curve:
- FPR in [a, b] keeps the normal rows ranked a to b from the highest score down;
- TPR in [a, b] keeps the abnormal rows ranked a to b from the highest score down, so that
  [beta, 1] is the lowest 1 - beta of them, and the limit beta -> 1 the lowest one.
A row that a range only partly covers counts in part. A restriction to the highest normal or the
lowest abnormal rows is then the conditional value at risk (CVaR) of the pairs, at its optimum.

FPR at TPR 1 is the share of normal rows that score at least as high as the lowest abnormal one:
`bottom_push` is its surrogate; `pauc_tpr` and `two_way_kl` are smoother ways to it.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from ad_core.decision.classifiers.pairs import gather, surrogate
from ad_core.errors import UserError

Scores = Float[Array | np.ndarray, "n"]
Labels = Shaped[Array | np.ndarray, "n"]
Loss = Float[Array, ""]
Number = float | int
Range = tuple[Number, Number]


def wmw(scores: Scores, labels: Labels, *, gamma: Number = 1.0, p: Number = 2.0) -> Loss:
    """Mean of R over all pairs: a differentiable 1 - AUROC.

    Source: Yan et al., Optimizing Classifier Performance via an Approximation to the
    Wilcoxon-Mann-Whitney Statistic, ICML 2003; divided by the number of pairs.
    """
    return two_way(scores, labels, fpr_range=(0.0, 1.0), tpr_range=(0.0, 1.0), gamma=gamma, p=p)


def pauc_fpr(
    scores: Scores,
    labels: Labels,
    *,
    fpr_range: Range = (0.95, 1.0),
    gamma: Number = 1.0,
    p: Number = 2.0,
) -> Loss:
    """Partial AUC between two false-positive rates.

    [alpha, 1]: all abnormal rows against the lowest 1 - alpha of the normal ones, the easiest.
    [0, beta]: against the highest beta of them, the hardest; equal to the CVaR form (SOPA) with
    its inner variables at their optimum.

    Source: Dodd and Pepe, Partial AUC Estimation and Regression, Biometrics 2003.
    """
    return two_way(scores, labels, fpr_range=fpr_range, tpr_range=(0.0, 1.0), gamma=gamma, p=p)


def pauc_tpr(
    scores: Scores,
    labels: Labels,
    *,
    tpr_range: Range = (0.9, 1.0),
    gamma: Number = 1.0,
    p: Number = 2.0,
) -> Loss:
    """Partial AUC between two true-positive rates: the lowest abnormal rows against all normals."""
    return two_way(scores, labels, fpr_range=(0.0, 1.0), tpr_range=tpr_range, gamma=gamma, p=p)


def two_way(
    scores: Scores,
    labels: Labels,
    *,
    fpr_range: Range = (0.0, 0.5),
    tpr_range: Range = (0.5, 1.0),
    gamma: Number = 1.0,
    p: Number = 2.0,
) -> Loss:
    """Partial AUC in a corner of the ROC square: the lowest abnormals against the highest normals.

    Raises:
        UserError: a range that is not 0 <= low < high <= 1, gamma <= 0 or p < 1.

    Source: Yang et al., When All We Need is a Piece of the Pie, ICML 2021.
    """
    values, abnormal, normal = _prepare(scores, labels)
    rows = _range_weights(values, abnormal, tpr_range, "tpr_range")
    columns = _range_weights(values, normal, fpr_range, "fpr_range")
    return _weighted_pairs(values, rows, columns, gamma, p)


def bottom_push(scores: Scores, labels: Labels, *, gamma: Number = 1.0, p: Number = 2.0) -> Loss:
    """The lowest abnormal row against all normal ones: the limit of `pauc_tpr` at [1, 1].

    Source: Li, Jin and Zhou, Top Rank Optimization in Linear Time, NeurIPS 2014, mirrored.
    """
    values, abnormal, normal = _prepare(scores, labels)
    rows = (_rank_from_top(values, abnormal) == abnormal.sum() - 1) & abnormal
    return _weighted_pairs(values, rows.astype(jnp.float32), _share(normal), gamma, p)


def pauc_kl(
    scores: Scores,
    labels: Labels,
    *,
    temperature: Number = 1.0,
    gamma: Number = 1.0,
    p: Number = 2.0,
) -> Loss:
    """Soft one-way partial AUC: mean_i t log mean_j exp(R_ij / t).

    Weighs normal row j of abnormal row i by exp(R_ij / t): the highest normals most. Tends to
    `wmw` as t grows and to the single highest normal as t tends to 0.

    Source: Zhu et al., When AUC meets DRO, ICML 2022 (SOPA-s).
    """
    values, abnormal, normal = _prepare(scores, labels)
    form = surrogate(gamma, p, temperature)
    return (_share(abnormal) * gather(values, abnormal, _share(normal), form)).sum()


def two_way_kl(
    scores: Scores,
    labels: Labels,
    *,
    temperature: Number | None = 1.0,
    temperature_abnormal: Number = 0.1,
    gamma: Number = 1.0,
    p: Number = 2.0,
) -> Loss:
    """Soft two-way partial AUC: t' log mean_i (mean_j exp(R_ij / t))^(t / t').

    Weighs abnormal row i by its share of the outer mean: the lowest abnormals most. A small t'
    with a large t, or with `temperature` None (a plain mean over normals), is the smooth form of
    `bottom_push`.

    Source: Zhu et al., When AUC meets DRO, ICML 2022 (SOTA-s).
    """
    values, abnormal, normal = _prepare(scores, labels)
    outer = surrogate(gamma, p, temperature_abnormal).temperature or temperature_abnormal
    gathered = gather(values, abnormal, _share(normal), surrogate(gamma, p, temperature))
    exponent = jnp.where(abnormal, gathered / outer, 0.0)
    largest = exponent.max()
    total = (_share(abnormal) * jnp.exp(exponent - largest)).sum()
    some = abnormal.any() & normal.any()
    return jnp.where(some, outer * (largest + jnp.log(jnp.where(total > 0, total, 1.0))), 0.0)


def tapauc(
    scores: Scores,
    labels: Labels,
    *,
    progress: Number | Float[Array, ""],
    warm_up: Number = 0.25,
    share: Number = 0.05,
    gamma: Number = 0.1,
    p: Number = 2.0,
) -> Loss:
    """`wmw` while `progress` < `warm_up`, then `pauc_fpr` over [1 - share, 1].

    Args:
        progress: share of the training done, in [0, 1); may be traced.

    Source: Bougaham et al., arXiv 2502.11570, 2025, with its published code's constants.
    """
    values, abnormal, normal = _prepare(scores, labels)
    lowest = _range_weights(values, normal, (1.0 - share, 1.0), "fpr_range")
    columns = jnp.where(jnp.asarray(progress) < warm_up, _share(normal), lowest)
    return _weighted_pairs(values, _share(abnormal), columns, gamma, p)


def bce(scores: Scores, labels: Labels, *, balanced: bool = True) -> Loss:
    """Binary cross-entropy of scores as probabilities, clipped to [1e-7, 1 - 1e-7].

    balanced: both classes weigh one half; else every row weighs the same.
    """
    return focal(scores, labels, focus=0.0, balanced=balanced)


def focal(scores: Scores, labels: Labels, *, focus: Number = 2.0, balanced: bool = True) -> Loss:
    """Mean of -(1 - q)^focus log q, q the probability given to the true class.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.
    """
    values, abnormal, normal = _prepare(scores, labels)
    q = jnp.clip(jnp.where(abnormal, values, 1.0 - values), 1e-7, 1.0 - 1e-7)
    each = -((1.0 - q) ** focus) * jnp.log(q)
    weight = (_share(abnormal) + _share(normal)) / 2.0 if balanced else _share(abnormal | normal)
    return (weight * each).sum()


# What `FullSensitivityClassifier` takes by name; `tapauc` alone also asks how far training is.
LOSSES: dict[str, Callable[..., Loss]] = {
    "wmw": wmw,
    "pauc_fpr": pauc_fpr,
    "pauc_tpr": pauc_tpr,
    "two_way": two_way,
    "bottom_push": bottom_push,
    "pauc_kl": pauc_kl,
    "two_way_kl": two_way_kl,
    "tapauc": tapauc,
    "bce": bce,
    "focal": focal,
}


def _prepare(
    scores: Scores, labels: Labels
) -> tuple[Float[Array, "n"], Bool[Array, "n"], Bool[Array, "n"]]:
    """Scores in float32, and which rows are abnormal and normal."""
    kinds = jnp.asarray(labels)
    if kinds.dtype == jnp.bool_:
        kinds = kinds.astype(jnp.int32)
    return jnp.asarray(scores).astype(jnp.float32), kinds == 1, kinds == 0


def _weighted_pairs(
    values: Float[Array, "n"],
    rows: Float[Array, "n"],
    columns: Float[Array, "n"],
    gamma: Number,
    p: Number,
) -> Loss:
    return (rows * gather(values, rows > 0, columns, surrogate(gamma, p))).sum()


def _share(members: Bool[Array, "n"]) -> Float[Array, "n"]:
    """Equal weights of the members with sum 1; all 0 if there is none."""
    return members.astype(jnp.float32) / jnp.maximum(members.sum(), 1).astype(jnp.float32)


def _rank_from_top(values: Float[Array, "n"], members: Bool[Array, "n"]) -> Shaped[Array, "n"]:
    """0 for the highest of the members; those outside come after them."""
    order = jnp.argsort(jnp.where(members, -values, jnp.inf), stable=True)
    return jnp.zeros(order.shape, order.dtype).at[order].set(jnp.arange(order.size))


def _range_weights(
    values: Float[Array, "n"], members: Bool[Array, "n"], limits: Range, name: str
) -> Float[Array, "n"]:
    """Weights with sum 1 of the members ranked between two shares from the top."""
    low, high = limits
    if not 0 <= low < high <= 1:
        raise UserError(f"`{name}` (={limits}) must be 0 <= low < high <= 1.")
    if limits == (0.0, 1.0):
        return _share(members)
    rank = _rank_from_top(values, members).astype(jnp.float32)
    count = members.sum().astype(jnp.float32)
    covered = jnp.minimum(rank + 1.0, high * count) - jnp.maximum(rank, low * count)
    weight = jnp.where(members, jnp.maximum(covered, 0.0), 0.0)
    total = weight.sum()
    return weight / jnp.where(total > 0, total, 1.0)
