"""Groups of images that look alike, found where nobody names groups: bursts, slices, copies.

Near-copies that lie on both sides of a split make every figure too good and every promise wrong.
So each image is looked at once, as a thumbnail, before the images are divided.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from ad_core.data.alike import (
    centred,
    chance_of_order,
    cut_runs,
    follower_ranks,
    near_copies,
    orders,
)
from ad_core.data.formats.stored import FileSet
from ad_core.data.formats.thumbnails import thumbnails
from ad_core.data.near_duplicates import merge_groups
from ad_core.data.source import NORMAL, DataSource, Record, printable
from ad_core.errors import require_choice

AUTO, NONE = "auto", "none"
FEWEST = 16  # images of a class and folder, from which on an order can tell something
SURE = 0.01  # chance of an order by accident (of two that are tried), up to which it counts
# Median rank of the followers: 0.5 by accident. Sets of separate parts have 0.3 to 0.5 (drifting
# light brings it to 0.3), volumes and bursts 0.00 to 0.08.
PLAIN, DOUBTFUL = 0.15, 0.25
# In a set that fills d dimensions 3^(-d/2) of the pairs within three times a distance lie within
# it: 0.58 for a line. More are copies.
COPIES = 0.6
FEWEST_COPIES = 3
CHAIN = 0.05  # share of the images in one chain, beyond which (and 10 images) likeness is no copy
FEWEST_PARTS = 8  # normal, or abnormal, below which images are too alike to be divided
TURN_OFF = "--config.data.grouping=none"
NAME_THEM = "--config.data.group_pattern="


class Kin(NamedTuple):
    """Images of a class and folder that were put into groups. example: the largest group's ends."""

    folder: str
    defect: str
    images: int
    groups: int
    largest: int
    example: tuple[str, str]


class Likeness(NamedTuple):
    """Findings of a search for alike images.

    looked: whether it was done. order: "name" or "number", by which the followers are alike; "" for
    none. rank: median rank of the followers, 0.5 by accident. runs: what was grouped so. copies:
    images in groups of near copies, wherever they stand. doubt: why the images may not be
    independent although they were not grouped; "" for no such reason.
    """

    looked: bool = False
    order: str = ""
    rank: float | None = None
    runs: tuple[Kin, ...] = ()
    copies: int = 0
    doubt: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        kin = [{**k._asdict(), "example": [printable(p) for p in k.example]} for k in self.runs]
        return {**self._asdict(), "runs": kin}

    @property
    def words(self) -> list[str]:
        """Sentences on what was grouped, or why it could not be; none where nothing is alike."""
        return [*self.grouped, *([f"warning: {self.doubt}; {_MEND}"] if self.doubt else [])]

    @property
    def grouped(self) -> list[str]:
        """Sentences on what was grouped; none where nothing was."""
        return list(self._grouped())

    def _grouped(self) -> Iterator[str]:
        for kin in self.runs:
            first, last = map(printable, kin.example)
            kind = kin.defect if kin.folder or kin.defect != NORMAL else "normal"
            where = "/".join(filter(None, (kin.folder, kind)))
            yield (
                f"{where}: {kin.images} images look like {kin.groups} parts, the largest of "
                f"{kin.largest} images from {first} to {last}"
            )
        if self.copies:
            yield f"{self.copies} images are near copies of others"
        if self.runs or self.copies:
            yield (
                "alike images are kept on one side of every split and count once in every bound; "
                f"{NAME_THEM} gives groups by name, {TURN_OFF} turns this off"
            )


def group_alike(source: DataSource, data: ConfigDict) -> Likeness:
    """Merges the groups of a source's images that look like one part, and says what it found.

    Nothing is done where groups are told (by a pattern, a table or what a set's names mean), where
    images are drawn and not read, or with `data.grouping` none. Two kinds are found: images of a
    class that follow each other by name or number and are alike, where followers are plainly more
    alike than strangers; and near copies, wherever they stand, where they stand out from all that
    is merely alike. Images in train/ and test/ stay apart under the protocol folders.

    Raises:
        UserError: `data.grouping` is unknown.
    """
    require_choice("data.grouping", data.grouping, (AUTO, NONE))
    told = getattr(source, "grouped", False)
    if data.grouping == NONE or told or not isinstance(source, FileSet) or not source.records:
        return Likeness()
    records: Sequence[Record] = source.records
    found, readable = thumbnails(source, len(records), workers=int(data.workers))
    seen = np.flatnonzero(readable)
    component = np.arange(len(records))
    likeness = _group_runs(records, found, _classes(records, seen), component)
    copies = _group_copies(records, found, _sides(records, seen, str(data.protocol)), component)
    groups = merge_groups([record.group for record in records], component)
    source.records = tuple(
        record._replace(group=group) for record, group in zip(records, groups, strict=True)
    )
    return likeness._replace(looked=True, copies=copies)


def _classes(records: Sequence[Record], seen: Int[np.ndarray, " n"]) -> list[np.ndarray]:
    """Images of each class and folder that are enough to be looked at, and of no common group."""
    shared = Counter(record.group for record in records)
    members: dict[tuple[str, str], list[int]] = {}
    for index in seen.tolist():
        record = records[index]
        members.setdefault((record.folder, record.defect), []).append(index)
    alone = {
        key: sum(shared[records[i].group] == 1 for i in own) > len(own) / 2
        for key, own in members.items()
    }
    return [
        np.array(own) for key, own in sorted(members.items()) if len(own) >= FEWEST and alone[key]
    ]


