"""Photographs of populated circuit boards of one's own: families of parts, several views of each.

    DIR/<family>/good/<part>/<view>.png                normal parts
    DIR/<family>/<defect>/<part>/<view>.png            abnormal ones
    DIR/<family>/ground_truth/<defect>/<part>/<view>_mask.png    optional, white = abnormal

A part is one board, by its serial number; all its views, before and after repair too, are one
group, which no split separates. Any image format that is read will do.
"""

from pathlib import Path

from ml_collections import ConfigDict

from ad_core.data.layouts.files import LabelledFiles
from ad_core.data.layouts.listing import Listing, split_name, walk
from ad_core.data.sets.known_set import KnownSet, open_known
from ad_core.data.sets.packing import PackedSet
from ad_core.data.source import NORMAL

MASKS = "ground_truth"
KNOWN = KnownSet(
    name="pcba",
    title="photographs of circuit boards",
    source="your own",
    licence="your own",
    fetch="Lay your photographs out so.",
    tree="<family>/good/<part>/<view>.png, <family>/<defect>/<part>/<view>.png and, where there "
    "are any, masks as <family>/ground_truth/<defect>/<part>/<view>_mask.png",
    recipe="configs/pcba.py",
    normal=(NORMAL,),
    counts={},
    masks=True,
    group_pattern=r"^([^/]+)/[^/]+/([^/]+)/",
)


class Pcba(PackedSet):
    """One's own boards, packed."""

    KNOWN = KNOWN

    def open_copy(self, data: ConfigDict) -> LabelledFiles:
        """The folder of families."""
        return open_source(data)


BUILDER = Pcba


def open_source(data: ConfigDict) -> LabelledFiles:
    """The families at `data.root`. Raises UserError as `open_known`."""
    return open_known(KNOWN, data, listed=list_parts)


def list_parts(root: Path) -> Listing:
    """Content of the families of parts below `root`."""
    deep, others = walk(root, depth=4)
    masks_below = {path for path in deep if path.split("/")[1] == MASKS}
    found = walk(root, depth=3)[0]
    images = {path: ("", path.split("/")[1]) for path in found if path.split("/")[1] != MASKS}
    masks: dict[str, tuple[str, ...]] = {}
    for path in images:
        family, defect, part, _ = path.split("/")
        stem, kind = split_name(path)
        for ending in (".png", kind):
            mask = f"{family}/{MASKS}/{defect}/{part}/{stem}_mask{ending}"
            if mask in masks_below:
                masks[path] = (mask,)
                break
    used = {mask for own in masks.values() for mask in own}
    loose = tuple(sorted(masks_below - used))
    ignored = {*others, *deep, *loose} - {*images, *used}
    return Listing(images, masks, tuple(sorted(ignored)), loose)
