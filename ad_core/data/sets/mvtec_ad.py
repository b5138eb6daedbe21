"""MVTec AD (Bergmann et al.): fifteen categories of objects and textures, with masks."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ad_core.data.layouts import folder
from ad_core.data.layouts.files import LabelledFiles
from ad_core.data.sets.known_set import ABNORMAL, KnownSet, open_known
from ad_core.data.sets.packing import Category, PackedSet

# Normal images (train and test) and abnormal ones. Source: table 1 of the article.
COUNTS = {
    "bottle": (229, 63), "cable": (282, 92), "capsule": (242, 109), "carpet": (308, 89),
    "grid": (285, 57), "hazelnut": (431, 70), "leather": (277, 92), "metal_nut": (242, 93),
    "pill": (293, 141), "screw": (361, 119), "tile": (263, 84), "toothbrush": (72, 30),
    "transistor": (273, 40), "wood": (266, 60), "zipper": (272, 119),
}  # fmt: skip
KNOWN = KnownSet(
    name="mvtec_ad",
    title="a category of MVTec AD (Bergmann et al.)",
    source="P. Bergmann, M. Fauser, D. Sattlegger, C. Steger, MVTec AD, CVPR 2019",
    licence="CC BY-NC-SA 4.0, not for commercial use",
    fetch="Fetch mvtec_anomaly_detection.tar.xz from "
    "https://www.mvtec.com/company/research/datasets/mvtec-ad and unpack it; DIR is the folder of "
    "a category in it.",
    tree="train/good/<number>.png, test/good/..., test/<defect>/... and "
    "ground_truth/<defect>/<number>_mask.png",
    recipe="configs/mvtec.py:CATEGORY",
    normal=("good",),
    counts={},
    masks=True,
)


class MvtecAd(PackedSet):
    """MVTec AD by category, packed from the unpacked archive."""

    KNOWN = KNOWN
    BUILDER_CONFIGS = [Category(name=name) for name in COUNTS]

    def open_copy(self, data: ConfigDict) -> LabelledFiles:
        """The folder of the category in the archive."""
        config: Any = self.builder_config
        data.root = f"{data.root}/{config.name}"
        return open_source(data)


BUILDER = MvtecAd


def open_source(data: ConfigDict) -> LabelledFiles:
    """The category at `data.root`, a folder of its name. Raises UserError as `open_known`."""
    name = Path(str(data.root)).name
    normal, abnormal = COUNTS.get(name, (0, 0))
    counts = {"good": (normal,), ABNORMAL: (abnormal,)} if normal else {}
    return open_known(KNOWN._replace(counts=counts), data, listed=folder.list_layout)
