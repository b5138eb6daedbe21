"""Configurations: the defaults, a recipe over them, and the command line over both.

A recipe (configs/NAME.py) states only what is particular to it. `complete` fills in the rest,
so that a resolved config.json holds every value and every value can be overridden by
`--config.section.key=value`.
"""

import difflib
import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference, placeholder

from ad_core.errors import UserError
from ad_core.runtime.methods import default_settings
from ad_core.runtime.registry import known_modules

SIZES = ("cpu", "accelerator")


def defaults(size: str) -> ConfigDict:
    """Default settings that do not depend on the method. `size` is one of SIZES."""
    if size not in SIZES:
        raise UserError(f"`config.size` (={size!r}) must be one of {', '.join(SIZES)}.")
    small = size == "cpu"
    config = ConfigDict()
    config.name = "unnamed"
    config.size = size
    config.seed = 0
    config.method = ""  # module path of the method; the recipe states it
    config.data = _data(small)
    config.train = _train(small)
    config.statistics = _statistics()
    config.decision = _decision()
    config.localisation = ConfigDict(
        {
            "sigma": 0.0156,  # blur of the residual, as a share of the image's side (4 of 256 px)
            "level": 0.995,  # a region lies above this quantile of calibration normals' maxima
            # Which map localises: a method of several, a map by its name, or METHOD.MAP; "" is the
            # one that the (first) method names.
            "map": "",
            "min_area": 0.0005,  # smallest region, as a share of the image's area
        }
    )
    config.score = ConfigDict({"batch_size": 32 if small else 128, "workers": 2 if small else 16})
    return config


def _data(small: bool) -> ConfigDict:
    return ConfigDict(
        {
            "source": "ad_core.data.layouts.folder",  # a module with open_source, or tfds:NAME
            "root": "",
            "normal_classes": (),  # class folders, TFDS: the classes that are normal
            "group_pattern": "",  # a regular expression whose (parts) of a path name its group
            # Bits of 64 in which perceptual hashes of images of one group may differ; None: off
            "near_duplicates": placeholder(int),
            # The side of a square, or HEIGHT,WIDTH.
            "image_size": FieldReference(64 if small else 256, field_type=object),
            "channels": 1,
            "protocol": "folders",  # folders | cyclegan_ad | vqganodip
            # Shares that leave training (or the abnormal test images) for calibration.
            "calibration": {"normal": 0.4, "abnormal": 1.0, "abnormal_of_test": 0.5},
            "augment": "none",  # none | hflip | flips_and_turns | nine_versions
            # (low, high) of the stored values; None: what the type of the files says, and where it
            # says nothing (DICOM, float) as ("robust",): percentiles of the normal images that
            # train (the run then states the numbers)
            "value_range": placeholder(tuple),
            "resize": "stretch",  # stretch | letterbox | centre_crop, to image_size
            "page": "refuse",  # of files with several: refuse | a number from 0 | all
            "axis": "z",  # across which a volume is sliced: x | y | z (to the right, front, top)
            "workers": 2 if small else 16,  # decoding threads
            "max_pixels": 100_000_000,
            "max_bytes": 500_000_000,
            "min_side": 8,
            "max_frames": 10_000,  # pages, frames or slices of one file
            # Only ad_core.data.phantoms.worlds reads these.
            "phantom": {
                "kind": "retina_oct",
                "seed": 0,
                "normal": 600,
                "abnormal": 300,
                "dose": 1e5,  # fpet_sinogram: expected counts of a sinogram (30 min, at rest)
            },
        }
    )


def _train(small: bool) -> ConfigDict:
    return ConfigDict(
        {
            "steps": 300 if small else 20_000,
            # Over the training images instead of a number of steps; 0: `steps` counts. Rates that
            # fall then do so from epoch to epoch. The main job sets `steps` by it.
            "epochs": 0,
            "batch_size": 8 if small else 64,
            "partition": "jit",  # jit | pmap
            "dtype": "float32",  # compute; parameters and losses stay float32. Or bfloat16
            "log_every": 20,
            "image_every": 100 if small else 2_000,
            "checkpoint_every": 100 if small else 1_000,
            "keep": 3,  # checkpoints
            "epoch_steps": 100,  # steps an epoch; the main job sets it from the training split
            "max_skipped": 20,  # steps in a row with a non-finite loss before the run stops
        }
    )


def _statistics() -> ConfigDict:
    return ConfigDict(
        {
            "names": ("all",),  # of statistics and groups
            # Detectors of the same data and seed, whose statistics are taken too: runs/x/detector
            "also": (),
            # Which `fid` needs: a backbone's name or the .npz of Inception's weights; "": without
            "backbone": "",
            # How the worst windows are searched: ad_core.statistics.WindowSettings.
            "windows": {
                "blocks": 64,  # along the shorter side
                "peaks": 100,  # highest blocks around which windows are tried
                "scales": (1, 4, 7, 10, 13, 16),  # sides in blocks
                "smallest": 7,  # side in pixels
                "worst": 15,  # windows kept
                "rank_power": 0.0,  # 0 ranks by the sum of |x - x̂|, 1 by its mean
                "side": 32,  # to which a kept window is brought, in pixels
            },
        }
    )


