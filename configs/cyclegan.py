"""CycleGAN-AD on the seven sets of the poster: it also trains on abnormal images.

Source: Bougaham et al., CycleGAN-AD, Neurocomputing 2024. Sets: MVTec AD (Bergmann et al. 2019);
    brain MRI (N. Chakrabarty, Kaggle 2019); BUSI (Al-Dhabyani et al. 2020); OCT (Kermany 2018).
Licence: of the sets, see mvtec.py, brain_mri.py, breast_ultrasound.py and retina_oct.py.
Data: as in those recipes, or at --config.data.root=. All images are pooled: half of the rarer class
    and as many of the other are the test split, 30 % of the rest calibrates, the rest trains.
Command: python launch/train.py --config=configs/cyclegan.py:brain_mri,64 --workdir=runs/brain
Variants: the set, then 256 (accelerator, default), 64 (accelerator) or cpu.
Measured: size cpu, three seeds, oracle AUC in %, more in docs/cyclegan.md:
    brain_mri 70.6 ± 6.7 by sse alone, 88.4 ± 4.1 composite;
    breast_ultrasound 53.9 ± 5.6 and 79.2 ± 6.8; screw 50.4 ± 4.7 and 76.0 ± 6.8.
    Sizes 256 and 64, and the other sets: not measured.
"""

from ml_collections import ConfigDict

# Set -> root, channels, versions of each image, epochs.
SETS = {
    "hazelnut": ("data/mvtec/hazelnut", 3, "nine_versions", 200),
    "screw": ("data/mvtec/screw", 3, "nine_versions", 200),
    "tile": ("data/mvtec/tile", 3, "nine_versions", 200),
    "wood": ("data/mvtec/wood", 3, "nine_versions", 200),
    "brain_mri": ("data/brain_mri", 1, "nine_versions", 200),
    "breast_ultrasound": ("data/breast_ultrasound", 1, "nine_versions", 200),
    "retina_oct": ("data/retina_oct", 1, "hflip", 50),
}
SIZES = ("256", "accelerator", "64", "cpu")


def get_config(variant: str = "") -> ConfigDict:
    name, _, size = variant.partition(",")
    if name not in SETS:
        raise ValueError(f"unknown set {name!r}; known: {', '.join(SETS)}.")
    if (size or "256") not in SIZES:
        raise ValueError(f"unknown variant {size!r}; known: {', '.join(SIZES)}.")
    root, channels, augment, epochs = SETS[name]
    config = ConfigDict()
    config.name = f"cyclegan_{name}"
    config.size = "cpu" if size == "cpu" else "accelerator"
    config.method = "cyclegan_ad.cyclegan"
    config.data = {
        "source": f"ad_core.data.sets.{'mvtec_ad' if '/mvtec/' in root else name}",
        "root": root,
        "channels": channels,
        "protocol": "cyclegan_ad",
        "calibration": {"normal": 0.3, "abnormal": 0.3},
        "augment": augment,
    }
    if size == "cpu":
        config.train = {"batch_size": 4, "steps": 1200}  # 2 pairs
        config.statistics = {"names": ("fast",)}  # others compile for minutes
    else:
        config.train = {"batch_size": 32, "epochs": epochs}  # 16 pairs
    if size == "64":
        config.data.image_size = 64
        config.reconstructor = {"blocks": 6}
    return config
