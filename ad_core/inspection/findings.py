"""Findings: the faults of a data set by name, and the configuration that mends them."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from ad_core.data.formats.kinds import is_image
from ad_core.data.formats.masks import FULL
from ad_core.data.formats.resizing import STRETCHING
from ad_core.data.layouts.files import LabelledFiles
from ad_core.data.likeness import Likeness
from ad_core.data.near_duplicates import components, near_pairs
from ad_core.data.source import NORMAL, DataSource, Record
from ad_core.inspection.facts import Facts

CLIPPED = 0.01  # share of an image's values beyond what normals clip, which is worth a word
ALIKE = 0.05  # share of a set in one chain of near-duplicates, beyond which they mean nothing
KEPT = 200  # paths (or pairs) of one finding; all are counted
UNUSABLE, WARNING, NOTE = "unusable", "warning", "note"
CYCLEGAN_AD = "--config.data.protocol=cyclegan_ad"


class Finding(NamedTuple):
    """One thing found. paths: a tuple of images each, such as the two of a pair; the first KEPT.

    mends: overrides that suit.
    """

    level: str
    name: str
    text: str
    paths: tuple[tuple[str, ...], ...] = ()
    mends: tuple[str, ...] = ()


class Subject(NamedTuple):
    """Subject of checks.

    split: of each image, "" for none. data: config.data, with the range that is used. stated:
    whether a person gave that. distance: bits of near-duplicates.
    """

    source: DataSource
    records: Sequence[Record]
    split: Sequence[str]
    facts: Facts
    data: ConfigDict
    distance: int
    stated: bool = False
    likeness: Likeness = Likeness()


def find_all(subject: Subject) -> list[Finding]:
    """All findings on a subject, foremost first."""
    checks = (
        _unreadable, _duplicates, _alike, _likeness, _groups, _masks, _full_masks, _published,
        _kinds, _own_ranges, _clipped, _ignored,
    )  # fmt: skip
    found = [finding for check in checks for finding in check(subject)]
    return sorted(found, key=lambda finding: (UNUSABLE, WARNING, NOTE).index(finding.level))


def plural(count: int, noun: str) -> str:
    """Count and noun, such as "1 image" or "3 images"."""
    return f"{count} {noun}" + "s" * (count != 1)


def _unreadable(s: Subject) -> Iterator[Finding]:
    if s.facts.errors:
        pages = any("`--config.data.page=`" in text for text in s.facts.errors.values())
        ranges = any("value_range" in text for text in s.facts.errors.values())
        mends = ("--config.data.page=all",) * pages
        mends += ("--config.data.value_range=robust",) * (ranges and not pages)
        readable = {s.records[i].label for i in np.flatnonzero(s.facts.readable).tolist()}
        yield Finding(
            WARNING if 0 in readable else UNUSABLE,
            "unreadable",
            f"{plural(len(s.facts.errors), 'image')} cannot be read; the first: "
            f"{s.facts.errors[min(s.facts.errors)]}",
            tuple((s.records[i].path,) for i in sorted(s.facts.errors)[:KEPT]),
            mends,
        )


def _duplicates(s: Subject) -> Iterator[Finding]:
    """Files with the same content."""
    same: defaultdict[bytes, list[int]] = defaultdict(list)
    for index in np.flatnonzero(s.facts.readable).tolist():
        same[s.facts.digest[index]].append(index)
    sets = [members for members in same.values() if len(members) > 1]
    pairs = [(members[0], other) for members in sets for other in members[1:]]
    yield from _told(s, np.array(pairs, np.int64).reshape(-1, 2), "exact", "the same content")


def _alike(s: Subject) -> Iterator[Finding]:
    """Images with nearly the same perceptual hash, not of the same content.

    Parts photographed in one pose look alike to a hash, which then tells nothing of copies.
    """
    place = np.flatnonzero(s.facts.readable)
    chains = Counter(components(s.facts.fingerprint[place], s.distance).tolist())
    longest = max(chains.values(), default=0)
    if longest > max(10, ALIKE * len(place)):
        yield Finding(
            NOTE,
            "alike",
            f"{longest} of {len(place)} images are one chain of hashes within "
            f"{plural(s.distance, 'bit')}, like parts in one pose. Such hashes tell no copies",
        )
        return
    kept, room = [], 1_000_000
    for pairs in near_pairs(s.facts.fingerprint[place], s.distance):
        kept.append(place[pairs[:room]])
        room -= len(kept[-1])
        if room <= 0:
            break
    pairs = np.concatenate(kept) if kept else np.zeros((0, 2), np.int64)
    other = [s.facts.digest[i] != s.facts.digest[j] for i, j in pairs.tolist()]
    words = f"nearly the same look (hashes within {plural(s.distance, 'bit')} of 64)"
    yield from _told(s, pairs[np.array(other, bool)], "near", words)


def _likeness(s: Subject) -> Iterator[Finding]:
    """Groups that were found by likeness, and images that may hang together without one."""
    if s.likeness.doubt:
        yield Finding(WARNING, "not_independent", s.likeness.words[-1].removeprefix("warning: "))
    if s.likeness.runs or s.likeness.copies:
        ends = tuple(kin.example for kin in s.likeness.runs[:KEPT])
        yield Finding(NOTE, "grouped", ". ".join(s.likeness.grouped), ends)


def _told(s: Subject, pairs: Int[np.ndarray, "m 2"], kind: str, words: str) -> Iterator[Finding]:
    """Pairs across classes, across splits, and the rest; each pair in the first that fits.

    Scans of one patient may look alike and show several defects, but one content has one class.
    """
    label = np.array([r.defect if kind == "exact" else str(r.label) for r in s.records])
    folder = np.array([record.folder for record in s.records])
    split = np.array(s.split)
    left, right = pairs[:, 0], pairs[:, 1]
    crossing = label[left] != label[right]
    parted = (split[left] != split[right]) & (split[left] != "") & (split[right] != "")
    for level, name, where, chosen in (
        (WARNING, f"{kind}_across_classes", "of two classes", crossing),
        (WARNING, f"{kind}_across_splits", "in two splits", parted & ~crossing),
        (NOTE, f"{kind}_duplicates", "of one class and split", ~parted & ~crossing),
    ):
        found = pairs[chosen]
        if len(found):
            leaks = bool(parted[chosen].any()) and s.data.near_duplicates is None
            apart = bool((folder[found[:, 0]] != folder[found[:, 1]]).any())
            mends = (f"--config.data.near_duplicates={s.distance}",) * leaks
            # Protocol folders refuses a group on both sides.
            mends += (CYCLEGAN_AD,) * (leaks and apart and s.data.protocol == "folders")
            yield Finding(
                level,
                name,
                f"{plural(len(found), 'pair')} {where} with {words}",
                tuple((s.records[i].path, s.records[j].path) for i, j in found[:KEPT].tolist()),
                mends,
            )


def _groups(s: Subject) -> Iterator[Finding]:
    """Groups on both sides of train/ and test/, and one that holds most of the set."""
    sides: defaultdict[str, set[str]] = defaultdict(set)
    sizes: Counter[str] = Counter()
    for record in s.records:
        sizes[record.group] += 1
        if record.folder:
            sides[record.group].add(record.folder)
    both = sorted(group for group, folders in sides.items() if len(folders) > 1)
    if both:
        yield Finding(
            WARNING,
            "groups_across_folders",
            f"{plural(len(both), 'group')} with images in train and in test as they lie on disk",
            tuple((group,) for group in both[:KEPT]),
            (CYCLEGAN_AD,) * (s.data.protocol == "folders"),
        )
    largest, count = sizes.most_common(1)[0]
    if count > max(10, len(s.records) // 4):
        yield Finding(
            WARNING,
            "large_group",
            f"group {largest} holds {count} of {len(s.records)} images, which stay together",
            ((largest,),),
        )


def _masks(s: Subject) -> Iterator[Finding]:
    loose = s.source.loose if isinstance(s.source, LabelledFiles) else ()
    if loose:
        yield Finding(
            WARNING,
            "unmatched_masks",
            f"{plural(len(loose), 'mask')} without an image of that name",
            tuple((path,) for path in loose[:KEPT]),
        )
    masked = {record.defect for record in s.records if record.label and record.has_mask}
    bare = [r.path for r in s.records if r.label and r.defect in masked and not r.has_mask]
    if bare:
        yield Finding(
            WARNING,
            "missing_masks",
            f"{plural(len(bare), 'abnormal image')} without a mask, of defects that have some",
            tuple((path,) for path in bare[:KEPT]),
        )
    wrong = [index for index, text in enumerate(s.facts.mask) if text]
    if wrong:
        yield Finding(
            WARNING,
            "wrong_masks",
            f"{plural(len(wrong), 'mask')} cannot be right; the first: {s.facts.mask[wrong[0]]}",
            tuple((s.records[index].path,) for index in wrong[:KEPT]),
        )


def _full_masks(s: Subject) -> Iterator[Finding]:
    full = np.flatnonzero(s.facts.covered > FULL).tolist()
    if full:
        yield Finding(
            WARNING,
            "full_masks",
            f"{plural(len(full), 'mask')} of {int((s.facts.covered > 0).sum())} mark more than "
            f"{FULL:.0%} of the image as abnormal. Inverted, or a background that is not black?",
            tuple((s.records[index].path,) for index in full[:KEPT]),
        )


def _published(s: Subject) -> Iterator[Finding]:
    found: Counter[str] = Counter(record.defect for record in s.records)
    found["abnormal"] = len(s.records) - found[NORMAL]
    published = s.source.published if isinstance(s.source, LabelledFiles) else {}
    differing = [name for name, counts in published.items() if found[name] not in counts]
    if differing:
        told = (
            f"{found[name]} {name} ({' or '.join(f'{count:,}' for count in published[name])})"
            for name in differing
        )
        yield Finding(
            NOTE,
            "counts",
            f"numbers of images differ from the published ones (in brackets): {', '.join(told)}",
        )


def _kinds(s: Subject) -> Iterator[Finding]:
    """Channels, depths, ranges and shapes, where they differ or the configuration does not suit."""
    facts, seen = s.facts, s.facts.readable
    if not seen.any():
        return
    grey = int(facts.grey[seen].max())
    if grey != s.data.channels:
        words = "show colour" if grey == 3 else "are grey"
        text = f"the images {words} and `data.channels` is {s.data.channels}"
        yield Finding(NOTE, "channels", text, mends=(f"--config.data.channels={grey}",))
    for name, values in (("channels", facts.channels), ("bit depths", facts.bits)):
        counts = Counter(values[seen].tolist())
        if len(counts) > 1:
            told = ", ".join(f"{count} of {value}" for value, count in sorted(counts.items()))
            yield Finding(NOTE, f"mixed_{name.replace(' ', '_')}", f"several {name}: {told}")
    yield from _ranges(s)
    width, height = facts.size[seen].T
    ratio = width / height
    if s.data.resize in STRETCHING and ratio.max() > 1.3 * ratio.min():
        text = f"width / height from {ratio.min():.2f} to {ratio.max():.2f}, stretched to one shape"
        yield Finding(NOTE, "shapes", text, mends=("--config.data.resize=letterbox",))


def _ranges(s: Subject) -> Iterator[Finding]:
    """Deep images that use little of what their type holds."""
    deep = s.facts.readable & (s.facts.bits > 8)
    normal = deep & np.array([record.label == 0 for record in s.records])
    if not normal.any() or s.data.value_range is not None or s.facts.own[normal].any():
        return
    low, high, black, white = s.facts.extent[normal].T
    if (high.max() - low.min()) < 0.25 * (white.max() - black.min()):
        text = (
            f"normal images use {low.min():g} to {high.max():g} of {black.min():g} to "
            f"{white.max():g}: little of the contrast is left"
        )
        mends = (f"--config.data.value_range={low.min():g},{high.max():g}",)
        yield Finding(WARNING, "range", text, mends=mends)


def _own_ranges(s: Subject) -> Iterator[Finding]:
    """Files that say, each for itself, which values are black and white, and do not agree."""
    own = np.flatnonzero(s.facts.readable & s.facts.own)
    said = Counter(_ends_in_words(*ends) for ends in s.facts.extent[own, 2:].tolist())
    typed = int((s.facts.readable & ~s.facts.own).sum())
    if len(said) + bool(len(said) and typed) < 2:
        return
    told = ", ".join(f"{words} ({n})" for words, n in said.most_common(3))
    more = f" and {len(said) - 3} more" * (len(said) > 3)
    others = f"; {typed} files say none" * bool(typed)
    yield Finding(
        NOTE if s.stated else WARNING,
        "several_ranges",
        f"files state several ranges of black to white: {told}{more}{others}. None is used: "
        f"{_range_in_words(s)} in every image. Check that all values are in one unit",
        tuple((s.records[index].path,) for index in own[:KEPT].tolist()),
    )


def _ends_in_words(low: float, high: float) -> str:
    return f"{low:g} to {high:g}" if np.isfinite([low, high]).all() else "a table or a curve"


def _clipped(s: Subject) -> Iterator[Finding]:
    """Images with values beyond the range, above all such with more than training normals."""
    share = s.facts.clipped
    if not share.any():
        return
    normal = np.array([record.label == 0 for record in s.records])
    trained = normal & np.array([name not in ("test", "") for name in s.split])
    trained = trained if trained.any() else normal
    most = float(share[trained].max(initial=0.0))
    beyond = [i for i in np.argsort(-share).tolist() if share[i] > most + CLIPPED]
    some = [i for i in np.argsort(-share).tolist() if share[i] > 0]
    chosen = beyond or some
    text = (
        f"{plural(len(some), 'image')} hold values beyond the range ({_range_in_words(s)}), "
        f"at most {share.max():.1%} of an image; of normal images outside the test split "
        f"{most:.1%}"
    )
    if beyond:
        text += f". {plural(len(beyond), 'image')} exceed that: what is there cannot be told apart"
    paths = tuple((s.records[index].path,) for index in chosen[:KEPT])
    yield Finding(WARNING if beyond else NOTE, "clipped", text, paths)


def _range_in_words(s: Subject) -> str:
    if s.data.value_range is None:
        return "what the type of a file can hold becomes black to white"
    low, high = (float(end) for end in s.data.value_range)
    return f"{low:g} to {high:g} become black to white"


def _ignored(s: Subject) -> Iterator[Finding]:
    if not isinstance(s.source, LabelledFiles):
        return
    loose = set(s.source.loose)
    ignored = [path for path in s.source.ignored if path not in loose]
    if ignored:
        images = [p for p in ignored if not p.endswith("/") and is_image(s.source.root / p)]
        told = f", {len(images)} of them images" * bool(images)
        text = f"{len(ignored)} files or folders beside the images are not used{told}"
        yield Finding(NOTE, "ignored", text, tuple((path,) for path in ignored[:KEPT]))
