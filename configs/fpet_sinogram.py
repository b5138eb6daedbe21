"""Sinograms of functional PET: at rest, or while visual stimulation raises glucose uptake.

Source: phantoms are drawn by ad_core.data.phantoms.fpet_sinogram: a brain under constant infusion
    of FDG, a parallel-beam Radon transform, Poisson counts. No clinical data.
Licence: phantoms are part of this project.
Data: nothing to fetch. --config.data.phantom.dose= is the expected number of counts in a sinogram
    at rest, after 30 minutes of infusion, of a subject of ordinary uptake. The image size is both
    the number of views and of bins. Frames of one subject form a group.
Command: python launch/train.py --config=configs/fpet_sinogram.py --workdir=runs/fpet
Variants: cpu, accelerator; without one the device decides.
Measured: phantom (made-up images), seed 0, size cpu, dose 1e5: AUC 96.4 %, pixel AUROC 82.3 %; rule
    zfn: 0 of 125 abnormal images pass, 232 of 236 normal ones are inspected; rule target_fpr: 21
    pass, 12 are inspected. Over dose, and by a VQGAN: docs/fpet.md.
"""

RECIPE = {
    "name": "fpet_sinogram_phantom",
    "method": "baselines_ad.padim,baselines_ad.features,baselines_ad.multiple_instance",
    "data": {
        "source": "ad_core.data.phantoms.worlds",
        "image_size": 64,  # views and bins; the counts of a sinogram spread over more of them
        "channels": 1,
        "protocol": "folders",
        "augment": "none",  # a mirrored sinogram is another brain's
        "phantom": {"kind": "fpet_sinogram", "dose": 1e5},
    },
}