def _group_runs(
    records: Sequence[Record],
    found: Float[np.ndarray, "n d"],
    classes: list[np.ndarray],
    component: Int[np.ndarray, " n"],
) -> Likeness:
    """Numbers runs alike in `component`, of every class if one order tells of all together."""
    if not classes:
        return Likeness()
    by: dict[str, list[np.ndarray]] = {}
    for own in classes:
        for name, order in orders([records[i].path for i in own]).items():
            by.setdefault(name, []).append(own[order])
    # What judges in the end does not decide, where there is anything else.
    telling = [k for k, own in enumerate(classes) if records[own[0]].folder != "test"]
    telling = telling or list(range(len(classes)))
    ranks = {name: _ranks(found, parts) for name, parts in by.items()}
    medians = {name: _median([own[k] for k in telling]) for name, own in ranks.items()}
    name = min(medians, key=lambda name: medians[name])
    rank = medians[name]
    if rank > DOUBTFUL or len(by) * _chance(found, [by[name][k] for k in telling]) > SURE:
        return Likeness(rank=rank)
    if rank > PLAIN:
        return Likeness(order=name, rank=rank, doubt=_DRIFT.format(name))
    numbered, kin = component.copy(), []
    for own, of_own in zip(by[name], ranks[name], strict=True):
        if np.median(of_own) <= DOUBTFUL:  # all together tell of each, but where it says otherwise
            run = cut_runs(centred(found[own]), _rng())
            numbered[own] = own[np.searchsorted(run, run)]  # the number of the run's first image
            kin.append(_kin(records, own, run))
    if not _enough(records, numbered):
        return Likeness(order=name, rank=rank, doubt=_ONE_PART.format(name))
    component[:] = numbered
    return Likeness(order=name, rank=rank, runs=tuple(kin))


_MEND = (
    "every promise assumes independent images: name the groups, by "
    f"{NAME_THEM} or groups.csv, or give images of more parts"
)
_DRIFT = (
    "images that follow each other by {} are more alike than others, yet not so plainly that "
    "groups can be told"
)
_ONE_PART = (
    "images that follow each other by {} look alike, and those of a class like a few parts only, "
    "too few to be divided"
)


def _ranks(found: Float[np.ndarray, "n d"], parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [follower_ranks(centred(found[own]), _rng()) for own in parts]


def _median(ranks: Sequence[np.ndarray]) -> float:
    return float(np.median(np.concatenate(ranks)))


def _chance(found: Float[np.ndarray, "n d"], parts: Sequence[np.ndarray]) -> float:
    return chance_of_order([centred(found[own]) for own in parts], _rng())


def _enough(records: Sequence[Record], component: Int[np.ndarray, " n"]) -> bool:
    """Tells whether as many parts are left of either label as a division needs."""
    for label in (0, 1):
        own = [i for i, record in enumerate(records) if record.label == label]
        if len(np.unique(component[own])) < min(FEWEST_PARTS, len(own)):
            return False
    return True


def _kin(records: Sequence[Record], own: np.ndarray, run: np.ndarray) -> Kin:
    sizes = np.bincount(run)
    of_largest = own[run == int(np.argmax(sizes))]
    ends = records[of_largest[0]].path, records[of_largest[-1]].path
    first = records[own[0]]
    return Kin(first.folder, first.defect, len(own), len(sizes), int(sizes.max()), ends)


def _sides(
    records: Sequence[Record], seen: Int[np.ndarray, " n"], protocol: str
) -> list[np.ndarray]:
    """Images among which a group may lie: of one folder under the protocol folders, else all."""
    sides: dict[str, list[int]] = {}
    for index in seen.tolist():
        side = records[index].folder if protocol == "folders" else ""
        sides.setdefault(side, []).append(index)
    return [np.array(own) for own in sides.values()]


def _group_copies(
    records: Sequence[Record],
    found: Float[np.ndarray, "n d"],
    sides: list[np.ndarray],
    component: Int[np.ndarray, " n"],
) -> int:
    """Joins near copies in `component`, where they stand out; how many images are in such."""
    copies = 0
    for own in sides:
        number, near, around = near_copies(centred(found[own]))
        sizes = np.bincount(number)
        plain = near >= FEWEST_COPIES and near >= COPIES * around
        if not plain or sizes.max() > max(10, CHAIN * len(own)):
            continue
        copies += int(sizes[sizes > 1].sum())
        first = own[np.unique(number, return_index=True)[1]][number]
        joined = merge_groups([str(c) for c in component], _with_pairs(len(component), own, first))
        component[:] = [int(name) for name in joined]
    return copies


def _with_pairs(count: int, own: np.ndarray, first: np.ndarray) -> Int[np.ndarray, " n"]:
    numbers = np.arange(count)
    numbers[own] = first
    return numbers


def _rng() -> np.random.Generator:
    """One seed for all: what is grouped must not change from run to run."""
    return np.random.default_rng(0)
