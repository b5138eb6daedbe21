"""Textured surfaces: made-up cloth (:phantom), or a folder of real images of a surface.

Source: phantoms are drawn by ad_core.data.phantoms.surface: a weave, whole or with a scratch, a
    hole, a stain or a stray thread. A real set is yours.
Licence: phantoms are part of this project.
Data: real images in data/surface or --config.data.root=, as train/good, train/<defect>, test/good,
    test/<defect>, masks in ground_truth/ and ground_truth_train/.
Command: python launch/train.py --config=configs/surface.py:phantom --workdir=runs/surface
Variants: phantom; cpu, accelerator, without which the device decides: surface.py:phantom,cpu.
Measured: phantom (made-up images), seed 0, size cpu (256 px): AUC 100.0 %, pixel AUROC 98.0 %;
    rule zfn: 3 of 125 abnormal images pass, none of 236 normal ones is inspected. By
    --config.method=vqgan_ad.vqgan at 64 px: AUC 95.5 %, pixel AUROC 79.1 %; 1 of 125 passes, 189 of
    236 are inspected.
"""

RECIPE = {
    "name": "surface",
    "method": "baselines_ad.padim,baselines_ad.features,baselines_ad.multiple_instance",
    "data": {
        "source": "ad_core.data.layouts.folder",
        "root": "data/surface",
        "channels": 3,
        "protocol": "folders",
        "augment": "flips_and_turns",
    },
}
VARIANTS = {
    "phantom": {
        "name": "surface_phantom",
        "data": {
            "source": "ad_core.data.phantoms.worlds",
            "root": "",
            "phantom": {"kind": "surface"},
        },
    },
}
