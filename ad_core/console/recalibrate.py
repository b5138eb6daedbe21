"""Thresholds fitted again with the defects of the line, and what they would change.

Networks, statistics and classifier stay as they are. The scores of the line are those of the
classifier in use, which has seen none of its images; the calibration images keep their out-of-fold
scores. Both together are exchangeable as far as the two kinds of score are alike, which a promise
calls "in practice". From the line's defects alone it is proved.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from ml_collections import ConfigDict

from ad_core.console.promise import DEFECT, Evidence, Judged
from ad_core.decision import Threshold, fit_threshold
from ad_core.decision.calibration import deciding, fit_thresholds
from ad_core.decision.facts import by_defect, lowest, read_scored
from ad_core.decision.table import StatisticsTable, joined
from ad_core.decision.thresholds.price import price
from ad_core.errors import UserError
from ad_core.inspection.findings import plural
from ad_core.scoring.detector import Parts
from ad_core.scoring.verdict import INSPECT, NORMAL

OWN, LOWEST, LINE = "own", "zfn", "line"  # what sets the threshold
WAYS = (OWN, LOWEST, LINE)
_BEYOND_SCORES = ("proved", "spi")  # rules that take more than scores of images
Scored = tuple[StatisticsTable, Float64[np.ndarray, "_"]]


class Refitted(NamedTuple):
    """Thresholds by rule, the rule that decides, and renewed facts of the calibration."""

    thresholds: dict[str, Threshold]
    rule: str
    facts: dict[str, Any]

    @property
    def threshold(self) -> Threshold:
        """Threshold that decides."""
        return self.thresholds[self.rule]


def refit(parts: Parts, evidence: Evidence, *, way: str = OWN) -> Refitted:
    """The thresholds of a detector, with what its line has found.

    The rules are fitted to the calibration images and the counted defects; then with the lowering
    ones too. The lower of both thresholds is taken, with the promise of the first: lowering a
    threshold keeps every bound. It rises only where the promise is at least the one asked for
    (`decision.miss_rate`) or the one that stood.

    Args:
        evidence: of images that this classifier has scored.
        way: what sets the threshold. OWN: the rule of the configuration. LOWEST: rule zfn. LINE:
            the counted defects alone, by rule miss_bound.

    Raises:
        UserError: an unknown way, a detector without its calibration scores, a rule that takes
            more than scores, or too few defects for it.
    """
    if way not in WAYS:
        raise UserError(f"Unknown way to recalibrate {way!r}; known: {', '.join(WAYS)}.")
    known = read_scored(parts.facts or {})
    counted = _with(known, evidence.counted)
    if way == LINE:
        found, reason = _from_line(parts, evidence), "the line's own defects set the threshold"
        rule = next(iter(found))
    else:
        found, rule, reason = _from_all(parts, counted, evidence, way)
    found[rule] = _kept_from_rising(found[rule], parts)
    found[rule] = _told(found[rule], evidence)
    facts = dict(parts.facts or {}) | _facts(parts, counted, found[rule], reason)
    facts["line"] = {
        "way": way,
        "counted": [part.image for part in evidence.counted],
        "lowering": [part.image for part in evidence.lowering],
        "waiting": evidence.waiting,
    }
    return Refitted({**parts.thresholds, **found}, rule, facts)


def _with(known: Scored, defects: Sequence[Judged]) -> Scored:
    """Scored images, and defects of the line after them."""
    table, scores = known
    count = len(defects)
    of_line = StatisticsTable(
        path=tuple(part.image for part in defects),
        label=np.ones(count, np.int64),
        defect=tuple(part.defect or DEFECT for part in defects),
        group=tuple(f"line/{part.group or part.image}" for part in defects),
        error=("",) * count,
        names=(),
        values=np.zeros((count, 0), np.float32),
    )
    return joined(table, of_line), np.concatenate([scores, _scores(defects)])


def _scores(parts: Sequence[Judged]) -> Float64[np.ndarray, "_"]:
    """The score of each part; NaN where there is none."""
    return np.array([np.nan if part.score is None else part.score for part in parts], np.float64)


def _from_all(
    parts: Parts, counted: Scored, evidence: Evidence, way: str
) -> tuple[dict[str, Threshold], str, str]:
    """Thresholds of all rules, the one that decides, and why it does."""
    decision = ConfigDict(parts.config.decision.to_dict())
    if way == LOWEST:
        decision.rule = LOWEST
    rule, reason = deciding(decision, counted[0].label, np.array(counted[0].group))
    if rule in _BEYOND_SCORES:
        raise UserError(
            f"The deciding rule {rule!r} takes more than the scores of images; calibrate the "
            "workdir again, or recalibrate by rule zfn."
        )
    decision.rule = rule
    first, refused = _fit(parts, decision, counted)
    if rule not in first:
        raise UserError(f"Rule {rule!r} gives no threshold: {refused[rule]}")
    second, _ = _fit(parts, decision, _with(counted, evidence.lowering))
    lower = {name: _lower(one, second.get(name, one)) for name, one in first.items()}
    return lower, rule, reason


def _fit(
    parts: Parts, decision: ConfigDict, given: Scored
) -> tuple[dict[str, Threshold], dict[str, str]]:
    (table, scores), of_line = given, "line/"
    split = str(parts.thresholds[parts.rule].fitted_on["split"]).removesuffix(" and line")
    came = any(group.startswith(of_line) for group in table.group)
    return fit_thresholds(
        scores,
        table.label,
        decision,
        split=f"{split} and line" if came else split,
        groups=np.array(table.group),
        defects=np.array(table.defect),
        left_out=len((parts.facts or {}).get("left_out", [])),
    )


def _from_line(parts: Parts, evidence: Evidence) -> dict[str, Threshold]:
    """The threshold by rule miss_bound of the counted defects alone, whose scores are in use."""
    decision = parts.config.decision

    def fit(defects: Sequence[Judged]) -> Threshold:
        return fit_threshold(
            "miss_bound",
            _scores(defects),
            np.ones(len(defects), np.int64),
            groups=np.array([part.group or part.image for part in defects]),
            split=LINE,
            miss_rate=decision.miss_rate,
            confidence=decision.confidence,
            out_of_fold=False,
        )

    first = fit(evidence.counted)
    return {first.rule: _lower(first, fit((*evidence.counted, *evidence.lowering)))}


def _lower(first: Threshold, second: Threshold) -> Threshold:
    """The lower value of two thresholds, with all else of the first."""
    return _at(first, min(first.value, second.value))


def _at(threshold: Threshold, value: float) -> Threshold:
    return Threshold(value, threshold.rule, threshold.fitted_on, threshold.guarantee)


def _kept_from_rising(after: Threshold, parts: Parts) -> Threshold:
    """The threshold at most at its former value, unless its promise is as good as one asked for."""
    before = parts.thresholds[parts.rule]
    bound = (after.guarantee or {}).get("miss_rate_bound")
    stood = (before.guarantee or {}).get("miss_rate_bound") or 0.0
    if bound is not None and bound <= max(parts.config.decision.miss_rate, stood):
        return after
    return _at(after, min(after.value, before.value))


def _told(threshold: Threshold, evidence: Evidence) -> Threshold:
    """The threshold with a promise that names the defects of the line."""
    promised = threshold.guarantee
    if promised is None or not (evidence.counted or evidence.lowering):
        return threshold
    told = f"{plural(len(evidence.counted), 'defect')} drawn on the line count in it"
    if evidence.lowering:
        told += f"; {len(evidence.lowering)} more could lower the threshold and do not count"
    statement = f"{promised['statement'].removesuffix('.')}; {told}."
    renewed = promised | {"statement": statement}
    return Threshold(threshold.value, threshold.rule, threshold.fitted_on, renewed)


def _facts(parts: Parts, counted: Scored, threshold: Threshold, reason: str) -> dict[str, Any]:
    table, scores = counted
    offers = (parts.facts or {}).get("price") or [{"confidence": parts.config.decision.confidence}]
    groups = np.array(table.group)
    return {
        "price": price(scores, table.label, groups, confidence=offers[0]["confidence"]),
        "lowest": lowest(table, scores),
        "defects": by_defect(table, scores, threshold),
        "reason": reason,
    }


class Flip(NamedTuple):
    """An image whose decision a new threshold turns. decision: the new one."""

    image: str
    score: float
    verdict: str
    defect: str
    decision: str


class Effect(NamedTuple):
    """Change that a new threshold makes on the images that the line has seen.

    alarms: share of all images that is inspected, before and after; None without images. flips:
    the images whose decision turns, defects that would pass first.
    """

    images: int
    alarms: tuple[float, float] | None
    flips: tuple[Flip, ...]


def effect(seen: Sequence[Judged], before: Threshold, after: Threshold) -> Effect:
    """The change from one threshold to another; images without a score are always inspected."""
    scores = _scores(seen)
    old, new = before.flags(scores), after.flags(scores)
    flips = [
        Flip(part.image, float(score), part.verdict, part.defect, INSPECT if flagged else NORMAL)
        for part, score, flagged, was in zip(seen, scores, new, old, strict=True)
        if flagged != was
    ]
    flips.sort(key=lambda flip: (flip.decision == INSPECT, flip.verdict != DEFECT, -flip.score))
    shares = (float(old.mean()), float(new.mean())) if len(seen) else None
    return Effect(len(seen), shares, tuple(flips))
