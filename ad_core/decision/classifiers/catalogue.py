"""Classifiers by name: pipelines from a table of statistics to one score per image.

A classifier is a model in `models` and a line in CLASSIFIERS, which says how it is made and how it
is explained. Everything that is learnt from the table is inside the pipeline, whose last step
bears the classifier's name: a pipeline read from a file still tells its line.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ad_core.decision.classifiers import models
from ad_core.decision.classifiers.boosting import require_library
from ad_core.decision.classifiers.cleaning import CleanTable, chain_of
from ad_core.decision.classifiers.deep_head import HEAD, DeepHead, WithoutFeatures
from ad_core.decision.classifiers.fitting import imputed_score
from ad_core.decision.classifiers.models import WEIGHTS, Choices
from ad_core.decision.classifiers.monotone import CleanUpwards
from ad_core.decision.classifiers.pairwise_losses import LOSSES
from ad_core.decision.classifiers.proved_ridge import CleanByNormals
from ad_core.decision.classifiers.squashing import SquashedColumns
from ad_core.decision.explaining import attribution, trees
from ad_core.decision.explaining.attribution import Attribution, Rows
from ad_core.errors import UserError
from ad_core.statistics import is_feature, level_numbers
from ad_core.statistics.glossary import words

Weights = Float[np.ndarray, "k"]


class Line(NamedTuple):
    """Facts of a classifier.

    make: the unfitted model. explain: how it divides its score, from the fitted steps that follow
    cleaning and calibration normals [m, k] as they leave it. weigh: of the fitted model, how much
    each column counts as a whole (at least 0, any scale); None: its mean |push| on normals.
    scaled: the model sees standardised columns. needs_abnormals: it learns from abnormal rows too.
    one_statistic: it takes a single column. library: what must be installed for it. proved: its
    score carries a proof, which cleaning by abnormal rows, or a head on features, would break.
    one_sided: it would take what is more normal than usual for an anomaly, so cleaning levels that.
    upwards: the model sees columns that rise with abnormality, their far values squashed.
    """

    make: Callable[[Choices], Any]
    explain: Callable[[Pipeline, Rows], Attribution]
    weigh: Callable[[Any], Weights] | None = None
    scaled: bool = False
    needs_abnormals: bool = True
    one_statistic: bool = False
    library: str = ""
    proved: bool = False
    one_sided: bool = False
    upwards: bool = False


def _stacking(choices: Choices) -> Any:
    """Stacking; each classifier cleans for itself, so that no inner fold tells another anything."""
    barred = ["stacking"]
    barred += [name for name, of in CLASSIFIERS.items() if of.proved or not of.needs_abnormals]
    if not choices.stacked or set(barred) & set(choices.stacked):
        raise UserError(
            f"`stacked` (={choices.stacked}) must name classifiers other than "
            f"{', '.join(barred[:-1])} and {barred[-1]}."
        )
    below = [make_classifier(name, **choices._asdict()) for name in choices.stacked]
    return models.stacking(choices, below)


def _explain_stacking(model: Pipeline, normals: Rows) -> Attribution:
    stacked: Any = model[-1]
    below = [attribution_of(one, normals) for one in stacked.below_]
    return attribution.weighted_sum(below, stacked.weights_ / stacked.scale_)


def _occlusion(model: Pipeline, normals: Rows) -> Attribution:
    return attribution.occlusion(partial(imputed_score, model), normals)


def _impurity(model: Any) -> Weights:
    """The mean decrease of impurity by the questions to each column; boosted trees: the gain."""
    return model.feature_importances_


def _slope(model: Any) -> Weights:
    return np.abs(model.coef_[0])


def _precision(model: Any) -> Weights:
    """Rise of the score when this column alone deviates by one standard deviation."""
    return np.diag(model.precision_)


CLASSIFIERS: dict[str, Line] = {
    "extra_trees": Line(models.extra_trees, trees.forest, _impurity),
    "random_forest": Line(models.random_forest, trees.forest, _impurity),
    "logistic_regression": Line(
        models.logistic_regression, attribution.coefficients, _slope, scaled=True
    ),
    "ada_boost": Line(models.ada_boost, trees.ada_boost, _impurity),
    "gradient_boosting": Line(models.gradient_boosting, trees.gradient_boosting, _impurity),
    "xgboost": Line(models.xgboost, trees.boosted_elsewhere, _impurity, library="xgboost"),
    "lightgbm": Line(models.lightgbm, trees.boosted_elsewhere, _impurity, library="lightgbm"),
    "svm": Line(models.svm, _occlusion, scaled=True),
    "k_nn": Line(models.k_nn, _occlusion, scaled=True),
    "monotone": Line(models.monotone, attribution.coefficients, _slope, upwards=True),
    "full_sensitivity": Line(models.full_sensitivity, attribution.integrated_gradients),
    "stacking": Line(_stacking, _explain_stacking),
    "one_class": Line(
        models.one_class,
        attribution.squared_distance,
        _precision,
        scaled=True,
        needs_abnormals=False,
        one_sided=True,
    ),
    "conformal_ridge": Line(models.conformal_ridge, attribution.ridge_value, proved=True),
    "jackknife_ridge": Line(models.jackknife_ridge, attribution.ridge_value, proved=True),
    "average": Line(
        models.average, attribution.coefficients, _slope, scaled=True, needs_abnormals=False
    ),
    "single": Line(models.single, _occlusion, needs_abnormals=False, one_statistic=True),
}


def line_named(name: str) -> Line:
    """The line of CLASSIFIERS. Raises UserError, with the known names, if there is none."""
    if name not in CLASSIFIERS:
        known = f"auto, {', '.join(CLASSIFIERS)}, select"
        raise UserError(f"Unknown classifier {name!r}; known: {known}.")
    return CLASSIFIERS[name]


def line_of(classifier: Pipeline) -> Line:
    """The line that made `classifier`, fitted or not, in this process or in an earlier one."""
    return line_named(classifier.steps[-1][0])


def make_classifier(
    name: str,
    *,
    seed: int = 0,
    class_weight: str = "balanced",
    loss: str = "two_way",
    stacked: Sequence[str] = Choices().stacked,
    names: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> Pipeline:
    """The unfitted pipeline called `name`; fit it with `fit_classifier`. Options: see `Choices`.

    Args:
        names: of the table's columns, where some are of pooled features: those become the one
            column of a `DeepHead` first, or are left out of a classifier of normals alone.
        columns: names of those that count; (): all. Not for a classifier that looks at one side.

    Raises:
        UserError: `name` is not in CLASSIFIERS ("auto" is for `choose_classifier`), its library is
            not installed, or an option is unknown.
    """
    if class_weight not in WEIGHTS:
        raise UserError(f"`class_weight` (={class_weight!r}) must be one of {', '.join(WEIGHTS)}.")
    if loss not in LOSSES:
        raise UserError(f"`loss` (={loss!r}) must be one of {', '.join(LOSSES)}.")
    line = line_named(name)
    if line.library:
        require_library(line.library)
    scaling = [("scale", StandardScaler())] if line.scaled else []
    choices = Choices(seed, class_weight, loss, tuple(stacked))
    reducing = _only(columns, names) if columns else _reducing(line, choices, names)
    if line.proved:
        model = line.make(choices).set_params(features=_feature_columns(names))
        return Pipeline([("clean", CleanByNormals()), (name, model)])
    if line.upwards:
        upwards = CleanUpwards(_directions(names, columns))
        squashing = ("squash", SquashedColumns())
        return Pipeline([*reducing, ("clean", upwards), squashing, (name, line.make(choices))])
    cleaning = CleanTable(ends=_ends(names) if line.one_sided else None)
    return Pipeline([*reducing, ("clean", cleaning), *scaling, (name, line.make(choices))])


def _only(columns: Sequence[str], names: Sequence[str]) -> list[tuple[str, Any]]:
    """The step that takes all other columns out of the table; none where there are none."""
    others = np.flatnonzero([name not in columns for name in names])
    return [("features", WithoutFeatures(others))] if others.size else []


def _ends(names: Sequence[str]) -> list[int] | None:
    """The abnormal end of each column that is no pooled feature; None of a table without names."""
    return [words(name).end for name in names if not is_feature(name)] or None


def _directions(names: Sequence[str], columns: Sequence[str]) -> list[int] | None:
    """The abnormal end of each column that cleaning gets; None of a table without names."""
    kept = columns or [name for name in names if not is_feature(name)]
    in_order = [name for name in names if name in kept]
    head = [HEAD] if len(in_order) < len(names) and not columns else []
    return [words(name).end for name in (*in_order, *head)] or None


def _feature_columns(names: Sequence[str]) -> Int[np.ndarray, "_"]:
    return np.flatnonzero([is_feature(name) for name in names])


def _reducing(line: Line, choices: Choices, names: Sequence[str]) -> list[tuple[str, Any]]:
    columns = _feature_columns(names)
    if not columns.size:
        return []
    if not line.needs_abnormals:
        return [("features", WithoutFeatures(columns))]
    levels = np.array(level_numbers([name for name in names if is_feature(name)]))
    head = DeepHead(columns, levels, class_weight=choices.weight, random_state=choices.seed)
    return [("features", head)]


def attribution_of(classifier: Pipeline, normals: Rows) -> Attribution:
    """Attribution of a fitted classifier's score; a column that cleaning dropped pushes nothing.

    Args:
        normals: calibration rows to start from, as cleaning takes them.
    """
    chain = chain_of(classifier)
    cleaning = chain.cleaning

    def cleaned(rows: Rows) -> Float[np.ndarray, "n _"]:
        return cleaning.transform(rows).astype(np.float64)

    inside = line_of(classifier).explain(chain.model, cleaned(normals))

    def push(rows: Rows) -> Rows:
        pushes = np.zeros(rows.shape)
        pushes[:, cleaning.kept_] = inside.push(cleaned(rows))
        return pushes

    return inside._replace(push=push)
