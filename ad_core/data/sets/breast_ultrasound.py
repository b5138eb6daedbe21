"""Breast ultrasound images of Al-Dhabyani et al. (BUSI): normal, benign, malignant, with masks."""

from ml_collections import ConfigDict

from ad_core.data.layouts.files import LabelledFiles
from ad_core.data.sets.known_set import KnownSet, open_known
from ad_core.data.sets.packing import PackedSet

KNOWN = KnownSet(
    name="breast_ultrasound",
    title="BUSI (Al-Dhabyani et al.)",
    source="W. Al-Dhabyani, M. Gomaa, H. Khaled, A. Fahmy, Dataset of breast ultrasound images, "
    "Data in Brief 28, 2020, doi:10.1016/j.dib.2019.104863",
    licence="free for research if the article is cited",
    fetch="Fetch Dataset_BUSI.zip from https://scholar.cu.edu.eg/?q=afahmy/pages/dataset (or "
    "Kaggle's copy) and unpack it.",
    tree="Dataset_BUSI_with_GT/ as DIR: <class>/<class> (<number>).png with masks beside each, "
    "<class> (<number>)_mask.png, _mask_1.png, ..., and the classes normal, benign, malignant",
    recipe="configs/breast_ultrasound.py",
    normal=("normal",),
    counts={"normal": (133,), "benign": (437,), "malignant": (210,)},
    masks=True,
)


class BreastUltrasound(PackedSet):
    """BUSI, packed from a copy; several masks of an image are united."""

    KNOWN = KNOWN


BUILDER = BreastUltrasound


def open_source(data: ConfigDict) -> LabelledFiles:
    """The copy at `data.root`. Raises UserError as `open_known`."""
    return open_known(KNOWN, data)
