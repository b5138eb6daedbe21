"""CycleGAN-AD, PaDiM and PatchCore over the seven sets of the poster's third figure.

Source: Bougaham et al., CycleGAN-AD, Neurocomputing 2024. The poster's rows
    (ad_core/reporting/published/poster.json) stand beside ours; those of PaDiM and PatchCore are of
    sums over batches: benchmarks/batch_sum_bug.py shows what that does.
Data: a folder a set below --config.root=DIR (screw/ or mvtec_screw/, brain_mri/, busi/, ...), or
    without it each where its recipe has it (data/mvtec/screw, data/brain_mri, ...).
Command: python launch/benchmark.py --config=configs/benchmark_poster_fig3.py --workdir=runs/fig3
    FID too: --config.inception=FILE.npz; --config.methods=cyclegan_64,... names others of METHODS.
    Near-copies in one group: --config.overrides=data.near_duplicates=4
Methods: cyclegan at the size of the device (256 px on an accelerator), as configs/cyclegan.py has
    it; untrained, the same without a step; blur, where nothing is learnt; padim, patchcore.
Measured: brain_mri, breast_ultrasound, screw and retina_oct, three seeds, size cpu: docs/poster.md.
"""

BENCHMARK = {
    "name": "poster_fig3",
    "title": "Figure 3 of the poster: CycleGAN-AD, PaDiM, PatchCore",
    "protocol": "cyclegan_ad",
    "methods": ("cyclegan", "ganomaly", "padim", "patchcore", "untrained", "blur"),
}
PUBLISHED = "fig3"
SETS = {
    name: {"recipe": f"mvtec.py:{name}", "folders": (f"mvtec_{name}", f"mvtec/{name}")}
    for name in ("hazelnut", "screw", "tile", "wood")
} | {
    "brain_mri": {"recipe": "brain_mri.py"},
    "breast_ultrasound": {"recipe": "breast_ultrasound.py", "folders": ("busi",)},
    "retina_oct": {"recipe": "retina_oct.py"},
}
CYCLEGAN = {
    "method": "cyclegan_ad.cyclegan",
    "recipe": "cyclegan.py:{set}",
    "scores": {"SSE": "sse", "FID": "fid"},
    "inception": {"statistics": {"names": ("fast", "fid")}},
}
MONITOR = {"monitor": True}  # in metrics.jsonl; it changes no weight
ITS_SCORE = {"its own": "loss_score"}
GANOMALY = {
    "title": "GANomaly",
    "method": "baselines_ad.ganomaly",
    "scores": {"SSE": "sse", "FID": "fid", "its own": "loss_latent"},
    "inception": {"statistics": {"names": ("fast", "fid")}},
    "cpu": {"train": {"steps": 1200}, "statistics": {"names": ("fast",)}},
    "accelerator": {
        "data": {"image_size": 64, "augment": "nine_versions"},
        "train": {"batch_size": 16, "epochs": 200},
    },
}
METHODS = {
    "cyclegan": CYCLEGAN | {"title": "CycleGAN-AD"},
    "cyclegan_64": CYCLEGAN | {"title": "CycleGAN-AD, 64 px", "size": "64"},
    "ganomaly": GANOMALY,
    "padim": {"title": "PaDiM", "method": "baselines_ad.padim", "scores": ITS_SCORE},
    "patchcore": {"title": "PatchCore", "method": "baselines_ad.patchcore", "scores": ITS_SCORE},
    "untrained": CYCLEGAN
    | {
        "title": "statistics of an untrained CycleGAN",
        "settings": {"train": {"steps": 0, "epochs": 0}},
    },
    "blur": CYCLEGAN
    | {
        "title": "statistics of a fixed blur",
        "method": "baselines_ad.blur",
        "cpu": {"data": {"image_size": 64}},
        "accelerator": {"statistics": {"names": ("all",)}},
    },
    # One respect in which the training differs each, for few abnormal images.
    "longer": CYCLEGAN
    | {
        "title": "CycleGAN-AD, longer",
        "settings": {"reconstructor": MONITOR},
        "cpu": {"train": {"steps": 4800}},
    },
    "disc_augment": CYCLEGAN
    | {
        "title": "CycleGAN-AD, discriminators see varied images",
        "settings": {"reconstructor": {"disc_augment": ("colour", "shift", "hole")} | MONITOR},
    },
    "ema": CYCLEGAN
    | {
        "title": "CycleGAN-AD, averaged generators",
        "settings": {"reconstructor": {"ema": 0.995} | MONITOR},
    },
    "spectral_norm": CYCLEGAN
    | {
        "title": "CycleGAN-AD, spectral norm",
        "settings": {"reconstructor": {"spectral_norm": True} | MONITOR},
    },
}
