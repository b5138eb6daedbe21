"""Configurations: the defaults, a recipe over them, and the command line over both.

A recipe (configs/NAME.py) states only what is particular to it. `complete` fills in the rest,
so that a resolved config.json holds every value and every value can be overridden by
`--config.section.key=value`.
"""

import importlib.util
from pathlib import Path

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from ad_core.errors import UserError
from ad_core.registry import resolve

SIZES = ("cpu", "accelerator")


def defaults(size: str) -> ConfigDict:
    """All that does not depend on the method. `size` is one of SIZES."""
    if size not in SIZES:
        raise UserError(f"`config.size` (={size!r}) must be one of {', '.join(SIZES)}.")
    small = size == "cpu"
    config = ConfigDict()
    config.name = "unnamed"
    config.size = size
    config.seed = 0
    config.method = "vqgan_ad.vqgan"
    config.data = _data(small)
    config.train = _train(small)
    config.statistics = ConfigDict({"names": ("default",)})
    config.decision = _decision()
    config.localisation = ConfigDict(
        {
            "sigma": 0.0156,  # blur of the residual, as a share of the image's side (4 of 256 px)
            "level": 0.995,  # a region lies above this quantile of calibration normals' maxima
            "min_area": 0.0005,  # smallest region, as a share of the image's area
        }
    )
    config.score = ConfigDict({"batch_size": 32 if small else 128, "workers": 2 if small else 16})
    return config


def _data(small: bool) -> ConfigDict:
    return ConfigDict(
        {
            "source": "ad_core.data.folder",
            "root": "",
            "image_size": 64 if small else 256,
            "channels": 1,
            "protocol": "folders",  # folders | cyclegan_ad | vqganodip
            # Shares that leave training (or the abnormal test images) for calibration.
            "calibration": {"normal": 0.4, "abnormal": 1.0, "abnormal_of_test": 0.5},
            "augment": "none",  # none | hflip | flips_and_turns
            "value_range": placeholder(tuple),  # (low, high) of the stored values; None: by dtype
            "workers": 2 if small else 16,  # decoding threads
            "max_pixels": 100_000_000,
            "max_bytes": 500_000_000,
            "min_side": 8,
            # Only ad_core.data.phantom reads these.
            "phantom": {"kind": "retina_oct", "seed": 0, "normal": 300, "abnormal": 150},
        }
    )


def _train(small: bool) -> ConfigDict:
    return ConfigDict(
        {
            "steps": 800 if small else 20_000,
            "batch_size": 16 if small else 64,
            "partition": "jit",  # jit | pmap
            "dtype": "float32",  # compute; parameters and losses stay float32. Or bfloat16
            "log_every": 20,
            "image_every": 200 if small else 2_000,
            "checkpoint_every": 200 if small else 1_000,
            "keep": 3,  # checkpoints
            "max_skipped": 20,  # steps in a row with a non-finite loss before the run stops
        }
    )


def _decision() -> ConfigDict:
    return ConfigDict(
        {
            "classifier": "auto",  # extra_trees with both classes, one_class without abnormals
            "rules": ("zfn", "accuracy", "target_fpr", "normal_quantile"),
            "rule": "zfn",  # the one that decides between normal and inspect
            "target_fpr": 0.05,
            "normal_quantile": 0.99,
            "folds": 5,
            "confidence": 0.95,
        }
    )


def complete(recipe: ConfigDict) -> ConfigDict:
    """`recipe` over the defaults of ad_core and of its method; locked. Idempotent.

    Raises:
        UserError: the recipe sets a key that nothing knows, or a value of another type.
    """
    config = defaults(str(recipe.get("size", "cpu")))
    config.method = str(recipe.get("method", config.method))
    config.reconstructor = resolve(config.method).defaults(config.size)
    try:
        config.lock().update(recipe)
    except (KeyError, AttributeError, TypeError) as error:
        raise UserError(f"Configuration: {error}") from error
    return config


def load_recipe(name: str) -> ConfigDict:
    """The recipe of "configs/NAME.py[:variant]". A recipe is Python: load only what you trust.

    Raises:
        UserError: no such file, or a variant that the recipe refuses.
    """
    path, _, variant = name.partition(":")
    if not Path(path).is_file():
        found = ", ".join(sorted(p.as_posix() for p in Path("configs").glob("[!_]*.py")))
        raise UserError(f"`--config` (={path}): no such file; here: {found or 'none'}.")
    spec = importlib.util.spec_from_file_location(f"recipe_{Path(path).stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return module.get_config(*([variant] if variant else []))
    except ValueError as error:
        raise UserError(f"`--config` (={name}): {error}") from error
