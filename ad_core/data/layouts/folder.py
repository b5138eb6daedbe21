"""A folder in the MVTec AD layout: train/good, test/good, test/<defect>, ground_truth/<defect>."""

from pathlib import Path

from ml_collections import ConfigDict

from ad_core.data.layouts.files import LabelledFiles, label_files
from ad_core.data.layouts.listing import (
    Listing,
    existing_folder,
    is_inside,
    likely_normal,
    split_name,
    walk,
)
from ad_core.data.layouts.manifest import read_groups
from ad_core.data.source import NORMAL
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
    all its pages included.

    Raises:
        UserError: the folder is missing or laid out in another way, or groups.csv is wrong.
    """
    root = existing_folder(str(data.root))
    listing = list_layout(root)
    check_layout(root, listing)
    groups = read_groups(root, listing.images)
    return label_files(root, listing, data, normal=(NORMAL,), groups=groups)


def list_layout(root: Path) -> Listing:
    """Content of the MVTec AD layout below `root`."""
    files, ignored = walk(root, depth=2, top=(*MASKS, *MASKS.values()))
    split = {path: path.split("/") for path in files}
    images = {path: (part[0], part[1]) for path, part in split.items() if part[0] in MASKS}
    unused = set(files) - set(images)
    masks = {}
    for path, (folder, defect) in images.items():
        stem, kind = split_name(path)
        for name in (f"{stem}_mask.png", f"{stem}.png", f"{stem}_mask{kind}", f"{stem}{kind}"):
            mask = f"{MASKS[folder]}/{defect}/{name}"
            if mask in split:
                masks[path] = (mask,)
                unused.discard(mask)
                break
    loose = tuple(sorted(unused))
    return Listing(images, masks, (*ignored, *loose), loose)


def check_layout(root: Path, listing: Listing) -> None:
    """Refuses a layout without normal images to train on; the protocol checks all else."""
    if ("train", NORMAL) in listing.images.values():
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
