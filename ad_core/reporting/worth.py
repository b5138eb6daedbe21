"""Worth of a detector in plain sentences, from its own results; needs nothing but results.json.

Terminal and report say it in the same words.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

FEW = 0.1  # share of good parts inspected, up to which a detector saves nearly all the work
LITTLE_WORK = 0.5  # the share beyond which it saves little
NO_WORK = 0.9  # the share beyond which it saves hardly any
WEAK = 0.1  # bound on the misses beyond which a promise is worth little
UNLIKELY = 0.05  # probability below which misses contradict the promise
GAIN = 0.05  # share of good parts that more abnormal images have to spare to be worth having
UNLIKE = 0.05  # difference of shares from which on parts that judge are said to be unlike
WANTED = 0.05  # bound that a firmer promise is told to take
GOOD, FAIR, BAD, OPEN = "good", "fair", "bad", "open"


class Worth(NamedTuple):
    """A detector's worth.

    level: GOOD, FAIR, BAD, or OPEN where nothing has judged it. verdict: how it did on images
    that decided nothing. advice: what would spare good parts or make the promise firmer; ""
    where the figures do not say. promise: about defects to come.
    """

    level: str
    verdict: str
    advice: str
    promise: str


def worth(results: Mapping[str, Any]) -> str:
    """Sentences on how the detector did on images that decided nothing, and what it promises.

    Args:
        results: the content of results.json.
    """
    found = appraise(results)
    return f"{found.verdict} {found.promise}"


def appraise(results: Mapping[str, Any]) -> Worth:
    """Worth of the detector, by its deciding rule, which must have a threshold.

    Args:
        results: the content of results.json.
    """
    of = results["held_out"][results["rule"]]
    advice = f"{_advice(of, results.get('price') or [])} {_firmer(of)}".strip()
    grouping = results.get("grouping") or {}
    alike = bool(grouping.get("runs") or grouping.get("copies"))
    promise = f"{_promised(of, alike)}{_doubted(of, grouping.get('doubt', ''))}"
    promise = f"{promise}{_drifted(of, results)}{_made_up(of, results)}"
    return Worth(_level(of), _judged(of), advice, promise)


def _level(of: Mapping[str, Any]) -> str:
    abnormal, normal, bound = of["tp"] + of["fn"], of["fp"] + of["tn"], _bound(of)
    if not abnormal + normal:
        return OPEN
    alarms = of["fp"] / normal if normal else 0.0
    if _beyond_promise(of) or alarms > NO_WORK:
        return BAD
    sound = abnormal and normal and bound is not None and bound <= WEAK
    return GOOD if sound and not of["fn"] and alarms <= FEW else FAIR


def _bound(of: Mapping[str, Any]) -> float | None:
    return (of.get("guarantee") or {}).get("miss_rate_bound")


def _beyond_promise(of: Mapping[str, Any]) -> bool:
    """Tells whether so many misses are unlikely if the promise holds; any are without one."""
    missed, abnormal, bound = of["fn"], of["tp"] + of["fn"], _bound(of)
    if not missed or bound is None:
        return bool(missed)
    fewer = (
        math.comb(abnormal, k) * bound**k * (1 - bound) ** (abnormal - k) for k in range(missed)
    )
    return 1 - sum(fewer) < UNLIKELY


def _judged(of: Mapping[str, Any]) -> str:
    abnormal, normal = of["tp"] + of["fn"], of["fp"] + of["tn"]
    if not abnormal + normal:
        return "No image was left to test this detector, so nothing has judged it yet."
    alarms = f"{_count(of['fp'], normal, 'good part')} would be inspected in vain"
    alarms = alarms if normal else "there was no good part to inspect in vain"
    yet = "but" if abnormal and not of["fn"] and _saving(of) else "and"
    return (
        f"On images that decided nothing, {_missed(of['fn'], abnormal)}, {yet} {alarms}{_so(of)}."
    )


def _so(of: Mapping[str, Any]) -> str:
    """Conclusion from the counts, where there is one to draw."""
    so = " and ".join(filter(None, [_passing(of), _saving(of)]))
    return f": {so}" if so else ""


def _passing(of: Mapping[str, Any]) -> str:
    if not of["fn"]:
        return ""
    if _bound(of) is None:
        return "it lets defects pass"
    if _beyond_promise(of):
        return "it lets more defects pass than it promised"
    return "it lets defects pass as its promise allows"


def _saving(of: Mapping[str, Any]) -> str:
    normal = of["fp"] + of["tn"]
    alarms = of["fp"] / normal if normal else 0.0
    if alarms > NO_WORK:
        return "it saves hardly any work"
    return "it saves little work" if alarms > LITTLE_WORK else ""


def _missed(missed: int, abnormal: int) -> str:
    if not abnormal:
        return "there was no defective part to miss"
    return f"{_count(missed, abnormal, 'defective part')} slipped through"


def _count(count: int, whole: int, noun: str) -> str:
    parts = f"{whole:,} {noun}{'s' * (whole != 1)}"
    return f"{f'{count:,}' if count else 'none'} of {parts}"


def _advice(of: Mapping[str, Any], price: Sequence[Mapping[str, Any]]) -> str:
    """Sentences on what would spare good parts; "" where too few are inspected or it is not known.

    With ever more of n groups the same bound can be kept by a score near the bound's own quantile
    of the abnormal ones, the (bound n)-th lowest; what that inspects of known images is its cost.
    """
    normal, bound = of["fp"] + of["tn"], _bound(of)
    if bound is None or of["fp"] <= FEW * normal:
        return ""
    kept = [offer for offer in price if offer["threshold"] is not None]
    now = [offer for offer in kept if offer["threshold"] == of["threshold"]]
    if not now:
        return ""
    reach = math.floor(bound * of["guarantee"]["n_groups"] + 1e-9)
    if reach > kept[-1]["rank"]:
        return ""
    last = [offer for offer in kept if offer["rank"] <= max(reach, now[0]["rank"])][-1]
    return f"{_helped(_cost(now[0]), _cost(last))}{_unlike(now[0])}"


def _cost(offer: Mapping[str, Any]) -> float:
    """Share of good parts inspected, of the test split where it judges."""
    return (offer.get("test") or offer["calibration"])["fpr"]


def _helped(cost: float, limit: float) -> str:
    better = (
        " A score that tells the parts apart better would; larger images or another method may "
        "give one."
    )
    if cost - limit < GAIN:
        return (
            "More abnormal images would hardly help: even with many of them the same promise would "
            f"cost about {100 * limit:.0f} % of the good parts.{better}"
        )
    if limit <= LITTLE_WORK:
        return (
            "More abnormal images would probably help: with many of them the same promise would "
            f"cost about {100 * limit:.0f} % of the good parts instead of {100 * cost:.0f} %."
        )
    return (
        "More abnormal images alone would not do: with many of them the same promise would still "
        f"cost about {100 * limit:.0f} % of the good parts, now {100 * cost:.0f} %.{better}"
    )


def _firmer(of: Mapping[str, Any]) -> str:
    """Sentence on the abnormal images that a weak promise wants; "" for any other.

    The lowest of n scores keeps the bound b where (1 - b)^n is at most 1 - confidence.
    """
    promise, bound = of.get("guarantee") or {}, _bound(of)
    if bound is None or bound <= WEAK or not promise["confidence"] or "n_groups" not in promise:
        return ""
    wanted = math.ceil(math.log(1 - promise["confidence"]) / math.log(1 - WANTED) - 1e-9)
    more = wanted - promise["n_groups"]
    if more <= 0:
        return ""
    wants = f"{more} more" if _each_alone(promise) else f"those of {more} more parts or patients"
    return (
        f"The promise is weak for want of abnormal images: {wants} would allow one of "
        f"{1000 * WANTED:.0f} in 1,000."
    )


def _unlike(offer: Mapping[str, Any]) -> str:
    """Sentence on good parts of the test split that are not like those that calibrated, if so.

    The shares inspected differ by more than UNLIKE and three standard errors (two proportions).
    """
    known, test = offer["calibration"], offer.get("test")
    if not (test and test["normal"] and known["normal"]):
        return ""
    share = (known["fp"] + test["fp"]) / (known["normal"] + test["normal"])
    error = math.sqrt(share * (1 - share) * (1 / known["normal"] + 1 / test["normal"]))
    if abs(test["fpr"] - known["fpr"]) <= max(UNLIKE, 3 * error):
        return ""
    return (
        " The good parts of the test split are not like those that calibrated: "
        f"{100 * test['fpr']:.0f} % of the former are inspected, {100 * known['fpr']:.0f} % of the "
        "latter."
    )


def _doubted(of: Mapping[str, Any], doubt: str) -> str:
    """Sentence on images that may not be independent, where a promise rests on them; else ""."""
    if not doubt or _bound(of) is None:
        return ""
    return f" The promise assumes independent images, but {doubt}: it may be broken."


def _drifted(of: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Sentence on a test split that does not look like what calibrated the promise; else ""."""
    drift = results.get("drift") or {}
    if not drift.get("drifted") or _bound(of) is None:
        return ""
    statement = drift["statement"]
    return f" {statement[0].upper()}{statement[1:]}."


