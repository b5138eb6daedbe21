"""From a table of statistics to a decision: classifiers, thresholds and what they promise."""

from ad_core.decision.classifiers import pairwise_losses as losses
from ad_core.decision.classifiers.choices import choose_classifier, make_classifier
from ad_core.decision.classifiers.fitting import anomaly_score, fit_classifier
from ad_core.decision.classifiers.full_sensitivity import FullSensitivityClassifier
from ad_core.decision.classifiers.out_of_fold import out_of_fold_scores
from ad_core.decision.classifiers.persistence import load_classifier, save_classifier
from ad_core.decision.explaining.explainer import Explainer, Reason, important_statistics
from ad_core.decision.thresholds.abstention import AbstainBand
from ad_core.decision.thresholds.operation import cost_of_operation
from ad_core.decision.thresholds.threshold import Threshold, available_rules, fit_threshold

__all__ = [
    "AbstainBand",
    "Explainer",
    "FullSensitivityClassifier",
    "Reason",
    "Threshold",
    "anomaly_score",
    "available_rules",
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
