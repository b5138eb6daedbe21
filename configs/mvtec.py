"""MVTec AD: one of its 15 categories of objects and textures.

Source: Bergmann et al., MVTec AD, CVPR 2019 (normal images to train, both kinds to test, masks).
Licence: CC BY-NC-SA 4.0, not for commercial use.
Data: the unpacked archive as data/mvtec, or one category at --config.data.root=.
Command: python launch/train.py --config=configs/mvtec.py:transistor --workdir=runs/transistor
Variants: the category; cpu, accelerator, without which the device decides: mvtec.py:screw,cpu.
Measured: size cpu, oracle AUC in %: transistor cyclegan_ad 100.0 ± 0.0 (3 seeds), folders 99.8 (1
    seed); screw 97.9 ± 0.4, 99.8; more in docs/results.md.
    By --config.method=vqgan_ad.vqgan at 64 px, in %: cyclegan_ad AUC 94.6 ± 1.3 (2 seeds);
    folders 83.5 ± 0.2 (2 seeds).
"""

GREY = ("grid", "screw", "zipper")
# Turned and mirrored in training, as CycleGAN-AD did; the pose of the others says something.
FREE_POSE = ("hazelnut", "screw", "tile", "wood")
CATEGORIES = (
    "bottle cable capsule carpet grid hazelnut leather metal_nut "
    "pill screw tile toothbrush transistor wood zipper"
).split()

RECIPE = {
    "method": "baselines_ad.padim,baselines_ad.features,baselines_ad.multiple_instance",
    "without_abnormal": "baselines_ad.padim,baselines_ad.gaussian",
    "data": {"source": "ad_core.data.sets.mvtec_ad", "protocol": "folders"},
}
VARIANTS = {
    category: {
        "name": f"mvtec_{category}",
        "data": {
            "root": f"data/mvtec/{category}",
            "channels": 1 if category in GREY else 3,
            "augment": "flips_and_turns" if category in FREE_POSE else "none",
        },
    }
    for category in CATEGORIES
}
