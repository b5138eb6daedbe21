"""CycleGAN-AD on the seven sets of the poster: it also trains on abnormal images.

Source: Bougaham et al., CycleGAN-AD, Neurocomputing 2024. Sets: MVTec AD (Bergmann et al. 2019);
    brain MRI (N. Chakrabarty, Kaggle 2019); BUSI (Al-Dhabyani et al. 2020); OCT (Kermany 2018).
Licence: of the sets, see mvtec.py, brain_mri.py, breast_ultrasound.py and retina_oct.py.
Data: as in those recipes, or at --config.data.root=. All images are pooled: half of the rarer class
    and as many of the other are the test split, 30 % of the rest calibrates, the rest trains.
Command: python launch/train.py --config=configs/cyclegan.py:brain_mri,64 --workdir=runs/brain
Variants: the set; 256 (which accelerator is too), 64 (for an accelerator as well), cpu. Without a
    size the device decides: 256 or cpu.
Measured: size cpu, three seeds, oracle AUC in %, more in docs/cyclegan.md:
    brain_mri 70.6 ± 6.7 by sse alone, 88.4 ± 4.1 composite;
    breast_ultrasound 53.9 ± 5.6 and 79.2 ± 6.8; screw 50.4 ± 4.7 and 76.0 ± 6.8.
    Sizes 256 and 64, and the other sets: not measured.
"""

RECIPE = {
    "method": "cyclegan_ad.cyclegan",
    "data": {
        "protocol": "cyclegan_ad",
        "calibration": {"normal": 0.3, "abnormal": 0.3},
        "augment": "nine_versions",
    },
    "train": {"batch_size": 32, "epochs": 200},  # 16 pairs
}
# Set -> source, root, channels.
SETS = {
    **{
        name: ("ad_core.data.sets.mvtec_ad", f"data/mvtec/{name}", 3)
        for name in ("hazelnut", "screw", "tile", "wood")
    },
    **{
        name: (f"ad_core.data.sets.{name}", f"data/{name}", 1)
        for name in ("brain_mri", "breast_ultrasound", "retina_oct")
    },
}
VARIANTS = {
    name: {
        "name": f"cyclegan_{name}",
        "data": {"source": source, "root": root, "channels": channels},
    }
    for name, (source, root, channels) in SETS.items()
} | {
    "256": {"size": "accelerator"},
    "64": {"size": "accelerator", "data": {"image_size": 64}, "reconstructor": {"blocks": 6}},
    "cpu": {
        "train": {"batch_size": 4, "steps": 1200, "epochs": 0},  # 2 pairs
        "statistics": {"names": ("fast",)},  # others compile for minutes
    },
}
VARIANTS["retina_oct"]["data"]["augment"] = "hflip"
VARIANTS["retina_oct"]["train"] = {"epochs": 50}
