"""Breast ultrasound: normal, or with a benign or malignant finding.

Source: Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 2020 (BUSI: 133
    normal, 437 benign, 210 malignant).
Licence: free for research if the article is cited.
Data: in data/breast_ultrasound or --config.data.root=, as train/good, train/benign,
    train/malignant, the same under test/, masks in ground_truth/ and ground_truth_train/.
    Some images carry text and calipers, and some are near-copies of another one.
Command: python launch/train.py --config=configs/breast_ultrasound.py --workdir=runs/breast
Variants: accelerator (default), cpu.
Measured: size cpu, oracle figures in %, more in README.md:
    cyclegan_ad AUC 88.1 ± 4.1 (2 seeds);
    folders AUC 78.5 ± 0.0 (1 seed).
"""

from ml_collections import ConfigDict

SIZES = ("accelerator", "cpu")


def get_config(variant: str = "") -> ConfigDict:
    size = variant or "accelerator"
    if size not in SIZES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SIZES)}.")
    config = ConfigDict()
    config.name = "breast_ultrasound"
    config.size = size
    config.data = {
        "source": "ad_core.data.folder",
        "root": "data/breast_ultrasound",
        "channels": 1,
        "protocol": "folders",
        "augment": "flips_and_turns",
    }
    return config
