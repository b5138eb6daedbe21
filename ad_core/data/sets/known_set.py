"""A published set of images: what a copy of it must look like, and how to come by one."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from ad_core.data.layouts import class_folders, folder
from ad_core.data.layouts.files import LabelledFiles, label_files
from ad_core.data.layouts.grouping import group_by_pattern
from ad_core.data.layouts.listing import Listing, existing_folder, scan
from ad_core.data.layouts.manifest import read_groups
from ad_core.data.source import NORMAL
from ad_core.errors import UserError

ABNORMAL = "abnormal"  # in counts: all defects together


class KnownSet(NamedTuple):
    """Facts of a published set.

    name: of the TFDS data set. title, source, licence: of whom and under which terms.
    fetch: how to come by a copy. tree: what lies in it. recipe: the configuration to use.
    normal: the classes that are normal. counts: class -> images in each published version; empty
    where it differs.
    masks: whether abnormal images have any. group_pattern: as `data.group_pattern`.
    """

    name: str
    title: str
    source: str
    licence: str
    fetch: str
    tree: str
    recipe: str
    normal: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    masks: bool = False
    group_pattern: str = ""

    @property
    def command(self) -> str:
        """Command to type once there is a copy."""
        return f"python launch/train.py --config={self.recipe} --config.data.root=DIR --workdir=RUN"


def open_known(
    known: KnownSet,
    data: ConfigDict,
    *,
    listed: Callable[[Path], Listing] = class_folders.list_classes,
) -> LabelledFiles:
    """The copy of a set at `data.root`, or the same images in the MVTec AD layout.

    Args:
        listed: what lies below a root; by default, class folders.

    Raises:
        UserError: no copy, or one with another tree; the message says what was expected and found,
            how to come by a copy, and the command to type.
    """
    try:
        root = existing_folder(str(data.root))
    except UserError as error:
        raise UserError(f"{error} {_explain(known)}") from error
    if (root / "train" / NORMAL).is_dir():
        source = folder.open_source(data)
        if ABNORMAL not in known.counts:
            return source  # of which there may be any part, under any names
    else:
        listing = listed(root)
        _check_tree(known, root, listing, listed)
        groups = group_by_pattern(listing.images, str(data.group_pattern) or known.group_pattern)
        groups |= read_groups(root, listing.images)
        source = label_files(root, listing, data, normal=known.normal, groups=groups)
    source.published = {
        NORMAL if name in known.normal else name: counts for name, counts in known.counts.items()
    }
    return source


def _check_tree(
    known: KnownSet, root: Path, listing: Listing, listed: Callable[[Path], Listing]
) -> None:
    """Refuses a copy that lacks a class or holds another one."""
    found = Counter(name for _, name in listing.images.values())
    wanted = set(known.counts) - {ABNORMAL} or {*known.normal, *found}
    if set(found) == wanted and any(name not in known.normal for name in found):
        return
    told = ", ".join(f"{name} ({count} images)" for name, count in sorted(found.items()))
    others = ", ".join(listing.ignored[:5]) + ", ..." * (len(listing.ignored) > 5)
    below = [root / entry.name for entry in scan(root) if entry.is_dir()]
    inner = [p for p in below if {name for _, name in listed(p).images.values()} == wanted]
    raise UserError(
        f"`data.root` (={root}): is no copy of {known.title}. Found {told or 'no image where one '}"
        + ("" if told else "belongs")
        + (f"; not used: {others}" if others else "")
        + ". "
        + (f"Did you mean {inner[0]}? " if inner else "")
        + _explain(known)
    )


def _explain(known: KnownSet) -> str:
    return (
        f"Expected {known.title} as {known.tree} (or as train/good, train/<defect>, test/...). "
        f"{known.fetch} Then type: {known.command}"
    )
