"""Scoring: a trained, calibrated detector turns images into verdicts."""

from ad_core.scoring.files import load_detector, load_method

__all__ = ["load_detector", "load_method"]
