"""Populated circuit boards: made-up ones (:phantom), or a folder of real photographs.

Source: phantoms are drawn by ad_core.data.phantoms.pcba: three families of boards, whole or with a
    component missing, rotated or shifted, or a solder bridge. A real set is yours.
Licence: phantoms are part of this project.
Data: real photographs in data/pcba or --config.data.root=, as <family>/good/<part>/<view>.png,
    <family>/<defect>/<part>/<view>.png, masks as <family>/ground_truth/<defect>/<part>/
    <view>_mask.png; all views of a part stay together. Or as train/good, train/<defect>, ..., with
    --config.data.protocol=folders. A phantom's path: pcba/<family>/<defect>/<number>.
Command: python launch/train.py --config=configs/pcba.py:phantom --workdir=runs/pcba
Variants: phantom; ganodip; ganodip_phantom; cpu, accelerator, without which the device decides:
    pcba.py:phantom,cpu. ganodip sees boards at 1,024 px by patches that a GAN draws anew; of each
    only the intermediate patch in its middle counts, and these lie side by side (GanoDIP, Bougaham
    et al. 2021; network and sizes are ours). ganodip_phantom does so on made-up boards.
Measured: phantom (made-up images), seed 0, size cpu (256 px): AUC 100.0 %, pixel AUROC 99.5 %;
    rule zfn: 0 of 125 abnormal images pass, 3 of 236 normal ones are inspected. By
    --config.method=vqgan_ad.vqgan at 64 px: AUC 91.9 %, pixel AUROC 90.8 %; 0 of 125 pass, 218 of
    236 are inspected.
"""

RECIPE = {
    "name": "pcba",
    "method": "baselines_ad.padim,baselines_ad.features,baselines_ad.multiple_instance",
    "data": {
        "source": "ad_core.data.sets.pcba",
        "root": "data/pcba",
        "channels": 3,
        "protocol": "cyclegan_ad",
        "augment": "none",  # a board has one right side up
    },
}
# Patches of 128 px. Of each the 64 px in the middle are the intermediate patch, 48 of them its own
# and 16 shared with each neighbour.
GANODIP = {
    "method": "baselines_ad.ganomaly",
    "tiling": {"tile": 128, "overlap": 80, "margin": 32},
    "statistics": {"names": ("default",)},
}
DRAWN = {
    "source": "ad_core.data.phantoms.worlds",
    "root": "",
    "protocol": "folders",
    "phantom": {"kind": "pcba"},
}
VARIANTS = {
    "phantom": {"name": "pcba_phantom", "data": DRAWN},
    "ganodip": {"name": "pcba_ganodip", "data": {"image_size": 1024}, **GANODIP},
    "ganodip_phantom": {
        "name": "pcba_ganodip_phantom",
        "data": {"image_size": 1024, **DRAWN},
        **GANODIP,
    },
}
