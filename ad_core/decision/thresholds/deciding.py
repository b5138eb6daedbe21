"""The deciding rule, where the choice is left to the number of abnormal images."""

from typing import NamedTuple

from ad_core.decision.thresholds import guarantees
from ad_core.decision.thresholds.guarantees import percent
from ad_core.inspection.findings import plural

AUTO = "auto"


class Deciding(NamedTuple):
    """A rule, and why it decides; no reason where it was named."""

    rule: str
    reason: str = ""


def deciding_rule(asked: str, n_groups: int, *, miss_rate: float, confidence: float) -> Deciding:
    """The rule asked for; `auto` is `zfn` or `miss_bound`, by the abnormal groups that calibrate.

    It takes `miss_bound` as soon as more than the lowest score keeps `miss_rate`, for then the
    lowest costs false alarms that the bound does not ask for: from 93 groups on for 5 % at 95 %.
    """
    if asked != AUTO:
        return Deciding(asked)
    rank = guarantees.umbrella_rank(n_groups, miss_rate, confidence)
    bound = f"{percent(miss_rate)} at {percent(confidence)} confidence"
    if rank >= 2:
        return Deciding(
            "miss_bound",
            f"`auto` took miss_bound: of {n_groups} abnormal groups {rank - 1} may fall below the "
            f"threshold that keeps {bound}, and the lowest score would cost more false alarms",
        )
    needed = guarantees.images_needed(miss_rate, confidence, rank=2)
    return Deciding(
        "zfn",
        f"`auto` took zfn: {plural(n_groups, 'abnormal group')} calibrated, and {needed} are "
        f"needed before more than the lowest score keeps {bound}",
    )
