"""Figures of merit of scores and of maps."""

from ad_core.metrics.pixels import aupimo, aupro, pixel_figures, pointing
from ad_core.metrics.ranking import auroc, average_precision, confusion, f1_max, oracle

__all__ = [
    "aupimo",
    "aupro",
    "auroc",
    "average_precision",
    "confusion",
    "f1_max",
    "oracle",
    "pixel_figures",
    "pointing",
]
