"""Retina OCT B-scans: made-up ones (:phantom, the demo) or a folder of real ones.

Source: phantoms are drawn by ad_core.data.phantom: nothing to fetch. A real set in this layout is
    Kermany et al., Large Dataset of Labeled OCT Images, Mendeley Data 2018 (normal,
    CNV, DME, drusen).
Licence: phantoms are part of this project; the real set is CC BY 4.0.
Data: real scans in data/retina_oct or --config.data.root=, as train/good, train/<defect>, test/good
    and test/<defect>. Keep the scans of one patient in one folder: they are near-copies.
Command: python launch/train.py --config=configs/retina_oct.py:phantom --workdir=runs/demo
Variants: phantom (sized for the CPU unless phantom,accelerator); accelerator (default), cpu.
Measured: phantom (made-up images), seed 0, size cpu: AUC 98.5 %, pixel AUROC 96.2 %;
    rule zfn: 0 of 125 abnormal images pass, 225 of 236 normal ones are inspected.
"""

from ml_collections import ConfigDict

SIZES = ("accelerator", "cpu")


def get_config(variant: str = "") -> ConfigDict:
    words = variant.split(",") if variant else []
    phantom = "phantom" in words
    sizes = [word for word in words if word != "phantom"] or ["cpu" if phantom else "accelerator"]
    if len(sizes) > 1 or sizes[0] not in SIZES:
        raise ValueError(f"unknown variant {variant!r}; known: phantom, {', '.join(SIZES)}.")
    config = ConfigDict()
    config.name = "retina_oct_phantom" if phantom else "retina_oct"
    config.size = sizes[0]
    config.data = {
        "source": "ad_core.data.phantom" if phantom else "ad_core.data.folder",
        "root": "" if phantom else "data/retina_oct",
        "channels": 1,
        "protocol": "folders",
        "augment": "hflip",
    }
    if phantom and config.size == "cpu":
        config.train = {"steps": 600}
    return config
