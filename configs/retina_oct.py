"""Retina OCT B-scans: made-up ones (:phantom, the demo) or the real ones of OCT2017.

Source: phantoms are drawn by ad_core.data.phantoms.worlds: nothing to fetch. The real ones are
    Kermany et al., Large Dataset of Labeled OCT Images, Mendeley Data 2018 (26,565 or 51,390
    normal scans by version, 57,919 with CNV, DME or drusen).
Licence: phantoms are part of this project; the real set is CC BY 4.0.
Data: the unpacked archive (train/NORMAL, train/CNV, ..., test/) as data/retina_oct or at
    --config.data.root=. Patients are told from the file names and stay together; some have scans
    in train/ and in test/, so the split is made anew (protocol cyclegan_ad).
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
        "source": "ad_core.data.phantoms.worlds" if phantom else "ad_core.data.sets.retina_oct",
        "root": "" if phantom else "data/retina_oct",
        "channels": 1,
        "protocol": "folders" if phantom else "cyclegan_ad",
        "augment": "hflip",
    }
    if phantom and config.size == "cpu":
        config.train = {"steps": 600}
    return config
