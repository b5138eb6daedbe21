"""Textured surfaces: made-up cloth (:phantom), or a folder of real images of a surface.

Source: phantoms are drawn by ad_core.data.phantoms.surface: a weave, whole or with a scratch, a
    hole, a stain or a stray thread. A real set is yours.
Licence: phantoms are part of this project.
Data: real images in data/surface or --config.data.root=, as train/good, train/<defect>, test/good,
    test/<defect>, masks in ground_truth/ and ground_truth_train/.
Command: python launch/train.py --config=configs/surface.py:phantom --workdir=runs/surface
Variants: phantom (sized for the CPU unless phantom,accelerator); accelerator (default), cpu.
Measured: phantom (made-up images), seed 0, size cpu (64 px, 300 steps; 5 CPU minutes): AUC 95.5 %,
    pixel AUROC 79.1 %; rule zfn: 1 of 125 abnormal images passes, 189 of 236 normal ones are
    inspected; rule target_fpr: 23 pass, 9 are inspected.
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
    config.name = "surface_phantom" if phantom else "surface"
    config.size = sizes[0]
    config.data = {
        "source": "ad_core.data.phantoms.worlds" if phantom else "ad_core.data.layouts.folder",
        "root": "" if phantom else "data/surface",
        "channels": 3,
        "protocol": "folders",
        "augment": "flips_and_turns",
    }
    if phantom:
        config.data.phantom = {"kind": "surface"}
    return config
