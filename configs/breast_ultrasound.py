"""Breast ultrasound: normal, or with a benign or malignant finding.

Source: Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 2020 (BUSI: 133
    normal, 437 benign, 210 malignant).
Licence: free for research if the article is cited.
Data: Dataset_BUSI_with_GT (benign/, malignant/, normal/, masks beside the images) as
    data/breast_ultrasound or at --config.data.root=; or the images as train/good, train/benign,
    ..., masks in ground_truth/ and ground_truth_train/, with --config.data.protocol=folders.
    Some carry text and calipers, and some are near-copies of another one, even with another
    label: data.grouping=auto keeps them together.
Command: python launch/train.py --config=configs/breast_ultrasound.py --workdir=runs/breast
Variants: cpu, accelerator; without one the device decides.
Measured: size cpu, oracle AUC in %: cyclegan_ad 94.8 ± 0.7 (3 seeds), folders 92.1 (1 seed);
    more in docs/results.md.
    By --config.method=vqgan_ad.vqgan at 64 px, in %: cyclegan_ad AUC 85.8 ± 4.7 (3 seeds);
    folders 77.5 ± 1.0 (2 seeds).
"""

RECIPE = {
    "name": "breast_ultrasound",
    "method": "baselines_ad.padim,baselines_ad.features,baselines_ad.multiple_instance",
    "without_abnormal": "baselines_ad.padim,baselines_ad.gaussian",
    "data": {
        "source": "ad_core.data.sets.breast_ultrasound",
        "root": "data/breast_ultrasound",
        "channels": 1,
        "protocol": "cyclegan_ad",
        "augment": "flips_and_turns",
    },
}
