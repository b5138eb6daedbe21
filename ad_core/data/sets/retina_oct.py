"""Retina OCT B-scans of Kermany et al. (OCT2017): normal, CNV, DME, drusen; groups are patients."""

from ml_collections import ConfigDict

from ad_core.data.layouts.files import LabelledFiles
from ad_core.data.sets.known_set import KnownSet, open_known
from ad_core.data.sets.packing import PackedSet

# Images of versions 2 (Kaggle's kermany2018 too) and 3. Both have the same abnormal ones.
KNOWN = KnownSet(
    name="retina_oct",
    title="OCT2017 (Kermany et al.)",
    source="Kermany, Zhang, Goldbaum, Large Dataset of Labeled Optical Coherence Tomography (OCT) "
    "and Chest X-Ray Images, Mendeley Data, versions 2 and 3, 2018, doi:10.17632/rscbjbr9sj",
    licence="CC BY 4.0",
    fetch="Fetch the OCT archive of https://data.mendeley.com/datasets/rscbjbr9sj and unpack it.",
    tree="train/<class>/<class>-<patient>-<number>.jpeg and test/<class>/... (val/<class>/... "
    "where there is one) with the classes NORMAL, CNV, DME, DRUSEN",
    recipe="configs/retina_oct.py",
    normal=("NORMAL",),
    counts={
        "NORMAL": (26_565, 51_390),
        "CNV": (37_455,),
        "DME": (11_598,),
        "DRUSEN": (8_866,),
    },
    # The patient's number alone: one patient may have scans of several classes.
    group_pattern=r"/[A-Z]+-(\d+)-\d+\.[a-z]+$",
)


class RetinaOct(PackedSet):
    """OCT2017, packed from a copy."""

    KNOWN = KNOWN


BUILDER = RetinaOct


def open_source(data: ConfigDict) -> LabelledFiles:
    """The copy at `data.root`. Raises UserError as `open_known`."""
    return open_known(KNOWN, data)
