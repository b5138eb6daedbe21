"""Brain MRI slices: normal or with a tumour.

Source: N. Chakrabarty, Brain MRI Images for Brain Tumor Detection, Kaggle 2019 (98 and 155 images).
Licence: none stated by the author; for research, not for redistribution.
Data: the unpacked archive (no/, yes/) as data/brain_mri or at --config.data.root=; or the images as
    train/good, train/tumor, test/good, test/tumor with --config.data.protocol=folders.
    About 46 images are near-copies of another one: data.grouping=auto keeps them together.
Command: python launch/train.py --config=configs/brain_mri.py --workdir=runs/brain_mri
Variants: cpu, accelerator; without one the device decides.
Measured: size cpu, oracle AUC in %: cyclegan_ad 93.1 ± 1.9 (3 seeds), folders 96.5 (1 seed);
    more in docs/results.md.
    By --config.method=vqgan_ad.vqgan at 64 px, in %: cyclegan_ad AUC 85.4 ± 3.3 (3 seeds);
    folders 78.3 ± 2.4 (3 seeds).
"""

RECIPE = {
    "name": "brain_mri",
    "method": "baselines_ad.padim,baselines_ad.features,baselines_ad.multiple_instance",
    "without_abnormal": "baselines_ad.padim,baselines_ad.gaussian",
    "data": {
        "source": "ad_core.data.sets.brain_mri",
        "root": "data/brain_mri",
        "channels": 1,
        "protocol": "cyclegan_ad",
        "augment": "flips_and_turns",
    },
}
