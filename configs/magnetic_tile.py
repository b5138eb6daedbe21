"""Surfaces of magnetic tiles: free, or with one of five defects.

Source: Huang et al., Surface defect saliency of magnetic tile, 2018 (952 free, 392
    defective, masks).
Licence: no licence file; the authors welcome use and ask for citation.
Data: in data/magnetic_tile or --config.data.root=, as train/good, train/<defect>, test/good,
    test/<defect>, masks in ground_truth/ and ground_truth_train/. Shots of one tile belong in one
    folder. Crops differ much in size and shape; defects are small and of low contrast.
Command: python launch/train.py --config=configs/magnetic_tile.py --workdir=runs/magnetic_tile
Variants: cpu, accelerator; without one the device decides.
Measured: size cpu, oracle AUC in %: cyclegan_ad 91.4 ± 2.9 (3 seeds), folders 95.0 (1 seed);
    more in docs/results.md.
    By --config.method=vqgan_ad.vqgan at 64 px, in %: cyclegan_ad AUC 68.0 ± 2.2 (2 seeds);
    folders 56.6 ± 1.9 (2 seeds).
"""

RECIPE = {
    "name": "magnetic_tile",
    "method": "baselines_ad.padim,baselines_ad.features,baselines_ad.multiple_instance",
    "without_abnormal": "baselines_ad.padim,baselines_ad.gaussian",
    "data": {
        "source": "ad_core.data.layouts.folder",
        "root": "data/magnetic_tile",
        "channels": 1,
        "protocol": "folders",
        "augment": "flips_and_turns",
    },
}
