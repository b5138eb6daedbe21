"""Cost for an operator: false alarms and misses among the parts of a line."""

from typing import NamedTuple

from scipy.stats import beta

from ad_core.errors import UserError


class Rate(NamedTuple):
    """An estimate with its exact (Clopper-Pearson) two-sided interval."""

    estimate: float
    low: float
    high: float


class Operation(NamedTuple):
    """False alarms per 1,000 parts, and misses per million parts."""

    false_alarms_per_thousand: Rate
    misses_per_million: Rate


def cost_of_operation(
    *, tp: int, fn: int, fp: int, tn: int, prevalence: float, confidence: float = 0.95
) -> Operation:
    """The price of a threshold at a prevalence, from counts on images that did not choose it.

    False alarms per thousand: 1000 (1 - prevalence) fp / (fp + tn). Misses per million:
    10^6 prevalence fn / (fn + tp). The intervals are those of the two shares, scaled; the
    prevalence is taken as known.

    Args:
        prevalence: share of abnormal parts on the line, in (0, 1); not that of the images.

    Raises:
        UserError: a class without images, or a share out of range.
    """
    for name, share in (("prevalence", prevalence), ("confidence", confidence)):
        if not 0 < share < 1:
            raise UserError(f"`{name}` (={share}) must lie in (0, 1).")
    if tp + fn == 0 or fp + tn == 0:
        raise UserError(f"{tp + fn} abnormal and {fp + tn} normal images; both kinds are needed.")
    return Operation(
        _scaled(fp, fp + tn, 1e3 * (1.0 - prevalence), confidence),
        _scaled(fn, fn + tp, 1e6 * prevalence, confidence),
    )


def _scaled(count: int, total: int, scale: float, confidence: float) -> Rate:
    tail = (1.0 - confidence) / 2.0
    low = float(beta.ppf(tail, count, total - count + 1)) if count else 0.0
    high = float(beta.ppf(1.0 - tail, count + 1, total - count)) if count < total else 1.0
    return Rate(scale * count / total, scale * low, scale * high)
