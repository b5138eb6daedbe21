"""Any folder of images in the MVTec AD layout.

Source: yours. Only train/good is needed to train; everything else makes the figures better.
Licence: yours.
Data: at --config.data.root=, as train/good, train/<defect>, test/good, test/<defect>, masks
    (white: abnormal) as ground_truth/<defect>/<stem>_mask.png, ground_truth_train/ likewise.
Command: python launch/train.py --config=configs/folder.py --config.data.root=DIR --workdir=runs/own
Variants: cpu, accelerator; without one the device decides.
Measured: no set of its own; docs/results.md has nine that are read in this layout.
"""

RECIPE = {
    "name": "folder",
    "method": "baselines_ad.padim,baselines_ad.features,baselines_ad.multiple_instance",
    "without_abnormal": "baselines_ad.padim,baselines_ad.gaussian",
    "data": {
        "source": "ad_core.data.layouts.folder",
        "root": "",  # --config.data.root=
        "channels": 3,  # 1 for grey images
        "protocol": "folders",
        "augment": "none",  # parts lie alike; hflip or flips_and_turns where the pose is free
    },
}
