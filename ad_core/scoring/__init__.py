"""From images to verdicts: what a trained, calibrated detector does."""

from ad_core.scoring.detector import load_detector

__all__ = ["load_detector"]
