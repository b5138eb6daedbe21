"""From a table of statistics to a decision: classifiers, thresholds and what they promise."""

from ad_core.decision.thresholds import Threshold, available_rules, fit_threshold

__all__ = ["Threshold", "available_rules", "fit_threshold"]
