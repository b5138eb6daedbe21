"""Fitted classifiers as functions that a program can hold: one row of statistics to its score.

They are traced with 64 bits enabled and follow scikit-learn's own types: float32 where it rounds
to it, float64 elsewhere.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ad_core.decision.classifiers.cleaning import CleanTable
from ad_core.decision.classifiers.deep_head import DeepHead, WithoutFeatures
from ad_core.decision.classifiers.fitting import head_of
from ad_core.decision.classifiers.members import member_logits
from ad_core.decision.classifiers.monotone import CleanUpwards
from ad_core.decision.classifiers.proved_ridge import CleanByNormals
from ad_core.decision.classifiers.squashing import NORMAL_IQR, SquashedColumns
from ad_core.errors import UserError
from ad_core.exporting.trees import leaf_values, make_grove, sum_in_order

Row = Float[Array, "_"]
Score = Float64[Array, ""]
Step = Callable[[Row], Row]
_ROUNDING = 1e-4  # share of a limit: a rounding sends an image to inspection, never past it


def score_function(classifier: Pipeline) -> Callable[[Float32[Array, "k"]], Score]:
    """`anomaly_score` of one row of finite statistics, to be traced with 64 bits enabled.

    Raises:
        UserError: a classifier without such a function, by its name.
    """
    name, model = classifier.steps[-1]
    if name not in MODELS:
        raise UserError(
            f"Classifier {name!r} has no form that can be exported; those that have one: "
            f"{', '.join(MODELS)}. Calibrate with one of them: "
            "--config.decision.classifier=NAME with launch/calibrate.py."
        )
    steps = [_step(step) for _, step in classifier.steps[:-1]]
    final, head = MODELS[name](model), head_of(classifier)
    raised = (lambda score, row: score) if head is None else _raised(head)

    def score(row: Row) -> Score:
        reduced = row
        for step in steps:
            reduced = step(reduced)
        return raised(final(reduced).astype(jnp.float64), row)

    return score


def _raised(head: DeepHead) -> Callable[[Score, Row], Score]:
    """As the head raises scores of strange rows, which here begin a rounding earlier."""
    features = np.asarray(head.columns)
    if not (np.isfinite(head.top_) and np.isfinite(head.limit_)):
        return lambda score, row: score
    limit = head.limit_ * (1.0 - _ROUNDING)
    places = head.places()

    def raise_(score: Score, row: Row) -> Score:
        z = (row[features].astype(jnp.float64) - head.mean_) / head.scale_
        distances = jnp.sqrt(jnp.stack([jnp.mean(z[of] * z[of]) for of in places]))
        apart = jnp.max(distances / head.farthest_)
        return jnp.where(apart > limit, jnp.maximum(score, head.top_ + apart / head.limit_), score)

    return raise_


def _step(step: Any) -> Step:
    """The function of a step before the model."""
    makers: dict[type, Callable[[Any], Step]] = {
        DeepHead: _deep_head,
        WithoutFeatures: _without_features,
        CleanByNormals: _clean_by_normals,
        CleanTable: _clean,
        CleanUpwards: _clean_upwards,
        SquashedColumns: _squash,
        StandardScaler: _standardise,
    }
    if type(step) in makers:
        return makers[type(step)](step)
    raise UserError(f"Step {type(step).__name__} of the classifier has no form to export.")


def _deep_head(step: DeepHead) -> Step:
    features = np.asarray(step.columns)
    others = np.setdiff1d(np.arange(step.n_features_in_), features)

    def reduce(row: Row) -> Row:
        value = jnp.dot(row[features].astype(jnp.float64), jnp.asarray(step.slope_)) + step.offset_
        return jnp.concatenate([row[others].astype(jnp.float64), value[None]])

    return reduce


def _without_features(step: WithoutFeatures) -> Step:
    others = np.setdiff1d(np.arange(step.n_features_in_), np.asarray(step.columns))
    return lambda row: row[others]


def _clean(step: CleanTable) -> Step:
    """Of finite rows: what lies on the normal side is levelled, columns are dropped."""
    median, kept = np.asarray(step.median_, np.float32), np.asarray(step.kept_)
    # A float64 beyond float32 becomes infinite, and is then replaced as such.
    low, high = np.asarray(step.low_, np.float32), np.asarray(step.high_, np.float32)
    ends = np.zeros(median.size) if step.ends is None else np.asarray(step.ends)
    least = np.where(ends > 0, median, np.float32(-np.inf))
    most = np.where(ends < 0, median, np.float32(np.inf))

    def clean(row: Row) -> Row:
        row = row.astype(jnp.float32)
        row = jnp.where(row == jnp.inf, high, jnp.where(row == -jnp.inf, low, row))
        return jnp.minimum(jnp.maximum(row, least), most)[kept]

    return clean


def _clean_by_normals(step: CleanByNormals) -> Step:
    clean = _clean(step)
    used = np.isin(np.asarray(step.kept_), np.asarray(step.used_))
    return lambda row: jnp.where(used, clean(row), jnp.float32(0))


def _clean_upwards(step: CleanUpwards) -> Step:
    clean, signs = _clean(step), np.asarray(step.signs_, np.float32)
    return lambda row: clean(row) * signs


def _squash(step: Any) -> Step:
    """Of a step, or of a classifier, that holds the numbers of a `Squashing`."""

    def squash(row: Row) -> Row:
        ratio = NORMAL_IQR * (row.astype(jnp.float64) - step.median_) / step.spread_
        return (_arcsinh(ratio) - step.mean_) / step.scale_

    return squash


def _standardise(step: StandardScaler) -> Step:
    """Mean and deviation are float64, and the column is stored in float32 after each."""
    mean, scale = np.asarray(step.mean_, np.float64), np.asarray(step.scale_, np.float64)

    def standardise(row: Row) -> Row:
        centred = (row.astype(jnp.float64) - mean).astype(row.dtype)
        return (centred.astype(jnp.float64) / scale).astype(row.dtype)

    return standardise


def _forest(model: Any) -> Callable[[Row], Score]:
    """Mean over the trees of the share of abnormal rows in a leaf."""
    trees = [one.tree_ for one in model.estimators_]
    grove = make_grove(trees, lambda tree: tree.value[:, 0, 1])
    return lambda row: sum_in_order(leaf_values(grove, row)) / _apart(float(len(trees)))


def _gradient_boosting(model: Any) -> Callable[[Row], Score]:
    trees = [one.tree_ for one in model.estimators_[:, 0]]
    rate = float(model.learning_rate)
    grove = make_grove(trees, lambda tree: rate * tree.value[:, 0, 0])
    # Of the prior's probability alone: what the boosting starts from.
    start = float(model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))[0, 0])
    return lambda row: sum_in_order(leaf_values(grove, row), start)


def _ada_boost(model: Any) -> Callable[[Row], Score]:
    """Weighted votes; a tree votes for the class with the larger share in the leaf."""
    trees = [one.tree_ for one in model.estimators_]
    weights = model.estimator_weights_[: len(trees)]
    grove = make_grove(trees, lambda tree: np.argmax(tree.value[:, 0], axis=1))

    def score(row: Row) -> Score:
        abnormal = leaf_values(grove, row) == 1.0
        votes = sum_in_order(jnp.where(abnormal, weights, -weights)) / _apart(float(weights.sum()))
        return votes + votes

    return score


def _apart(divisor: float) -> Score:
    """A divisor that XLA does not turn into a factor, which would round in another way."""
    return jax.lax.optimization_barrier(jnp.asarray(divisor, jnp.float64))


def _linear(model: Any) -> Callable[[Row], Score]:
    slope, offset = np.asarray(model.coef_[0], np.float64), float(model.intercept_[0])
    return lambda row: jnp.sum(row.astype(jnp.float64) * slope) + offset


def _full_sensitivity(model: Any) -> Callable[[Row], Score]:
    hidden = tuple(int(width) for width in model.hidden)
    parameters, squash = jax.tree.map(np.asarray, model.parameters_), _squash(model)

    def score(row: Row) -> Score:
        table = squash(row).astype(jnp.float32)
        logits = jax.vmap(lambda one: member_logits(one, table[None], hidden)[0])(parameters)
        return (jnp.mean(logits.astype(jnp.float64)) - model.centre_) / model.unit_

    return score


def _arcsinh(x: Float64[Array, "k"]) -> Float64[Array, "k"]:
    """sign(x) log(|x| + sqrt(x^2 + 1)): runtimes have no arcsinh in float64."""
    size = jnp.abs(x)
    return jnp.sign(x) * jnp.log(size + jnp.sqrt(size * size + 1.0))


def _one_class(model: Any) -> Callable[[Row], Score]:
    middle = np.asarray(model.location_, np.float64)
    precision = np.asarray(model.precision_, np.float64)

    def score(row: Row) -> Score:
        away = row.astype(jnp.float64) - middle
        return jnp.dot(away, jnp.dot(jnp.asarray(precision), away))

    return score


def _svm(model: Any) -> Callable[[Row], Score]:
    vectors = np.asarray(model.support_vectors_, np.float64)
    weights, offset = np.asarray(model.dual_coef_[0], np.float64), float(model.intercept_[0])

    def score(row: Row) -> Score:
        squares = jnp.sum((row.astype(jnp.float64)[None] - vectors) ** 2, axis=1)
        return jnp.dot(jnp.exp(-float(model._gamma) * squares), jnp.asarray(weights)) + offset

    return score


def _jackknife_ridge(model: Any) -> Callable[[Row], Score]:
    def score(row: Row) -> Score:
        scaled = (row.astype(jnp.float64) - model.mean_) / model.scale_
        kernel = 1.0 + jnp.dot(jnp.asarray(model.rows_), scaled)
        values = jnp.dot(jnp.asarray(model.duals_), kernel)
        count = jnp.sum((model.lowest_ <= values).astype(jnp.float64))
        share = jnp.clip(jax.lax.logistic(jnp.mean(values)), 1e-9, 1 - 1e-9)
        return (count + share) / (model.n_groups_ + 1)

    return score


def _stacking(model: Any) -> Callable[[Row], Score]:
    below = [score_function(one) for one in model.below_]

    def score(row: Row) -> Score:
        total = jnp.asarray(model.offset_, jnp.float64)
        for one, mean, scale, weight in zip(
            below, model.mean_, model.scale_, model.weights_, strict=True
        ):
            total = total + weight * ((one(row) - mean) / scale)
        return total

    return score


def _single(model: Any) -> Callable[[Row], Score]:
    return lambda row: row[0].astype(jnp.float64)


MODELS: dict[str, Callable[[Any], Callable[[Row], Score]]] = {
    "extra_trees": _forest,
    "random_forest": _forest,
    "gradient_boosting": _gradient_boosting,
    "ada_boost": _ada_boost,
    "logistic_regression": _linear,
    "monotone": _linear,
    "average": _linear,
    "svm": _svm,
    "full_sensitivity": _full_sensitivity,
    "stacking": _stacking,
    "one_class": _one_class,
    "jackknife_ridge": _jackknife_ridge,
    "single": _single,
}
