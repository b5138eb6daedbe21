"""Generators side by side, each by its own statistics and beside deep ones: what each is worth.

Data: --config.root=DIR, a folder a set below it (brain_mri/, busi/, magnetic_tile/, retina_oct/,
    transistor/ or mvtec_transistor/), or without it each where its recipe has it.
Command: python launch/benchmark.py --config=configs/benchmark_generators.py --config.root=DIR
    --workdir=runs/generators, in one line
    Some of it: --config.methods=vqgan_cnn,pixel_diffusion --config.sets=transistor --config.seeds=0
Methods: VQGAN of convolutions, transformers, or one of each; CycleGAN of both; diffusion in pixels
    by a U-Net and by a transformer, and in the latents of the first VQGAN of the same set and seed;
    each by all its statistics, deep ones of a pretrained backbone among them, and in a row "alone"
    by those of image, windows and losses; the project's default, and it without its local head; a
    VQGAN without a step of training, and a blur, where nothing is learnt.
Measured: brain MRI, BUSI and transistors with seed 0: docs/results.md.
"""

BENCHMARK = {
    "name": "generators",
    "title": "Generators side by side",
    "protocol": "cyclegan_ad",  # leaves abnormal images to learn from, in every set
}
SETS = {
    "brain_mri": {"recipe": "brain_mri.py"},
    "breast_ultrasound": {"recipe": "breast_ultrasound.py", "folders": ("busi",)},
    "magnetic_tile": {"recipe": "magnetic_tile.py"},
    "retina_oct": {"recipe": "retina_oct.py"},
    "transistor": {"recipe": "mvtec.py:transistor", "folders": ("mvtec_transistor",)},
}
DEEP = ("pixel", "window", "loss", "deep")
BY_ITSELF = {"alone": "*deep_*"}  # the columns that the row does without, of windows too
# Of CycleGAN, which learns from both classes; the others leave every abnormal image to calibrate.
PAIRS = {
    "data": {"calibration": {"normal": 0.3, "abnormal": 0.3}, "augment": "nine_versions"},
    "train": {"batch_size": 4},
}
# At the size of a CPU, for all alike: some minutes of a core. An accelerator has its default.
STEPS = {"steps": 400}
GENERATORS = {  # title, method, network, other settings
    "vqgan_cnn": ("VQGAN", "vqgan_ad.vqgan", "cnn", {}),
    "vqgan_vit": ("ViT-VQGAN", "vqgan_ad.vqgan", "vit", {}),
    "vqgan_hybrid": ("VQGAN, hybrid", "vqgan_ad.vqgan", "hybrid", {}),
    "cyclegan_cnn": ("CycleGAN-AD", "cyclegan_ad.cyclegan", "cnn", PAIRS),
    "cyclegan_vit": ("CycleGAN-AD, ViT", "cyclegan_ad.cyclegan", "vit", PAIRS),
    "pixel_diffusion": ("pixel diffusion", "diffusion_ad.pixel", "unet", {}),
    "pixel_dit": ("pixel diffusion, DiT", "diffusion_ad.pixel", "dit", {}),
}
METHODS = {
    name: {
        "title": title,
        "method": method,
        "settings": {
            **settings,
            "reconstructor": {"network": network},
            "statistics": {"names": DEEP},
        },
        "cpu": {"train": STEPS},
        "scores": {"SSE": "sse"},
        "without": BY_ITSELF,
    }
    for name, (title, method, network, settings) in GENERATORS.items()
}
METHODS |= {
    "latent_diffusion": {
        "title": "latent diffusion",
        "method": "diffusion_ad.latent",
        "settings": {
            "reconstructor": {"autoencoder": {"backbone": "vqgan_ad.autoencoder:{after}"}},
            "statistics": {"names": DEEP},
        },
        "cpu": {"train": STEPS},
        "scores": {"SSE": "sse"},
        "without": BY_ITSELF,
        "after": "vqgan_cnn",
    },
    "padim_features": {
        "title": "PaDiM and features",
        "method": "baselines_ad.padim,baselines_ad.features",
    },
    "local": {
        "title": "PaDiM, features and local head (default)",
        "method": "baselines_ad.padim,baselines_ad.features,baselines_ad.multiple_instance",
    },
    "untrained_vqgan": {
        "title": "statistics of an untrained VQGAN",
        "method": "vqgan_ad.vqgan",
        "settings": {"train": {"steps": 0}, "statistics": {"names": DEEP}},
        "scores": {"SSE": "sse"},
        "without": BY_ITSELF,
    },
    "blur": {
        "title": "statistics of a fixed blur",
        "method": "baselines_ad.blur",
        "settings": {"statistics": {"names": DEEP}},
        "cpu": {"data": {"image_size": 64}},
        "scores": {"SSE": "sse"},
        "without": BY_ITSELF,
    },
}
