"""Every method of the project at the size of a CPU, over the sets below one folder of yours.

Data: --config.root=DIR; each folder in it that holds train/good is a set, in MVTec AD's layout.
    Those named in SETS are read as their recipes say, others by configs/folder.py.
Command: python launch/benchmark.py --config=configs/benchmark_quick.py --config.root=DIR
    --workdir=runs/quick, in one line
    Some of it: --config.sets=screw,mine --config.methods=padim,blur --config.seeds=0
    As the folders lie: --config.protocol=folders (CycleGAN then needs abnormal images in train/)
    More of every run, or of one set's: --config.overrides="train.steps=800 SET:data.channels=1"
Methods: the memories on a pretrained network, alone and as the default joins them; generators of
    64 px; the same untrained, and a blur, where nothing is learnt.
Measured: ten sets with three seeds, but for some of the fine-tuned head's: docs/results.md.
"""

BENCHMARK = {
    "name": "quick",
    "title": "Every method at the size of a CPU",
    "size": "cpu",
    "protocol": "cyclegan_ad",  # leaves abnormal images to learn from, in every set
}
PUBLISHED = "fig3"
OTHERS = "folder.py"
CATEGORIES = (
    "bottle cable capsule carpet grid hazelnut leather metal_nut "
    "pill screw tile toothbrush transistor wood zipper"
).split()
SETS = {
    name: {"recipe": f"mvtec.py:{name}", "folders": (f"mvtec_{name}",)} for name in CATEGORIES
} | {
    "brain_mri": {"recipe": "brain_mri.py"},
    "breast_ultrasound": {"recipe": "breast_ultrasound.py", "folders": ("busi",)},
    "retina_oct": {"recipe": "retina_oct.py"},
    "magnetic_tile": {"recipe": "magnetic_tile.py"},
    "pcb": {"recipe": "pcb.py", "folders": ("deeppcb",)},
}
ITS_SCORE = {"its own": "loss_score"}
SSE = {"SSE": "sse"}
PAIRS = {
    "data": {"calibration": {"normal": 0.3, "abnormal": 0.3}, "augment": "nine_versions"},
    "train": {"batch_size": 4, "steps": 1200},
    "statistics": {"names": ("fast",)},
}
METHODS = {
    "padim_features": {
        "title": "PaDiM and features",
        "method": "baselines_ad.padim,baselines_ad.features",
    },
    "local": {
        "title": "PaDiM, features and local head (default)",
        "method": "baselines_ad.padim,baselines_ad.features,baselines_ad.multiple_instance",
    },
    "padim": {"title": "PaDiM", "method": "baselines_ad.padim", "scores": ITS_SCORE},
    "patchcore": {"title": "PatchCore", "method": "baselines_ad.patchcore", "scores": ITS_SCORE},
    "gaussian": {"title": "Gaussians", "method": "baselines_ad.gaussian", "scores": ITS_SCORE},
    "features": {"title": "features", "method": "baselines_ad.features"},
    "fine_tuned": {"title": "fine-tuned features", "method": "baselines_ad.fine_tuned"},
    "vqgan": {"title": "VQGAN", "method": "vqgan_ad.vqgan", "scores": SSE},
    "cyclegan": {
        "title": "CycleGAN-AD",
        "method": "cyclegan_ad.cyclegan",
        "settings": PAIRS,
        "scores": SSE,
    },
    "ganomaly": {
        "title": "GANomaly",
        "method": "baselines_ad.ganomaly",
        "settings": {"train": {"steps": 1200}, "statistics": {"names": ("fast",)}},
        "scores": SSE | {"its own": "loss_latent"},
    },
    "untrained_vqgan": {
        "title": "statistics of an untrained VQGAN",
        "method": "vqgan_ad.vqgan",
        "settings": {"train": {"steps": 0}},
        "scores": SSE,
    },
    "untrained_cyclegan": {
        "title": "statistics of an untrained CycleGAN",
        "method": "cyclegan_ad.cyclegan",
        "settings": PAIRS | {"train": {"batch_size": 4, "steps": 0}},
        "scores": SSE,
    },
    "blur": {
        "title": "statistics of a fixed blur",
        "method": "baselines_ad.blur",
        "settings": {"data": {"image_size": 64}, "statistics": {"names": ("all",)}},
        "scores": SSE,
    },
}
