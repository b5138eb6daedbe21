"""From images to verdicts: what a trained, calibrated detector does."""

from ad_core.scoring.files import load_detector, load_method

__all__ = ["load_detector", "load_method"]
