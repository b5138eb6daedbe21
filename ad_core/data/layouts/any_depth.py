"""Images in folders at any depth: all normal, or sorted by a folder on their way."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ml_collections import ConfigDict

from ad_core.data.layouts.class_folders import pair_masks
from ad_core.data.layouts.files import LabelledFiles, label_files
from ad_core.data.layouts.listing import (
    DIVISIONS,
    GROUPS,
    Listing,
    existing_folder,
    find_images,
    likely_normal,
)
from ad_core.data.layouts.manifest import read_groups
from ad_core.data.source import NORMAL
from ad_core.errors import UserError

ROOT = "."  # stands for the folder of the images themselves: images beside no folder
ALL = "*"  # every image is normal


def open_source(data: ConfigDict) -> LabelledFiles:
    """Every image below `data.root`, listed but not yet read.

    An image is normal if a folder on its way is named in `data.normal_classes`, in whatever case;
    "." names the images that lie in no folder, "*" all. Any other image shows a defect that is
    named by the first folder on its way below which nothing is normal. A first folder train, val
    (counts as train) or test divides the set; without one, and with nothing but normal images, all
    are for training. Masks and groups are told as in ad_core.data.layouts.class_folders.

    Raises:
        UserError: no such folder, no image in it, or none that `data.normal_classes` names.
    """
    root = existing_folder(str(data.root))
    paths, left_out, _ = find_images(root)
    masks, loose = pair_masks(paths)
    unused = {mask for own in masks.values() for mask in own} | loose
    ways = {path: way(path) for path in paths if path not in unused}
    normal = {name.casefold() for name in data.normal_classes}
    good = {path for path in ways if is_normal(ways[path], normal)}
    if not good:
        raise UserError(_no_normal(root, ways.values(), tuple(data.normal_classes)))
    shared = {step for path in good for step in _steps(ways[path])}
    alone = len(good) == len(ways)
    images = {
        path: (
            division(path) or ("train" if alone else ""),
            NORMAL if path in good else _defect(ways[path], shared),
        )
        for path in ways
    }
    ignored = [path for path in left_out if path != GROUPS]
    listing = Listing(images, masks, (*ignored, *loose), tuple(sorted(loose)))
    return label_files(
        root, listing, data, normal=(NORMAL,), groups=read_groups(root, listing.images)
    )


def division(path: str) -> str:
    """Part of the set, "train" or "test", that the first folder of a path names; or ""."""
    return DIVISIONS.get(path.split("/")[0].lower(), "") if "/" in path else ""


def way(path: str) -> tuple[str, ...]:
    """Folders on the way to an image below a division; (".",) where there is none."""
    folders = path.split("/")[:-1]
    return tuple(folders[1:] if division(path) else folders) or (ROOT,)


def is_normal(folders: Iterable[str], normal: Iterable[str]) -> bool:
    """Tells whether one of the folders is named; `normal` in lower case, as `str.casefold`."""
    return ALL in normal or any(name.casefold() in normal for name in folders)


def _steps(folders: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [folders[: count + 1] for count in range(len(folders))]


def _defect(folders: tuple[str, ...], shared: set[tuple[str, ...]]) -> str:
    own = next((step for step in _steps(folders) if step not in shared), folders)
    return "defect" if own[-1] in (ROOT, NORMAL) else own[-1]


def _no_normal(root: Path, ways: Iterable[tuple[str, ...]], normal: tuple[str, ...]) -> str:
    counts = Counter("/".join(folders) for folders in ways)
    told = ", ".join(f"{name} ({count} images)" for name, count in sorted(counts.items())[:8])
    named = f"none is named {' or '.join(normal)}" if normal else "`data.normal_classes` is not set"
    likely = likely_normal({name for folders in counts for name in folders.split("/")})
    return (
        f"`data.root` (={root}): no normal image, for {named}. Found {told}. State which folders "
        f"are: `--config.data.normal_classes={likely}` (* for all)."
    )
