"""anomalib's AUPRO and AUPIMO of maps in a folder, asked by lines; started by benchmarks/aupro.py.

Needs PyTorch, NumPy and anomalib, which are no part of this project.
"""

import json
import sys
import time
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import anomalib  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from anomalib.metrics.aupro import _AUPRO  # noqa: E402
from anomalib.metrics.pimo.functional import aupimo_scores  # noqa: E402


def aupro(maps, masks):
    """AUPRO up to a FPR of 0.3."""
    metric = _AUPRO(fpr_limit=0.3)
    metric.update(maps, masks)
    return float(metric.compute())


def aupimo(maps, masks):
    """Mean of AUPIMO over the abnormal images, with anomalib's default bounds and grid."""
    scores = aupimo_scores(maps, masks)[4]
    return float(torch.nanmean(scores))


def main(folder):
    """Answers each line, "aupro" or "aupimo", by its value and seconds."""
    with np.load(Path(folder) / "maps.npz") as file:
        maps, masks = (torch.from_numpy(file[name]) for name in ("maps", "masks"))
    print(json.dumps({"version": anomalib.__version__}), flush=True)
    for line in sys.stdin:
        call = {"aupro": aupro, "aupimo": aupimo}[line.strip()]
        start = time.perf_counter()
        value = call(maps, masks)
        print(json.dumps({"value": value, "seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
