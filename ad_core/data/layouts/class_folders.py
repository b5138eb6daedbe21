"""A folder of class folders: no/ yes/, or NORMAL/ CNV/ DME/, also in train/ and test/."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from ml_collections import ConfigDict

from ad_core.data.layouts.files import LabelledFiles, label_files
from ad_core.data.layouts.listing import (
    DIVISIONS,
    Listing,
    existing_folder,
    likely_normal,
    scan,
    split_name,
    walk,
)
from ad_core.data.layouts.manifest import read_groups
from ad_core.data.source import means_normal
from ad_core.errors import UserError

LAYOUT = "<class>/<image>, or train/<class>/<image> and test/<class>/<image>"
_MASK = re.compile(r"(.+?)_mask(?:_\d+)?")


def open_source(data: ConfigDict) -> LabelledFiles:
    """The class folders below `data.root`, listed but not yet read.

    <class>/<image>, or train/<class>/<image>, val/<class>/<image> (counts as train) and
    test/<class>/<image>. A class of `data.normal_classes` is normal, in whatever case, any other
    one a defect of that name. <stem>_mask.png, <stem>_mask_1.png, … beside an image are its masks,
    which count together. What belongs together is told by groups.csv, as in
    ad_core.data.layouts.folder, or by `data.group_pattern`.

    Raises:
        UserError: no such folder, no such classes, or no normal class stated.
    """
    root = existing_folder(str(data.root))
    listing = list_classes(root)
    normal = tuple(data.normal_classes)
    check_classes(root, listing, normal)
    groups = read_groups(root, listing.images)
    return label_files(root, listing, data, normal=normal, groups=groups)


def list_classes(root: Path) -> Listing:
    """Content of the class folders below `root`."""
    divisions = [e.name for e in scan(root) if e.is_dir() and e.name.lower() in DIVISIONS]
    found, others = walk(root, depth=2, top=divisions) if divisions else walk(root, depth=1)
    places = {}
    for path in found:
        *folder, name, _ = path.split("/")
        places[path] = (DIVISIONS[folder[0].lower()] if folder else "", name)
    masks, loose = pair_masks(found)
    taken = {mask for own in masks.values() for mask in own} | loose
    images = {path: place for path, place in places.items() if path not in taken}
    return Listing(images, masks, (*others, *sorted(loose)), tuple(sorted(loose)))


def pair_masks(paths: Collection[str]) -> tuple[Mapping[str, tuple[str, ...]], set[str]]:
    """(masks of each image, masks without one) among files that lie side by side."""
    images = {_place(path, split_name(path)[0]): path for path in paths}
    masks: dict[str, tuple[str, ...]] = {}
    loose = set()
    for path in sorted(paths):
        match = _MASK.fullmatch(split_name(path)[0])
        if match is None:
            continue
        image = images.get(_place(path, match[1]))
        if image is None:
            loose.add(path)
        else:
            masks[image] = (*masks.get(image, ()), path)
    return masks, loose


def _place(path: str, stem: str) -> str:
    return f"{path.rpartition('/')[0]}/{stem}"


def check_classes(root: Path, listing: Listing, normal: tuple[str, ...]) -> None:
    """Refuses a folder without classes, or without each of the stated normal ones."""
    counts = Counter(name for _, name in listing.images.values())
    told = ", ".join(f"{name} ({count} images)" for name, count in sorted(counts.items()))
    where = f"`data.root` (={root})"
    if not counts:
        inner = [entry.name for entry in scan(root) if entry.is_dir() and _fits(root / entry.name)]
        others = ", ".join(listing.ignored[:5]) or "nothing"
        raise UserError(
            f"{where}: no class folders. Expected {LAYOUT}; found {others}. "
            + (f"Did you mean {root / inner[0]}?" if inner else "Check the path.")
        )
    if not normal:
        raise UserError(
            f"`data.normal_classes` is not set; found {told}. State which are normal: "
            f"`--config.data.normal_classes={likely_normal(counts)}` (several with commas)."
        )
    stated, there = (set(map(str.casefold, names)) for names in (normal, counts))
    missing = [name for name in normal if name.casefold() not in there]
    if missing:
        raise UserError(
            f"{where}: no image of the normal class {', '.join(missing)}. Expected {LAYOUT}; "
            f"found {told}. Correct `--config.data.normal_classes`."
        )
    doubtful = [name for name in counts if means_normal(name) and name.casefold() not in stated]
    if doubtful:
        raise UserError(
            f"{where}: the class {doubtful[0]!r} means normal everywhere here; add it to "
            "`--config.data.normal_classes`, or rename it."
        )


def _fits(folder: Path) -> bool:
    return bool(list_classes(folder).images)
