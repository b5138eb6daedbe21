"""Statistics of a lot that are compared with the calibration normals, and of which images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from ad_core.data.layouts.files import FileSource
from ad_core.decision.drift import Drift, Normals, compare_lot
from ad_core.errors import UserError
from ad_core.scoring.part import Part, column_names
from ad_core.scoring.verdict import Verdict
from ad_core.statistics import is_feature
from ad_core.statistics.glossary import HIGH, LOW, words
from ad_core.types import OnePass

# Images of a lot that are compared: more say no more of a clear shift, and a row may have thousands
# of statistics.
COMPARED = 500
OLD = (
    "the detector was calibrated by an earlier version, which kept no groups of its normal images; "
    "calibrate again"
)


def normals_of(
    methods: Sequence[Part],
    reference: Float[np.ndarray, "m k"],
    group: Int[np.ndarray, " m"],
    *,
    protocol: str,
) -> Normals:
    """Calibration normals, and in which directions a lot may be compared with them.

    In both where the state that judges measured them as it measures a lot: statistics of methods
    that learn step by step, pooled features of frozen networks, and all under the protocol
    "vqganodip". What learns in one pass measured them by states of folds, which knew fewer images:
    to these a normal image looks a little stranger, so that only a shift towards the abnormal end
    says something. A method that learns from the images that calibrate is not compared.
    """
    higher, lower = [], []
    for part in methods:
        method = part.make()
        folds = isinstance(method.learn, OnePass) and protocol != "vqganodip"
        for name in part.statistics:
            both = not folds or is_feature(name)
            known = not method.learns_from_calibration
            end = words(name).end
            higher.append(known and (both or end == HIGH))
            lower.append(known and (both or end == LOW))
    names = column_names(methods)
    return Normals(
        names=names,
        values=reference,
        group=group,
        higher=np.array(higher, bool),
        lower=np.array(lower, bool),
        pooled=np.array([is_feature(name) for name in names], bool),
    )


def statistics_of(found: Any) -> Float[np.ndarray, "n k"]:
    """Statistics of `Scores`, of a table [n, k], or of those of `Verdict`s that were measured.

    Rows of verdicts that were not are NaN.

    Raises:
        UserError: no verdict holds any.
    """
    if not isinstance(found, Sequence):
        return np.asarray(getattr(found, "statistics", found))
    rows = [one.statistics if isinstance(one, Verdict) else np.asarray(one) for one in found]
    width = next((len(row) for row in rows if row is not None), None)
    if width is None:
        raise UserError("None of the verdicts was measured: there is nothing to compare.")
    return np.stack([np.full(width, np.nan) if row is None else row for row in rows])


def drawn_places(count: int) -> Int[np.ndarray, "_"]:
    """Places of a lot of `count` images whose statistics are kept until its end, drawn by chance.

    The same ones each time, so that a lot that was cut short goes on with them.
    """
    return np.sort(np.random.default_rng(0).permutation(count)[:COMPARED])


def group_names(source: FileSource, places: Sequence[int]) -> Shaped[np.ndarray, " n"]:
    """Group of each image at these places: as its table, its name or its file tells."""
    return np.array([source.group_of(place) for place in places], str)


def unfinished() -> Drift:
    """Result for a lot that was cut short: it is looked at once, at its end."""
    return Drift(None, why="the lot is not finished, and is looked at once, at its end")


def drift_of(
    normals: Normals | None,
    values: Float[np.ndarray, "n k"],
    groups: Sequence[Any] | np.ndarray | None,
) -> Drift:
    """Result of `compare_lot`; says so where the detector keeps too little for it."""
    return Drift(None, why=OLD) if normals is None else compare_lot(normals, values, groups)
