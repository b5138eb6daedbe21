"""A folder in the MVTec AD layout: train/good, test/good, test/<defect>, ground_truth/<defect>."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from ad_core.data.layouts.files import LabelledFiles, label_files
from ad_core.data.layouts.listing import (
    Listing,
    existing_folder,
    is_inside,
    likely_normal,
    scan,
    split_name,
    walk,
)
from ad_core.data.layouts.manifest import read_groups
from ad_core.data.source import NORMAL, NORMAL_NAMES, means_normal
from ad_core.errors import UserError

MASKS = {"train": "ground_truth_train", "test": "ground_truth"}
LAYOUT = (
    "train/good/*, test/good/*, test/<defect>/* and, where there are any, train/<defect>/* and "
    "masks in ground_truth/<defect>/<stem>_mask.png"
)


def open_source(data: ConfigDict) -> LabelledFiles:
    """The folder `data.root`, listed but not yet read.

    A file groups.csv in it (columns path, group; paths relative to the root) names the images
    that no split may separate; so does `data.group_pattern`. Any other file is a group of its own,
    all its pages included. Good, OK, Normal and the like mean good, in train/ and in test/.

    Raises:
        UserError: the folder is missing or laid out in another way, or groups.csv is wrong.
    """
    root = existing_folder(str(data.root))
    listing = list_layout(root)
    check_layout(root, listing)
    groups = read_groups(root, listing.images)
    return label_files(root, listing, data, normal=NORMAL_NAMES, groups=groups)


def list_layout(root: Path) -> Listing:
    """Content of the MVTec AD layout below `root`; train/, test/ and the like in whatever case."""
    known = (*MASKS, *MASKS.values())
    top = [entry.name for entry in scan(root) if entry.name.lower() in known]
    files, ignored = walk(root, depth=2, top=top)
    images, unused = {}, {}
    for path in files:
        folder, defect, _ = path.split("/")
        if folder.lower() in MASKS:
            images[path] = (folder.lower(), defect)
        else:
            place = (folder.lower(), defect, split_name(path)[0])
            unused.setdefault(place, []).append(path)
    masks = {}
    for path, (folder, defect) in images.items():
        stem, kind = split_name(path)
        for name in (f"{stem}_mask", stem):
            found = unused.get((MASKS[folder], defect, name))
            if found:
                masks[path] = (_foremost(found, kind),)
                break
    used = {mask for own in masks.values() for mask in own}
    loose = tuple(sorted({path for paths in unused.values() for path in paths} - used))
    return Listing(images, masks, (*ignored, *loose), loose)


def _foremost(masks: Sequence[str], kind: str) -> str:
    """Of masks of one name the PNG, else that of the image's extension, else the first."""
    fitting = (mask for ending in (".png", kind) for mask in masks if mask.endswith(ending))
    return next(fitting, masks[0])


def check_layout(root: Path, listing: Listing) -> None:
    """Refuses a layout without normal images to train on; the protocol checks all else."""
    if any(place == "train" and means_normal(name) for place, name in listing.images.values()):
        return
    inner = [path.parent.parent for path in sorted(root.glob(f"*/train/{NORMAL}"))]
    classes = sorted({"/".join(place) for place in listing.images.values()})
    others = [*listing.ignored[:5], *["..."] * (len(listing.ignored) > 5)]
    out = any(not is_inside(root / path, root) for path in listing.ignored)
    hint = f"Did you mean {inner[0]}?" if inner else f"Put normal images into train/{NORMAL}."
    raise UserError(
        f"`data.root` (={root}): no image in train/{NORMAL}. Expected {LAYOUT}; "
        f"found images in {', '.join(classes) or 'none of these'}; not used: "
        f"{', '.join(others) or 'nothing'}. "
        + ("Links that lead out of it are not followed: copy the images. " if out else "")
        + ("" if inner else _class_folders(root))
        + hint
    )


def _class_folders(root: Path) -> str:
    """Advice on class folders of other names where the images lie in such, else ""."""
    for depth in (1, 2):
        names = sorted({path.split("/")[-2] for path in walk(root, depth=depth)[0]})
        if names:
            return (
                f"For class folders ({', '.join(names[:8])}) say which are normal: "
                "`--config.data.source=ad_core.data.layouts.class_folders "
                f"--config.data.normal_classes="
                f"{likely_normal(names)}`. "
            )
    return ""