def _decision() -> ConfigDict:
    return ConfigDict(
        {
            # auto: extra_trees with both classes, one_class without abnormals. select: the best of
            # `candidates`. single: the one statistic of `statistics.names`, such as sse, is the
            # score. Or another name of ad_core.decision.classifiers.catalogue
            "classifier": "auto",
            "candidates": ("extra_trees", "logistic_regression", "full_sensitivity"),  # of select
            "criterion": "fpr_at_tpr1",  # by which select chooses: or zfn | acc | auc
            "stacked": ("extra_trees", "logistic_regression", "full_sensitivity"),  # of stacking
            "loss": "two_way",  # of full_sensitivity
            "class_weight": "balanced",  # balanced | none
            "resample": "none",  # none | over | under, within the rows to fit of each fold
            "rules": ("zfn", "accuracy", "target_fpr", "normal_quantile"),  # beside the next two
            "rule": "zfn",  # the one that decides between normal and inspect
            "review": "",  # a rule: from the deciding threshold to its own a person looks; "" off
            "target_fpr": 0.05,  # of target_fpr and conformal_p
            "normal_quantile": 0.99,
            "miss_rate": 0.05,  # of np_umbrella and conformal_risk
            "delta": 0.05,  # of np_umbrella: how probably the miss rate may exceed miss_rate
            "miss_cost": placeholder(float),  # of cost: the price of a miss
            "alarm_cost": placeholder(float),  # and of a false alarm, in the same unit
            "prevalence": 0.01,  # share of abnormal parts on the line
            "threshold": placeholder(float),  # of manual
            "folds": 5,
            "confidence": 0.95,  # of what is promised
        }
    )


def complete(recipe: ConfigDict) -> ConfigDict:
    """`recipe` over the defaults of ad_core and of its method; locked. Idempotent.

    Raises:
        UserError: the recipe names no method, sets a key that nothing knows, or a value of
            another type.
    """
    if not recipe.get("method"):
        raise UserError(f"`config.method` is missing; known: {', '.join(known_modules('make'))}.")
    config = defaults(str(recipe.get("size", SIZES[0])))
    config.method = str(recipe.method)
    config.reconstructor = default_settings(config.method, config.size)
    config.lock()
    known = flat(config)
    for key, value in flat(recipe).items():
        require_key(key, known)
        try:
            config.update_from_flattened_dict({key: value})
        except TypeError as error:
            kind = type(known[key]).__name__
            raise UserError(f"`config.{key}` (={value!r}) must be of type {kind}.") from error
    return config


def flat(config: ConfigDict) -> dict[str, Any]:
    """Every value by its dotted key: {"seed": 0, "train.steps": 800, ...}."""
    values = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            values.update({f"{key}.{rest}": leaf for rest, leaf in flat(value).items()})
        else:
            values[key] = value
    return values


def require_key(key: str, known: Mapping[str, Any]) -> None:
    """Refuses a dotted key that is not in `known` (see `flat`), naming those it may mean.

    Raises:
        UserError: the key is unknown, or names a section.
    """
    if key in known:
        return
    inside = [other for other in known if other.startswith(f"{key}.")]
    if inside:
        raise UserError(f"`config.{key}` is a section; its keys: {', '.join(inside)}.")
    leaves = {other: other.rpartition(".")[2] for other in known}
    leaf = key.rpartition(".")[2]
    close = difflib.get_close_matches(leaf, sorted(set(leaves.values())), cutoff=0.75)
    close = [leaf] if leaf in close else close
    near = [other for name in close for other, last in leaves.items() if last == name]
    section = key.rpartition(".")[0]
    siblings = [other for other in known if other.rpartition(".")[0] == section]
    sections = sorted({other.partition(".")[0] for other in known})
    listing = f"known: {', '.join(siblings or sections)}."
    hint = f"did you mean {' or '.join(near)}?" if near else listing
    raise UserError(f"`config.{key}` is unknown; {hint}")


def to_json(config: ConfigDict) -> str:
    """The configuration as it stands in config.json; tuples become lists."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> ConfigDict:
    """The configuration that `to_json` wrote; lists become tuples again. Locked.

    Raises:
        UserError: not such a text, or written by a version with other keys.
    """
    try:
        return complete(ConfigDict(json.loads(text)))
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        raise UserError(f"Not a configuration in JSON: {error}.") from error


def differences(a: ConfigDict, b: ConfigDict) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> its values in `a` and in `b`, where they differ (None: not set).

    A list equals a tuple with the same elements, so a config read from JSON equals its origin.
    """
    left, right = (json.loads(json.dumps(flat(config))) for config in (a, b))
    keys = sorted(left.keys() | right.keys())
    pairs = {key: (left.get(key), right.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
