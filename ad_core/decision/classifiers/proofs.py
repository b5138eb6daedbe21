"""Proofs that classifiers carry of their own."""

from typing import Any

import numpy as np
from jaxtyping import Array, Shaped

from ad_core.decision.thresholds.given import Proof

Vector = Shaped[Array | np.ndarray, "n"]


def proof_of(classifier: Any, labels: Vector, groups: Vector) -> Proof | None:
    """The proof that the score of `classifier` carries, fitted on rows of these labels and groups.

    None for one whose score is not a rank among all abnormal groups.
    """
    final = classifier[-1]
    if not hasattr(final, "proof"):
        return None
    odd = np.asarray(labels).astype(bool)
    return final.proof(int(np.unique(np.asarray(groups)[odd]).size))
