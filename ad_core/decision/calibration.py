"""Calibration: fits a classifier and its thresholds to the statistics of calibration images."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from ml_collections import ConfigDict
from sklearn.pipeline import Pipeline

from ad_core.decision.classifiers.catalogue import CLASSIFIERS, line_of, make_classifier
from ad_core.decision.classifiers.fitting import anomaly_score, fit_classifier, resampled
from ad_core.decision.classifiers.grouped_folds import grouped_folds
from ad_core.decision.classifiers.out_of_fold import out_of_fold_scores
from ad_core.decision.classifiers.proofs import proof_of
from ad_core.decision.facts import facts_of
from ad_core.decision.left_out import LeftOut, left_out_rows
from ad_core.decision.selection import (
    Selection,
    check_criterion,
    choose_classifier,
    select_classifier,
)
from ad_core.decision.synthetic import (
    Candidate,
    SyntheticChoice,
    choose_by_synthetic,
    learn_chosen,
    unseen_scores,
    usable,
)
from ad_core.decision.table import StatisticsTable, select
from ad_core.decision.thresholds import guarantees
from ad_core.decision.thresholds.deciding import Deciding, deciding_rule
from ad_core.decision.thresholds.given import Proof
from ad_core.decision.thresholds.threshold import Threshold, fit_threshold
from ad_core.errors import UserError
from ad_core.statistics.table import GROUPS

# Of the section `decision`, what `fit_threshold` takes under the same name.
_RULE_OPTIONS = (
    "target_fpr",
    "normal_quantile",
    "confidence",
    "miss_rate",
    "delta",
    "miss_cost",
    "alarm_cost",
    "prevalence",
    "each_defect",
    "review_share",
)

SPI = "spi"  # the rule that made-up defects take part in
_MANY = 10_000  # made-up defects, as far as a check before them tells


class Calibration(NamedTuple):
    """Result of a calibration.

    classifier: fitted on all calibration images. name: which one. scores: of the calibration
    images in table order, each from a classifier that has not seen its group. thresholds: by
    rule. refused: rule -> why it has no threshold. selection: how the classifier was chosen, where
    it was. rule: the one that decides. facts: see `facts_of`; and "reason", why the rule decides;
    "synthetic", the choice by made-up defects (`SyntheticChoice.to_dict`) or None.
    """

    classifier: Pipeline
    name: str
    scores: Float64[np.ndarray, " n"]
    thresholds: dict[str, Threshold]
    refused: dict[str, str]
    selection: Selection | None
    rule: str
    facts: dict[str, Any]


def calibrate(
    table: StatisticsTable,
    decision: ConfigDict,
    *,
    split: str,
    seed: int,
    left_out: Sequence[LeftOut] = (),
    synthetic: StatisticsTable | None = None,
) -> Calibration:
    """Fits the classifier and every rule of `decision`; unreadable images are left out.

    Args:
        decision: the section of the configuration.
        split: where the table comes from; "test" is refused.
        left_out: images that a person left out.
        synthetic: made-up defects in normal images of the table. Where no image is abnormal, they
            choose what the classifier "auto" is; they count nowhere.

    Raises:
        UserError: too few images, an unknown name, or the deciding rule has no threshold.
    """
    check_single(decision.classifier, table.names)
    table = select(table, table.readable & ~left_out_rows(table, left_out))
    labels, groups = table.label, np.array(table.group)
    made_up = None if synthetic is None else usable(synthetic, table)
    choice = _choose_by_synthetic(decision, table, made_up, seed=seed)
    if choice is None or made_up is None:
        decided = _learn(decision, table, made_up, seed=seed)
    else:
        make = partial(_make_candidate, decision, table, seed=seed)
        given = {"folds": decision.folds, "seed": seed, "resample": decision.resample}
        decided = _Decided(
            str(choice.chosen), *learn_chosen(make, choice.chosen, table, made_up, **given)
        )
    name, scores, classifier, selection, odd = decided
    thresholds, refused = fit_thresholds(
        scores,
        labels,
        decision,
        split=split,
        groups=groups,
        defects=np.array(table.defect),
        left_out=len(left_out),
        proof=_proof(decision, name, classifier, table),
        synthetic=odd,
    )
    rule, reason = deciding(decision, labels, groups)
    _require_rules(decision, rule, thresholds, refused)
    level = guarantees.level(decision.confidence, _candidates(decision))
    facts = facts_of(table, scores, thresholds[rule], left_out=left_out, confidence=level)
    facts["reason"] = reason
    facts["synthetic"] = choice and choice.to_dict()
    return Calibration(classifier, name, scores, thresholds, refused, selection, rule, facts)


class _Decided(NamedTuple):
    """A classifier by its name, with scores of the table and of made-up defects that it knows not.

    synthetic: None where no rule asks for them.
    """

    name: str
    scores: Float64[np.ndarray, " n"]
    classifier: Pipeline
    selection: Selection | None = None
    synthetic: Float64[np.ndarray, " m"] | None = None


def _learn(
    decision: ConfigDict, table: StatisticsTable, made_up: StatisticsTable | None, *, seed: int
) -> _Decided:
    """The classifier that the configuration names or leaves to the images of the table."""
    groups = np.array(table.group)
    name, selection = _choose(decision, table, seed=seed)
    make = partial(make_by, decision, name, seed=seed, names=table.names)
    given = {"resample": decision.resample, "seed": seed}
    rows = table.values, table.label
    scores = out_of_fold_scores(make, *rows, groups, folds=decision.folds, **given)
    classifier = fit_classifier(make(), *rows, groups=groups, **given)
    odd = None
    if made_up is not None and asks_for_synthetic(decision):
        _, odd = unseen_scores(make, table, made_up, teach=None, folds=decision.folds, **given)
    return _Decided(name, scores, classifier, selection, odd)


def _proof(
    decision: ConfigDict, name: str, classifier: Pipeline, table: StatisticsTable
) -> Proof | None:
    """The proof of a classifier that was named, and that no row was drawn for more than once."""
    if decision.classifier != name or decision.resample != "none":
        return None
    return proof_of(classifier, table.label, np.array(table.group))


def _choose_by_synthetic(
    decision: ConfigDict,
    table: StatisticsTable,
    made_up: StatisticsTable | None,
    *,
    seed: int,
) -> SyntheticChoice | None:
    """The choice of the classifier "auto" without abnormal images; None where they choose none."""
    if made_up is None or not made_up.path or decision.classifier != "auto" or table.label.any():
        return None
    make = partial(_make_candidate, decision, table, seed=seed)
    return choose_by_synthetic(
        make,
        table,
        made_up,
        weigh=decision.synthetic == "weigh",
        folds=decision.folds,
        seed=seed,
        resample=decision.resample,
    )


def _make_candidate(
    decision: ConfigDict, table: StatisticsTable, candidate: Candidate, *, seed: int
) -> Pipeline:
    names = table.names
    return make_by(
        decision, candidate.name, seed=seed, names=names, columns=candidate.columns(names)
    )


def make_by(
    decision: ConfigDict,
    name: str,
    *,
    seed: int,
    names: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> Pipeline:
    """The unfitted classifier `name` with the options of the section `decision`.

    Args:
        names: of the table's columns. columns: those that count, see `make_classifier`.
    """
    return make_classifier(
        name,
        seed=seed,
        class_weight=decision.class_weight,
        loss=decision.loss,
        stacked=decision.stacked,
        names=names,
        columns=columns,
    )


def _choose(
    decision: ConfigDict, table: StatisticsTable, *, seed: int
) -> tuple[str, Selection | None]:
    groups = np.array(table.group)
    name = choose_classifier(decision.classifier, table.label, groups, table.names)
    if name != "select":
        return name, None
    selection = select_classifier(
        partial(make_by, decision, seed=seed, names=table.names),
        decision.candidates,
        table.values,
        table.label,
        groups,
        criterion=decision.criterion,
        folds=decision.folds,
        seed=seed,
        resample=decision.resample,
    )
    return selection.name, selection


def check_decision(
    decision: ConfigDict, labels: np.ndarray, groups: np.ndarray, *, split: str
) -> None:
    """Refuses, before anything is trained, what these calibration images can never decide.

    Raises:
        UserError: as `calibrate`, as far as labels, groups and names tell.
    """
    name = choose_classifier(decision.classifier, labels, groups)
    names = decision.candidates if name == "select" else (name,)
    made = [make_by(decision, one, seed=0) for one in names]
    if name == "select":
        check_criterion(decision.criterion)
    if name == "select" or line_of(made[0]).needs_abnormals:
        resampled(labels, decision.resample, seed=0)
    plain = name != "select" and decision.resample == "none"
    proof = proof_of(made[0], labels, groups) if plain else None
    # What made-up defects score is not known yet, and refuses nothing.
    given = {"groups": groups, "split": split, "proof": proof, "synthetic": np.zeros(_MANY)}
    fitted = fit_thresholds(np.zeros(len(labels)), labels, decision, **given)
    _require_rules(decision, deciding(decision, labels, groups).rule, *fitted)


def check_single(classifier: str, names: Sequence[str]) -> None:
    """Refuses a classifier of one statistic, "single", for anything but the name of one.

    Raises:
        UserError: several names, or a group of them.
    """
    takes_one = classifier in CLASSIFIERS and CLASSIFIERS[classifier].one_statistic
    if takes_one and (len(names) != 1 or names[0] in GROUPS):
        told = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise UserError(
            f"`decision.classifier` (={classifier!r}) takes one statistic as the score, and "
            f"`statistics.names` gives {told}; name one, as in --config.statistics.names=sse."
        )


def rules_of(decision: ConfigDict, rule: str) -> tuple[str, ...]:
    """Every rule asked for, once: `rules`, the deciding `rule`, and the one of review."""
    return tuple(dict.fromkeys((*decision.rules, rule, *filter(None, [decision.review]))))


def asks_for_synthetic(decision: ConfigDict) -> bool:
    """Tells whether some rule needs made-up defects beside abnormal images."""
    return SPI in rules_of(decision, decision.rule)


def _candidates(decision: ConfigDict) -> int:
    """Number of classifiers that the calibration images choose from."""
    return len(decision.candidates) if decision.classifier == "select" else 1


def deciding(decision: ConfigDict, labels: np.ndarray, groups: np.ndarray | None) -> Deciding:
    """The rule that decides, by the abnormal groups that calibrate, and why."""
    odd = np.asarray(labels).astype(bool)
    names = np.arange(odd.size) if groups is None else np.asarray(groups)
    return deciding_rule(
        decision.rule,
        int(np.unique(names[odd]).size),
        miss_rate=decision.miss_rate,
        confidence=guarantees.level(decision.confidence, _candidates(decision)),
    )


def _require_rules(
    decision: ConfigDict,
    decides: str,
    thresholds: Mapping[str, Threshold],
    refused: Mapping[str, str],
) -> None:
    for key, rule in (("rule", decides), ("review", decision.review)):
        if not rule or rule in thresholds:
            continue
        mend = "normal_quantile" if "normal_quantile" in thresholds else next(iter(thresholds), "")
        raise UserError(
            f"`decision.{key}` (={decision[key]!r}) cannot decide: {refused[rule]}"
            + (f" Or give --config.decision.{key}={mend}." if mend else "")
        )


def fit_thresholds(
    scores: Float[np.ndarray, " n"],
    labels: np.ndarray,
    decision: ConfigDict,
    *,
    split: str,
    groups: np.ndarray | None = None,
    **facts: Any,
) -> tuple[dict[str, Threshold], dict[str, str]]:
    """Rule -> threshold, and rule -> reason for each rule that refuses.

    Args:
        groups, facts: of the images, as `fit_threshold` takes them.
    """
    options = {option: decision[option] for option in _RULE_OPTIONS}
    options |= {"split": split, "groups": groups, "value": decision.threshold} | facts
    options["candidates"] = _candidates(decision)
    chosen = deciding(decision, labels, groups)
    thresholds: dict[str, Threshold] = {}
    refused: dict[str, str] = {}
    # The deciding rule first: that of review may begin at its threshold.
    names = rules_of(decision, chosen.rule)
    for rule in sorted(names, key=lambda rule: rule != chosen.rule):
        lower = thresholds[chosen.rule].value if chosen.rule in thresholds else None
        try:
            thresholds[rule] = fit_threshold(rule, scores, labels, lower=lower, **options)
        except UserError as error:
            refused[rule] = str(error)
    return {rule: thresholds[rule] for rule in names if rule in thresholds}, refused


class CrossFitted(NamedTuple):
    """Every image of a pool judged by a classifier and thresholds that have not seen it.

    flags: rule -> whether the image is to be inspected.
    """

    scores: Float64[np.ndarray, " n"]
    flags: dict[str, np.ndarray]


def cross_fit(
    table: StatisticsTable,
    decision: ConfigDict,
    *,
    seed: int,
    left_out: Sequence[LeftOut] = (),
) -> CrossFitted:
    """The held-out view of a pool (protocol vqganodip): calibration within each fold's rest.

    Args:
        table: the pool, images with an error left out by the caller.
        left_out: images that calibrate in no fold; they are judged like the others.
    """
    groups = np.array(table.group)
    scores = np.full(len(table.path), np.nan)
    flags: dict[str, np.ndarray] = {}
    rule = deciding(decision, table.label, groups).rule
    for fit, judge in grouped_folds(table.label, groups, folds=decision.folds, seed=seed):
        part = select(table, fit)
        calibration = calibrate(part, decision, split="pool", seed=seed, left_out=left_out)
        scores[judge] = anomaly_score(calibration.classifier, table.values[judge])
        # With fewer images than the pool a fold may come to another deciding rule.
        thresholds = calibration.thresholds | {rule: calibration.thresholds[calibration.rule]}
        for name, threshold in thresholds.items():
            flags.setdefault(name, np.ones(len(scores), bool))[judge] = threshold.flags(
                scores[judge]
            )
    return CrossFitted(scores, flags)
