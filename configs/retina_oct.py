"""Retina OCT B-scans: made-up ones (:phantom, the demo) or the real ones of OCT2017.

Source: phantoms are drawn by ad_core.data.phantoms.worlds: nothing to fetch. The real ones are
    Kermany et al., Large Dataset of Labeled OCT Images, Mendeley Data 2018 (26,565 or 51,390
    normal scans by version, 57,919 with CNV, DME or drusen).
Licence: phantoms are part of this project; the real set is CC BY 4.0.
Data: the unpacked archive (train/NORMAL, train/CNV, ..., test/) as data/retina_oct or at
    --config.data.root=. Patients are told from the file names and stay together; some have scans
    in train/ and in test/, so the split is made anew (protocol cyclegan_ad).
Command: python launch/train.py --config=configs/retina_oct.py:phantom --workdir=runs/demo
Variants: phantom; cpu, accelerator, without which the device decides: retina_oct.py:phantom,cpu.
Measured: phantom (made-up images), seed 0, size cpu, the demo: AUC 100.0 %; rule zfn: 0 of 125
    abnormal images pass, 1 of 236 normal ones is inspected; pixel AUROC 99.0 %. By
    --config.method=vqgan_ad.vqgan at 64 px: AUC 98.5 %, pixel AUROC 96.2 %; 0 of 125 pass, 225 of
    236 are inspected.
"""

RECIPE = {
    "name": "retina_oct",
    "method": "baselines_ad.padim,baselines_ad.features,baselines_ad.multiple_instance",
    "without_abnormal": "baselines_ad.padim,baselines_ad.gaussian",
    "data": {
        "source": "ad_core.data.sets.retina_oct",
        "root": "data/retina_oct",
        "channels": 1,
        "protocol": "cyclegan_ad",
        "augment": "hflip",
    },
}
VARIANTS = {
    "phantom": {
        "name": "retina_oct_phantom",
        "data": {
            "source": "ad_core.data.phantoms.worlds",
            "root": "",
            "protocol": "folders",
        },
    },
    "phantom,cpu": {"train": {"steps": 600}},
}
