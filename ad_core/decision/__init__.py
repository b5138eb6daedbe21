"""Decisions from a table of statistics: classifiers, thresholds and their promises."""

from ad_core.decision.classifiers import pairwise_losses as losses
from ad_core.decision.classifiers.catalogue import make_classifier
from ad_core.decision.classifiers.fitting import anomaly_score, fit_classifier
from ad_core.decision.classifiers.full_sensitivity import FullSensitivityClassifier
from ad_core.decision.classifiers.out_of_fold import out_of_fold_scores
from ad_core.decision.explainer import Explainer, Reason, important_statistics
from ad_core.decision.persistence import load_classifier, save_classifier
from ad_core.decision.selection import choose_classifier
from ad_core.decision.thresholds.abstention import AbstainBand
from ad_core.decision.thresholds.operation import cost_of_operation
from ad_core.decision.thresholds.threshold import Threshold, fit_threshold

__all__ = [
    "AbstainBand",
    "Explainer",
    "FullSensitivityClassifier",
    "Reason",
    "Threshold",
    "anomaly_score",
    "choose_classifier",
    "cost_of_operation",
    "fit_classifier",
    "fit_threshold",
    "important_statistics",
    "load_classifier",
    "losses",
    "make_classifier",
    "out_of_fold_scores",
    "save_classifier",
]
