"""Three answers instead of two: what lies between two thresholds goes to a person."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Shaped

from ad_core.decision.thresholds.threshold import Threshold
from ad_core.errors import UserError

DECISIONS = ("normal", "person", "inspect")


@dataclass(frozen=True)
class AbstainBand:
    """Band of scores: normal below `lower`, inspect from `upper` on, a person's look in between.

    `lower` bounds the misses (zfn, np_umbrella, conformal_risk), `upper` the parts that are called
    abnormal unseen (target_fpr, normal_quantile). Each keeps its own guarantee: a part is missed
    only below `lower`, so the band adds no miss as long as the person makes none.

    Raises:
        UserError: `lower` lies above `upper`.
    """

    lower: Threshold
    upper: Threshold

    def __post_init__(self):
        if self.lower.value > self.upper.value:
            raise UserError(
                f"The lower threshold ({self.lower.rule} {self.lower.value:g}) of an abstain band "
                f"lies above the upper one ({self.upper.rule} {self.upper.value:g}): the classes "
                "are apart and need no band. Use the upper one alone, or a stricter rule below."
            )

    def decisions(self, scores: Shaped[Array | np.ndarray, "n"]) -> list[str]:
        """One of DECISIONS for each score; a score that is not a number is inspected."""
        above = self.lower.flags(scores).astype(int) + self.upper.flags(scores)
        return [DECISIONS[index] for index in above]
