"""Populated circuit boards: made-up ones (:phantom), or a folder of real photographs.

Source: phantoms are drawn by ad_core.data.pcba: three families of boards, whole or with a component
    missing, rotated or shifted, or a solder bridge. A real set is yours.
Licence: phantoms are part of this project.
Data: real photographs in data/pcba or --config.data.root=, as train/good, train/<defect>,
    test/good, test/<defect>, masks in ground_truth/ and ground_truth_train/. Keep all views of one
    board in one folder. A phantom's path names its family: pcba/<family>/<defect>/<number>.
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
        "source": "ad_core.data.phantom" if phantom else "ad_core.data.folder",
        "root": "" if phantom else "data/pcba",
        "channels": 3,
        "protocol": "folders",
        "augment": "none",  # a board has one right side up
    }
    if phantom:
        config.data.phantom = {"kind": "pcba"}
    return config