def _made_up(of: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Sentence on made-up defects that chose the score of a detector without a promise; else ""."""
    choice = results.get("synthetic") or {}
    kinds = choice.get("kinds")
    if not kinds or not choice.get("by_defects", True) or _bound(of) is not None:
        return ""
    return f" {sum(kinds.values())} made-up defects chose its score; they promise nothing."


def _each_alone(promise: Mapping[str, Any]) -> bool:
    return promise.get("n_groups", promise["n_abnormal"]) == promise["n_abnormal"]


def _went_by(promise: Mapping[str, Any], alike: bool) -> str:
    """Abnormal images that a promise rests on, and what they count as where groups count once."""
    count = promise["n_abnormal"]
    images = f"{count} abnormal image{'s' * (count != 1)}"
    if _each_alone(promise):
        return images
    groups = promise["n_groups"]
    if alike:
        return f"{images}, which look like {groups} part{'s' * (groups != 1)},"
    return f"{images} of {groups} group{'s' * (groups != 1)}"


def _promised(of: Mapping[str, Any], alike: bool) -> str:
    promise = of.get("guarantee") or {}
    bound, count = promise.get("miss_rate_bound"), promise.get("n_abnormal") or 0
    if bound is None:
        known = "abnormal images did not set its threshold" if count else "no defect calibrated it"
        return (
            f"It promises nothing about defects, for {known}: give abnormal images to learn how "
            "many of them it misses."
        )
    passing = math.ceil(1000 * bound - 1e-9)
    if passing >= 1000:
        return f"From {count} abnormal images nothing can be promised about defects: give more."
    images = _went_by(promise, alike)
    if promise["confidence"] is None:
        return (
            f"Of 1,000 defective parts up to {passing} may pass on average, going by {images} and "
            "if future parts are like them."
        )
    return (
        f"Of 1,000 defective parts up to {passing} may pass; we are "
        f"{100 * promise['confidence']:.3g} % sure, going by {images} and if future parts are "
        "like them."
    )
