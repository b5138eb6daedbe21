"""A classifier trained for few false alarms where no abnormal row may be missed."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64, Int, Shaped
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.utils.validation import check_is_fitted, validate_data

from ad_core.decision.classifiers.members import MemberTraining, member_logits, train_members
from ad_core.decision.classifiers.pairwise_losses import LOSSES
from ad_core.decision.classifiers.squashing import Squashing, learn_squashing, squash
from ad_core.decision.classifiers.two_classes import two_classes
from ad_core.errors import UserError

# Rows are padded to a multiple of this, so that tables of nearly one size share one compilation.
_ROWS = 128


class FullSensitivityClassifier(ClassifierMixin, BaseEstimator):
    """Perceptrons trained side by side by a loss over pairs of abnormal and normal rows.

    Each member starts from its own seed and leaves one stratified inner fold out, on which its
    best step is chosen by the same loss (early stopping); all members and steps are one compiled
    call, on the whole table at once, so that the lowest abnormal row is that of the table and not
    of a minibatch. The score is the members' mean logit. With a single row of a class there is no
    inner fold, and the last step is taken.

    Each column passes through arcsinh first, so that a few extreme images do not set its scale,
    and is then standardised.

    Args:
        loss: a key of `losses.LOSSES`; loss_options: its keyword arguments.
        hidden: widths of the layers; () is linear.
        warm_up: share of the steps that take `wmw` first, as tapAUC does: a loss that sees the
            lowest abnormal rows alone can start in the wrong direction and stay there. Losses
            without pairs (bce, focal) need none and take none.
        members: networks to average.
        steps: of AdamW, with a cosine schedule from `learning_rate` to 0.
        random_state: fixes members, folds and result.

    The level and the scale of a logit are those of one fit. So that scores of several fits can be
    compared (those of the folds with the threshold, those of the last fit with later images),
    `comparable_score` counts from the middle between the median normal and the median abnormal row
    that were fitted on, which lie at -1 and 1. These move little from fit to fit; the lowest
    abnormal row moves up to ten times as far.

    Attributes: `classes_` (the second is "abnormal"), `centre_` and `unit_` of the mean logit;
    `offset_` the comparable score at which `predict` says abnormal: just below the lowest abnormal
    row, each row scored by the members that left it out.
    """

    def __init__(
        self,
        loss: Any = "two_way",
        *,
        loss_options: Any = None,
        hidden: Any = (8,),
        warm_up: Any = 0.25,
        members: Any = 5,
        steps: Any = 300,
        learning_rate: Any = 0.01,
        weight_decay: Any = 0.001,
        random_state: Any = 0,
    ):
        # scikit-learn's rule: nothing is checked before `fit`.
        self.loss = loss
        self.loss_options = loss_options
        self.hidden = hidden
        self.warm_up = warm_up
        self.members = members
        self.steps = steps
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any = None) -> "FullSensitivityClassifier":
        """Fit on X [n, k] and y [n] with two classes, the second of which is "abnormal".

        Rows of one of the `groups` [n] stay together in the inner folds.

        Raises:
            UserError: unknown loss, another number of classes, or no member.
        """
        training = self._training()
        table, kinds = validate_data(self, X, y, ensure_min_samples=2)
        self.classes_, labels = two_classes(kinds)
        wide = np.asarray(table, dtype=np.float64)
        self.median_, self.spread_, self.mean_, self.scale_ = learn_squashing(wide)
        names = np.arange(labels.size) if groups is None else np.asarray(groups)
        left_out = _left_out(labels, names, self.members, self.random_state)
        keys = jax.random.split(jax.random.key(self.random_state), self.members)
        rows, fit_labels, stop_labels = _padded(self._standardised(wide), labels, left_out)
        trained = train_members(rows, fit_labels, stop_labels, keys, training)
        self.parameters_ = jax.tree.map(np.asarray, trained)
        logits = self._member_logits(wide)
        self.centre_, self.unit_ = _scale_of(logits.mean(axis=0), labels)
        self.offset_ = (_offset(logits, labels, left_out) - self.centre_) / self.unit_
        return self

    def decision_function(self, X: Any) -> Float64[np.ndarray, "n"]:
        """Comparable score less `offset_`; above 0 means abnormal."""
        return self.comparable_score(X) - self.offset_

    def comparable_score(self, X: Any) -> Float64[np.ndarray, "n"]:
        """Mean logit of the members, on a scale that all fits share: -1 normal, 1 abnormal."""
        check_is_fitted(self)
        table = np.asarray(validate_data(self, X, reset=False), dtype=np.float64)
        return (self._member_logits(table).mean(axis=0) - self.centre_) / self.unit_

    def predict_proba(self, X: Any) -> Float64[np.ndarray, "n 2"]:
        """The logistic function of the score. It ranks; it is no calibrated probability."""
        abnormal = 0.5 * (1.0 + np.tanh(0.5 * self.decision_function(X)))
        return np.stack([1.0 - abnormal, abnormal], axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """The class of each row: abnormal wherever the score is above 0."""
        abnormal = self.decision_function(X) > 0
        return self.classes_[abnormal.astype(int)]

    def integrated_gradients(
        self, X: Any, baseline: Float[np.ndarray, "k"], *, points: int = 64
    ) -> Float64[np.ndarray, "n k"]:
        """Share of each column in the score of a row less that of `baseline`.

        (x - b) times the mean gradient on the straight line from b to x, at the midpoints of
        `points` equal pieces. The shares of a row sum to the difference of the scores, exactly
        but for pieces in which a unit of the network switches.

        Source: Sundararajan et al., Axiomatic Attribution for Deep Networks, ICML 2017.
        """
        check_is_fitted(self)
        table = np.asarray(validate_data(self, X, reset=False), dtype=np.float64)
        hidden = tuple(int(width) for width in self.hidden)
        start = self._standardised(np.asarray(baseline, np.float64)[None])[0]
        shares = [
            _integrate(self.parameters_, block, start, hidden, points)[:kept]
            for block, kept in _blocks(self._standardised(table))
        ]
        return np.concatenate(shares).astype(np.float64) / self.unit_

    def __sklearn_tags__(self) -> Any:
        """Two classes only."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _training(self) -> MemberTraining:
        if self.loss not in LOSSES:
            raise UserError(f"Unknown loss {self.loss!r}; known: {', '.join(LOSSES)}.")
        if self.members < 1 or self.steps < 1:
            raise UserError(
                f"`members` (={self.members}) and `steps` (={self.steps}) must be at least 1."
            )
        options = tuple(sorted((self.loss_options or {}).items()))
        hidden = tuple(int(width) for width in self.hidden)
        return MemberTraining(
            hidden=hidden,
            loss=self.loss,
            loss_options=options,
            warm_up=0.0 if self.loss in ("bce", "focal") else self.warm_up,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            steps=self.steps,
        )

    def _standardised(self, table: Float64[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
        by = Squashing(self.median_, self.spread_, self.mean_, self.scale_)
        return squash(table, by).astype(np.float32)

    def _member_logits(self, table: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "m n"]:
        hidden = tuple(int(width) for width in self.hidden)
        logits = [
            np.asarray(_apply_members(self.parameters_, block, hidden), np.float64)[:, :kept]
            for block, kept in _blocks(self._standardised(table))
        ]
        return np.concatenate(logits, axis=1)


def _blocks(
    rows: Float32[np.ndarray, "n k"],
) -> Iterator[tuple[Float32[np.ndarray, "r k"], int]]:
    """Blocks of one size, the last padded, each with the number of rows that count."""
    for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS]
        yield np.pad(block, ((0, _ROWS - len(block)), (0, 0))), len(block)


def _left_out(
    labels: Int[np.ndarray, "n"], groups: Shaped[np.ndarray, "n"], members: int, seed: int
) -> Bool[np.ndarray, "m n"]:
    """The rows that each member does not train on: one stratified, grouped fold, or none."""
    left_out = np.zeros((members, labels.size), dtype=bool)
    count = min(5, *(np.unique(groups[labels == kind]).size for kind in (0, 1)))
    if count < 2:
        return left_out
    if np.unique(groups).size == groups.size:
        splitter: Any = StratifiedKFold(int(count), shuffle=True, random_state=seed)
    else:
        splitter = StratifiedGroupKFold(int(count), shuffle=True, random_state=seed)
    given = (groups,) if isinstance(splitter, StratifiedGroupKFold) else ()
    folds = [held_out for _, held_out in splitter.split(labels, labels, *given)]
    for member in range(members):
        left_out[member, folds[member % len(folds)]] = True
    return left_out


def _padded(
    table: Float32[np.ndarray, "n k"],
    labels: Int[np.ndarray, "n"],
    left_out: Bool[np.ndarray, "m n"],
) -> tuple[Float32[np.ndarray, "r k"], Int[np.ndarray, "m r"], Int[np.ndarray, "m r"]]:
    """Table, labels to fit and labels to stop by; -1 where a row takes no part."""
    extra = -len(labels) % _ROWS
    fit = np.where(left_out, -1, labels).astype(np.int32)
    stop = np.where(left_out, labels, -1).astype(np.int32)
    pad = partial(np.pad, pad_width=((0, 0), (0, extra)), constant_values=-1)
    return np.pad(table, ((0, extra), (0, 0))), pad(fit), pad(stop)


def _scale_of(
    logits: Float64[np.ndarray, "n"], labels: Int[np.ndarray, "n"]
) -> tuple[float, float]:
    """(middle between the medians of the classes, half their distance; 1 where they coincide)."""
    normal, abnormal = (float(np.median(logits[labels == kind])) for kind in (0, 1))
    return (normal + abnormal) / 2, abs(abnormal - normal) / 2 or 1.0


def _offset(
    logits: Float64[np.ndarray, "m n"],
    labels: Int[np.ndarray, "n"],
    left_out: Bool[np.ndarray, "m n"],
) -> float:
    """Middle of the gap below the lowest abnormal row, scored by the members that left it out."""
    seen_by_none = ~left_out.any(axis=0)
    weight = np.where(seen_by_none, 1.0, left_out)
    scores = (weight * logits).sum(axis=0) / weight.sum(axis=0)
    lowest = scores[labels == 1].min()
    below = scores[scores < lowest]
    return float((lowest + below.max()) / 2 if below.size else lowest - 1.0)


@partial(jax.jit, static_argnames="hidden")
def _apply_members(
    parameters: Any, table: Float[Array, "r k"], hidden: tuple[int, ...]
) -> Float[Array, "m r"]:
    return jax.vmap(lambda member: member_logits(member, table, hidden))(parameters)


@partial(jax.jit, static_argnames=("hidden", "points"))
def _integrate(
    parameters: Any,
    table: Float[Array | np.ndarray, "r k"],
    start: Float[Array | np.ndarray, "k"],
    hidden: tuple[int, ...],
    points: int,
) -> Float[Array, "r k"]:
    def mean_score(rows: Float[Array, "r k"]) -> Float[Array, ""]:
        return (
            jax.vmap(lambda member: member_logits(member, rows, hidden))(parameters).mean(0).sum()
        )

    def add(piece: Int[Array, ""], total: Float[Array, "r k"]) -> Float[Array, "r k"]:
        share = (piece.astype(jnp.float32) + 0.5) / points
        return total + jax.grad(mean_score)(start[None] + share * step)

    step = jnp.asarray(table) - start[None]
    total = jax.lax.fori_loop(0, points, add, jnp.zeros_like(step))
    return step * total / points
