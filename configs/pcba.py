"""Populated circuit boards: made-up ones (:phantom), or a folder of real photographs.

Source: phantoms are drawn by ad_core.data.phantoms.pcba: three families of boards, whole or with a
    component missing, rotated or shifted, or a solder bridge. A real set is yours.
Licence: phantoms are part of this project.
Data: real photographs in data/pcba or --config.data.root=, as <family>/good/<part>/<view>.png,
    <family>/<defect>/<part>/<view>.png, masks as <family>/ground_truth/<defect>/<part>/
    <view>_mask.png; all views of a part stay together. Or as train/good, train/<defect>, ..., with
    --config.data.protocol=folders. A phantom's path: pcba/<family>/<defect>/<number>.
Command: python launch/train.py --config=configs/pcba.py:phantom --workdir=runs/pcba
Variants: phantom (sized for the CPU unless phantom,accelerator); accelerator (default), cpu.
Measured: phantom (made-up images), seed 0, size cpu (64 px, 300 steps; 4 CPU minutes): AUC 91.9 %,
    pixel AUROC 90.8 %; rule zfn: 0 of 125 abnormal images pass, 218 of 236 normal ones are
    inspected; rule target_fpr: 40 pass, 10 are inspected.
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
    config.name = "pcba_phantom" if phantom else "pcba"
    config.size = sizes[0]
    config.data = {
        "source": "ad_core.data.phantoms.worlds" if phantom else "ad_core.data.sets.pcba",
        "root": "" if phantom else "data/pcba",
        "channels": 3,
        "protocol": "folders" if phantom else "cyclegan_ad",
        "augment": "none",  # a board has one right side up
    }
    if phantom:
        config.data.phantom = {"kind": "pcba"}
    return config
