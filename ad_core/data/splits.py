"""Splits of the images into those that train, calibrate and are judged: three protocols."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from ad_core.data.source import NORMAL, Record
from ad_core.errors import UserError

SHARES = ("normal", "abnormal", "abnormal_of_test")
Splits = dict[str, Int[np.ndarray, "_"]]


class _Group(NamedTuple):
    """Images that stay together. `defect` is the first of theirs by name, "good" if none."""

    normal: list[int]
    abnormal: list[int]
    defect: str

    @property
    def members(self) -> list[int]:
        return self.normal + self.abnormal


def make_splits(
    records: Sequence[Record],
    *,
    protocol: str,
    calibration: Mapping[str, Any] | ConfigDict,
    seed: int,
    train_abnormal: bool = False,
    cross_fitted: bool = False,
) -> Splits:
    """Sorted indices of `records` by split: train, calibration, test; for vqganodip train, pool.

    No group lies in two splits. Counts come as near to the shares as whole groups allow, and
    are exact where each group is one image. Abnormal images of a group whose normal images
    train belong to no split, unless `train_abnormal`; so do those beyond the shares.

    folders: train and test as they lie on disk. The share `normal` of the training normals
        calibrates, and of the abnormals in train/ the share `abnormal`; where train/ has none,
        the share `abnormal_of_test` of each defect's test images leaves the test split.
    cyclegan_ad: all images are pooled; test holds min(#normal, #abnormal) // 2 of each class;
        the rest trains and calibrates by the shares as above. Source: Bougaham et al.,
        CycleGAN-AD, whose own split has no calibration.
    vqganodip: half of the normals train; the rest and all abnormals are the pool, which is
        scored out-of-fold. A group of both classes is always in the pool.
        Source: recovered from the counts behind VQGanoDIP's figures.

    Args:
        calibration: the shares `normal`, `abnormal`, `abnormal_of_test`, each in [0, 1].
        train_abnormal: the method learns from both classes; the abnormals that neither test
            nor calibrate then train. Not for vqganodip.
        cross_fitted: every method learns from the normals that calibrate too, so that `train` may
            be empty. Not for vqganodip.

    Raises:
        UserError: unknown protocol, a share outside [0, 1], a group in both train/ and test/,
            or a split without normal images (or with `train_abnormal` no abnormal to train on).
            The test split may be empty, but not hold abnormal images alone.
    """
    if protocol not in _PROTOCOLS:
        known = ", ".join(_PROTOCOLS)
        raise UserError(f"`data.protocol` (={protocol!r}): unknown; known: {known}.")
    values: Any = calibration
    shares = {name: float(values[name]) for name in SHARES}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UserError(f"`data.calibration.{name}` (={share}) must be between 0 and 1.")
    rng = np.random.default_rng(seed)
    splits = _PROTOCOLS[protocol](records, shares, rng, train_abnormal)
    may_be_empty = ("train",) if cross_fitted and "pool" not in splits else ()
    _check_splits(splits, records, protocol, train_abnormal, may_be_empty)
    return {name: np.array(sorted(members), np.int64) for name, members in splits.items()}


def _folders(
    records: Sequence[Record],
    shares: dict[str, float],
    rng: np.random.Generator,
    train_abnormal: bool,
) -> dict[str, list[int]]:
    sides = {name: {r.group for r in records if r.folder == name} for name in ("train", "test")}
    both = sorted(sides["train"] & sides["test"])
    if both:
        raise UserError(
            f"Protocol folders: group {both[0]!r} has images in train/ and in test/ "
            f"({len(both)} such groups); move them to one side or use protocol cyclegan_ad."
        )
    parts = {
        name: _grouped(records, [i for i, r in enumerate(records) if r.folder == name], rng)
        for name in sides
    }
    splits = _train_and_calibration(parts["train"], shares, train_abnormal)
    test = parts["test"]
    if not any(group.abnormal for group in parts["train"]):
        moved = _take_defects(test, shares["abnormal_of_test"])
        splits["calibration"] += _members(moved)
        test = _without(test, moved)
    return splits | {"test": _members(test)}


def _cyclegan_ad(
    records: Sequence[Record],
    shares: dict[str, float],
    rng: np.random.Generator,
    train_abnormal: bool,
) -> dict[str, list[int]]:
    groups = _grouped(records, range(len(records)), rng)
    each = min(sum(len(g.normal) for g in groups), sum(len(g.abnormal) for g in groups)) // 2
    test = _take([g for g in groups if g.abnormal], abnormal=each, normal=each)
    missing = each - sum(len(group.normal) for group in test)
    test += _take([g for g in groups if not g.abnormal], normal=missing)
    splits = _train_and_calibration(_without(groups, test), shares, train_abnormal)
    return splits | {"test": _members(test)}


def _vqganodip(
    records: Sequence[Record],
    shares: dict[str, float],
    rng: np.random.Generator,
    train_abnormal: bool,
) -> dict[str, list[int]]:
    if train_abnormal:
        raise UserError(
            "Protocol vqganodip trains on normal images only, and this method needs both "
            "classes; use protocol cyclegan_ad or folders."
        )
    groups = _grouped(records, range(len(records)), rng)
    pool = [group for group in groups if group.abnormal]
    count = sum(len(group.normal) for group in groups)
    missing = count // 2 - sum(len(group.normal) for group in pool)
    pool += _take([group for group in groups if not group.abnormal], normal=missing)
    return {"train": _members(_without(groups, pool)), "pool": _members(pool)}


_PROTOCOLS = {"folders": _folders, "cyclegan_ad": _cyclegan_ad, "vqganodip": _vqganodip}


def _train_and_calibration(
    groups: list[_Group], shares: dict[str, float], train_abnormal: bool
) -> dict[str, list[int]]:
    """Groups of both classes calibrate first: in training, their abnormals would be lost."""
    count = sum(len(group.normal) for group in groups)
    wanted = _rounded(shares["normal"] * count)
    abnormal = _take_defects(groups, shares["abnormal"], normal=wanted)
    missing = wanted - sum(len(group.normal) for group in abnormal)
    normal = _take([group for group in groups if not group.abnormal], normal=missing)
    rest = _without(groups, abnormal + normal)
    train = _members(rest) if train_abnormal else [i for group in rest for i in group.normal]
    return {"train": train, "calibration": _members(abnormal + normal)}


def _grouped(
    records: Sequence[Record], indices: Sequence[int], rng: np.random.Generator
) -> list[_Group]:
    """The groups among `indices`, in random order."""
    members: dict[str, list[int]] = {}
    for index in indices:
        members.setdefault(records[index].group, []).append(index)
    groups = []
    for own in members.values():
        abnormal = [i for i in own if records[i].label == 1]
        defect = min((records[i].defect for i in abnormal), default=NORMAL)
        groups.append(_Group([i for i in own if records[i].label == 0], abnormal, defect))
    return [groups[i] for i in rng.permutation(len(groups))]


def _take_defects(groups: list[_Group], share: float, *, normal: int | None = None) -> list[_Group]:
    """Groups with the share of the abnormals, alike for each defect, and at most `normal` normals.

    Rounding carries over from one defect to the next, so that the total is right too.
    """
    taken: list[_Group] = []
    seen = 0
    for defect in sorted({group.defect for group in groups if group.abnormal}):
        kind = [group for group in groups if group.defect == defect and group.abnormal]
        seen += sum(len(group.abnormal) for group in kind)
        wanted = _rounded(share * seen) - sum(len(group.abnormal) for group in taken)
        left = None if normal is None else normal - sum(len(group.normal) for group in taken)
        taken += _take(kind, abnormal=wanted, normal=left)
    return taken


def _take(
    groups: list[_Group], *, normal: int | None = None, abnormal: int | None = None
) -> list[_Group]:
    """Groups in order, each only if it brings the counts nearer to those wanted (None: any)."""
    taken = []
    for group in groups:
        if all(
            left is None or own == 0 or own < 2 * left
            for own, left in ((len(group.normal), normal), (len(group.abnormal), abnormal))
        ):
            taken.append(group)
            normal = None if normal is None else normal - len(group.normal)
            abnormal = None if abnormal is None else abnormal - len(group.abnormal)
    return taken


def _rounded(count: float) -> int:
    return int(count + 0.5)


def _members(groups: Sequence[_Group]) -> list[int]:
    return [index for group in groups for index in group.members]


def _without(groups: list[_Group], taken: list[_Group]) -> list[_Group]:
    gone = {group.members[0] for group in taken}
    return [group for group in groups if group.members[0] not in gone]


def _check_splits(
    splits: dict[str, list[int]],
    records: Sequence[Record],
    protocol: str,
    train_abnormal: bool,
    may_be_empty: tuple[str, ...],
) -> None:
    counts = {
        name: [sum(records[i].label == label for i in members) for label in (0, 1)]
        for name, members in splits.items()
    }
    told = ", ".join(f"{name} {n} + {a}" for name, (n, a) in counts.items())
    have = sum(record.label == 0 for record in records)
    told = f"of {have} normal + {len(records) - have} abnormal images: {told}"
    for name, (normal, _) in counts.items():
        # Without any test image a run ends after calibration.
        if normal == 0 and name not in may_be_empty and (name != "test" or splits[name]):
            raise UserError(f"Protocol {protocol}: no normal image in {name} ({told}); {_MEND}.")
    if train_abnormal and counts["train"][1] == 0:
        raise UserError(
            f"Protocol {protocol}: no abnormal image in train ({told}), and this method learns "
            "from both classes; give more, set `--config.data.calibration.abnormal` below 1, or "
            "choose a `--config.method` that trains on normal images alone."
        )


_MEND = (
    "give more images of both classes, smaller groups, other shares in "
    "`--config.data.calibration`, or another `--config.data.protocol`"
)
