"""Brain MRI slices of N. Chakrabarty (Kaggle): no tumour, or one."""

from ml_collections import ConfigDict

from ad_core.data.layouts.files import LabelledFiles
from ad_core.data.sets.known_set import KnownSet, open_known
from ad_core.data.sets.packing import PackedSet

KNOWN = KnownSet(
    name="brain_mri",
    title="Brain MRI Images for Brain Tumor Detection (Kaggle)",
    source="N. Chakrabarty, Brain MRI Images for Brain Tumor Detection, Kaggle 2019",
    licence="none stated by the author; for research, not for redistribution",
    fetch="Fetch the archive of https://www.kaggle.com/datasets/navoneel/"
    "brain-mri-images-for-brain-tumor-detection and unpack it.",
    tree="no/<image> and yes/<image> (the second copy in brain_tumor_dataset/ is not used)",
    recipe="configs/brain_mri.py",
    normal=("no",),
    counts={"no": (98,), "yes": (155,)},
)


class BrainMri(PackedSet):
    """The set, packed from a copy."""

    KNOWN = KNOWN


BUILDER = BrainMri


def open_source(data: ConfigDict) -> LabelledFiles:
    """The copy at `data.root`. Raises UserError as `open_known`."""
    return open_known(KNOWN, data)
