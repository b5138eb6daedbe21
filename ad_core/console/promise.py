"""The images of a line that may set the bound, and why the others may not.

A part is looked at because the detector flagged it, because it was drawn for the blind audit, or
because a defect was found later. Verdicts on flagged parts alone would raise the threshold again
and again: every defect among them lies above it, and what passes is never counted.

So every part draws a coin before it is scored, heads with the share of the audit. Proof of what
the defects among the heads may do:

1. The coin is made of the image's key and a secret of the line, and knows nothing of its score.
2. A part with heads is looked at whatever was decided: flagged ones are, the others by audit.
3. So its defects are independent draws of the line's defects: any rank of them keeps its bound.

Weighting every flagged defect by the share instead would gain little: with n found by flags and
none by an audit of share q, the bound is nearly that of the q n defects among the heads.

A defect found later has no such coin. It can only lower the threshold, which keeps every bound,
and is not counted in it. Nor does a false alarm enter: nothing here reads a verdict "normal".
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ad_core.errors import UserError

FLAGGED, AUDIT, DOWNSTREAM, REPEAT = "flagged", "audit", "downstream", "repeat"
CHOSEN = "chosen"  # a part that passed, which a person looked up
CAME = (FLAGGED, AUDIT, DOWNSTREAM, REPEAT, CHOSEN)  # how an image came to be judged
NORMAL, DEFECT, UNSURE = "normal", "defect", "unsure"
VERDICTS = (NORMAL, DEFECT, UNSURE)
REPEATS = 0.02  # share of the judged images that are shown twice


def is_drawn(image: str, share: float, *, secret: str, purpose: str = AUDIT) -> bool:
    """The coin of an image: heads for a share of all images, the same whenever it is asked.

    Args:
        image: its key, such as the SHA-256 of its bytes. share: in [0, 1]. secret: of the line, so
            that nobody can make an image that is not drawn. purpose: coins of two purposes are
            independent.

    Raises:
        UserError: the share lies elsewhere.
    """
    if not 0 <= share <= 1:
        raise UserError(f"The share of a sample (={share}) must lie in [0, 1].")
    digest = hashlib.sha256("\0".join((secret, purpose, image)).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


class Judged(NamedTuple):
    """A part of the line as far as people have judged it.

    image: its key. score: by the classifier in use; None where there was none, so that it was
    flagged. drawn: its coin. verdict: the last one, "" while there is none. downstream: whether
    the defect was found later, by whatever means. defect: its type. group: of the part; several
    images of one are one draw.
    """

    image: str
    score: float | None
    drawn: bool
    verdict: str = ""
    downstream: bool = False
    defect: str = ""
    group: str = ""


class Evidence(NamedTuple):
    """Knowledge of a line about the defects that it makes.

    counted: drawn defects, which are exchangeable with those to come. lowering: defects that may
    only lower the threshold. waiting: drawn parts that nobody has judged yet, and unsure ones.
    """

    counted: tuple[Judged, ...]
    lowering: tuple[Judged, ...]
    waiting: int


def weigh(parts: Sequence[Judged]) -> Evidence:
    """Sorts the parts of a line into those that set the bound and those that lower the threshold.

    Drawn parts count up to the first one of them without a certain verdict: workers see the worst
    scores first, and a defect that was judged early must not stand for one that was not. A drawn
    part of which somebody is unsure is taken for a defect that may lower the threshold. Parts
    without a score are always flagged; they neither count nor lower.

    Args:
        parts: in the order in which they arrived.
    """
    counted: list[Judged] = []
    lowering: list[Judged] = []
    waiting = 0
    for part in parts:
        if part.score is None:
            continue
        is_defect = part.downstream or part.verdict == DEFECT
        if part.drawn and not is_defect and part.verdict != NORMAL:
            waiting += 1
        if is_defect and part.drawn and not waiting:
            counted.append(part)
        elif part.downstream or (part.drawn and part.verdict in (DEFECT, UNSURE)):
            lowering.append(part)
    return Evidence(tuple(counted), tuple(lowering), waiting)


class Agreement(NamedTuple):
    """Agreement of two verdicts on the same images: their number, the share alike, Cohen's kappa.

    kappa: 1 for full agreement, 0 for that of chance; None where chance alone would agree always,
    or nothing was shown twice. share: None without images.
    """

    images: int
    share: float | None
    kappa: float | None

    def __str__(self) -> str:
        """The agreement in words."""
        if self.share is None:
            return "no image was shown twice yet"
        told = f"{100 * self.share:.3g} % of {self.images} images shown twice were judged alike"
        return told if self.kappa is None else f"{told} (kappa {self.kappa:.2f})"


def agreement(pairs: Iterable[tuple[str, str]]) -> Agreement:
    """Agreement of first and second verdicts.

    kappa = (p - e) / (1 - e), with p the share alike and e that of two who keep their own
    frequencies and judge by chance.

    Source: Cohen, A coefficient of agreement for nominal scales, 1960.
    """
    given = list(pairs)
    n = len(given)
    if not n:
        return Agreement(0, None, None)
    firsts, seconds = [one for one, _ in given], [two for _, two in given]
    alike = sum(one == two for one, two in given)
    # In whole numbers, so that agreement by chance is exactly 1 where it is.
    chance = sum(firsts.count(one) * seconds.count(one) for one in set(firsts))
    kappa = None if chance == n * n else (n * alike - chance) / (n * n - chance)
    return Agreement(n, alike / n, kappa)
