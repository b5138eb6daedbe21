"""Rules that bound the misses by the ranks of abnormal scores."""

import math

from ad_core.decision.thresholds import guarantees
from ad_core.decision.thresholds.given import Calibrating, Options
from ad_core.decision.thresholds.guarantees import Guarantee
from ad_core.errors import UserError

# Abnormal groups of a type of defect from which on it can be given a line of its own.
LEAST_GROUPS = 20


def zfn(given: Calibrating, options: Options) -> tuple[float, Guarantee]:
    """The lowest score of an abnormal image: none of them passes, and the fewest normals alarm."""
    promised = guarantees.lowest_score_guarantee(given.counted, options.terms)
    return _each_defect(given.parts[0], promised, given, options, lowest=True)


def miss_bound(given: Calibrating, options: Options) -> tuple[float, Guarantee]:
    """The highest k-th lowest score of an abnormal group that keeps `miss_rate`.

    The miss rate is Beta(k, n - k + 1) over n groups, and exceeds `miss_rate` with probability at
    most 1 - `confidence`: 59 groups keep 5 % at 95 % with k = 1, 93 with 2, 124 with 3, 153 with 4.

    Source: David and Nagaraja, Order Statistics, 2003, section 2.5 (coverage of an interval that
    ends at an order statistic).
    """
    n = int(given.parts.size)
    level = options.terms.level
    rank = guarantees.umbrella_rank(n, options.miss_rate, level)
    if rank < 1:
        raise UserError(
            f"Rule 'miss_bound' cannot keep `miss_rate` (={options.miss_rate}): "
            f"{guarantees.unreachable(n, options.miss_rate, level)}. Add some, raise "
            f"`miss_rate`, or use 'zfn', which promises what {n} can."
        )
    promised = guarantees.rank_guarantee(rank, given.counted, options.terms)
    return _each_defect(given.parts[rank - 1], promised, given, options)


def _each_defect(
    value: float,
    promised: Guarantee,
    given: Calibrating,
    options: Options,
    *,
    lowest: bool = False,
) -> tuple[float, Guarantee]:
    """The line lowered until each type of defect with enough groups keeps a bound of its own.

    The bound of a type is `miss_rate` where its groups allow it, else that of its lowest score;
    always the latter where the line lies at the `lowest` score of all. Each holds by itself with
    the confidence asked for. A lower line keeps every other bound.
    """
    if not options.each_defect:
        return value, promised
    level, bounds = options.terms.level, {}
    for defect, scores in given.defects.items():
        if scores.size < LEAST_GROUPS:
            continue
        allowed = guarantees.umbrella_rank(scores.size, options.miss_rate, level)
        rank = 1 if lowest else max(1, allowed)
        value = min(value, scores[rank - 1])
        bounds[defect] = guarantees.rank_bound(rank, scores.size, level)
    told = ", ".join(f"{name} {guarantees.percent(bound)}" for name, bound in bounds.items())
    head = promised["statement"].removesuffix(".")
    none = f"no type of defect has the {LEAST_GROUPS} groups that a bound of its own takes"
    statement = f"{head}; " + (f"by itself, each: {told}" if bounds else none) + "."
    return value, promised | {"statement": statement, "defects": bounds}


def np_umbrella(given: Calibrating, options: Options) -> tuple[float, Guarantee]:
    """The highest k-th abnormal score with P(miss rate > `miss_rate`) <= `delta`.

    P(Binomial(n, miss_rate) < k) must not exceed delta: the Neyman-Pearson umbrella
    with the abnormal class protected, and at once the largest threshold whose exact binomial
    bound is at most `miss_rate`.

    Source: Tong, Feng and Li, Neyman-Pearson classification algorithms and NP receiver operating
    characteristics, Science Advances 2018.
    """
    n = int(given.parts.size)
    confidence = 1.0 - options.delta
    terms = options.terms._replace(confidence=confidence)
    rank = guarantees.umbrella_rank(n, options.miss_rate, terms.level)
    if rank < 1:
        needed = guarantees.images_needed(options.miss_rate, terms.level)
        raise UserError(
            f"Rule 'np_umbrella' needs {needed} abnormal calibration images to promise at most "
            f"`miss_rate` (={options.miss_rate}) with confidence {confidence:g}; there are "
            f"{n}. Add some, or use 'zfn', which promises what {n} can."
        )
    return given.parts[rank - 1], guarantees.rank_guarantee(rank, given.counted, terms)


def conformal_risk(given: Calibrating, options: Options) -> tuple[float, Guarantee]:
    """The highest k-th abnormal score with an expected miss rate k / (n + 1) <= `miss_rate`.

    Where the images chose among c classifiers, c k / (n + 1): the sum bounds the mean of whichever.

    Source: Angelopoulos et al., Conformal Risk Control, ICLR 2024, for the miss rate.
    """
    n = int(given.parts.size)
    rank = math.floor(options.miss_rate * (n + 1) / options.candidates + 1e-9)
    if rank < 1:
        needed = math.ceil(options.candidates / options.miss_rate - 1e-9) - 1
        raise UserError(
            f"Rule 'conformal_risk' needs {needed} abnormal "
            f"calibration images for an expected `miss_rate` (={options.miss_rate}); there are "
            f"{n}. Add some, or use 'zfn', which promises what {n} can."
        )
    return given.parts[rank - 1], guarantees.rank_guarantee(rank, given.counted, options.terms)


def proved(given: Calibrating, options: Options) -> tuple[float, Guarantee]:
    """The highest rank whose expected miss rate, by the classifier's own proof, is `miss_rate`.

    The classifier's score is a share of the abnormal groups, found with the image itself among
    them, so that no out-of-fold score is asked and no classifier is fitted again afterwards.
    """
    proof = options.proof
    if proof is None:
        raise UserError(
            "Rule 'proved' needs a classifier whose score carries a proof; give "
            "--config.decision.classifier=conformal_ridge or jackknife_ridge."
        )
    rank = math.floor(options.miss_rate * (proof.n_groups + 1) / proof.factor + 1e-9)
    if rank < 1:
        needed = math.ceil(proof.factor / options.miss_rate - 1e-9) - 1
        raise UserError(
            f"Rule 'proved' needs {needed} abnormal groups for an expected `miss_rate` "
            f"(={options.miss_rate}) of {proof.source}; there are {proof.n_groups}, which prove "
            f"{guarantees.percent(proof.factor / (proof.n_groups + 1))}. Add some, raise "
            "`miss_rate`, or use 'zfn'."
        )
    value = rank / (proof.n_groups + 1)
    bound, terms = proof.factor * value, options.terms._replace(out_of_fold=False, candidates=1)
    return value, guarantees.expected_guarantee(bound, proof.source, given.counted, terms)
