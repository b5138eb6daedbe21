"""Printed circuit boards, bi-level scans: template or with 3 to 12 defects.

Source: Tang et al., DeepPCB, 2019 (1500 pairs of a template and a tested board, boxes).
Licence: MIT by its licence file, research only by its README.
Data: in data/pcb or --config.data.root=, as train/good, train/defect, test/good, test/defect, and
    the boxes, filled, as masks in ground_truth/ and ground_truth_train/.
    Normal boards differ much from one another: a stress test for one-class methods.
Command: python launch/train.py --config=configs/pcb.py --workdir=runs/pcb
Variants: cpu, accelerator; without one the device decides.
Measured: size cpu, seed 0, on a copy of part of it, before the local head (docs/results.md): AUC
    94.9 %; 5 % bound: 1 of 108 abnormal images passes, 58 of 107 normal ones are inspected. By
    --config.method=vqgan_ad.vqgan AUC 51.0 %, which is chance, and every normal one is inspected.
"""

RECIPE = {
    "name": "pcb",
    "method": "baselines_ad.padim,baselines_ad.features,baselines_ad.multiple_instance",
    "without_abnormal": "baselines_ad.padim,baselines_ad.gaussian",
    "data": {
        "source": "ad_core.data.layouts.folder",
        "root": "data/pcb",
        "channels": 1,
        "protocol": "folders",
        "augment": "none",
    },
}
