"""Default settings that do not depend on the method, each with the line that --help shows."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference, placeholder

from ad_core.errors import UserError

SIZES = ("cpu", "accelerator")


class Key(NamedTuple):
    """Setting of a configuration: its default, what it is in a line, and what it may be.

    default: of a leaf. choices: words, where nothing else is allowed. only: who can use it, a key
    of `help.USERS`; "" is everyone.
    """

    default: Any
    text: str
    choices: tuple[str, ...] = ()
    only: str = ""


Keys = Mapping[str, Any]  # name -> a Key, or a section of the same kind


def defaults(size: str) -> ConfigDict:
    """Default settings that do not depend on the method. `size` is one of SIZES."""
    return values_of(shared_keys(size))


def values_of(keys: Keys) -> ConfigDict:
    """The defaults of a section of Keys, in the same sections."""
    return ConfigDict(
        {
            name: key.default if isinstance(key, Key) else values_of(key)
            for name, key in keys.items()
        }
    )


def shared_keys(size: str) -> Keys:
    """Every Key that does not depend on the method, by section."""
    if size not in SIZES:
        raise UserError(f"`config.size` (={size!r}) must be one of {', '.join(SIZES)}.")
    small = size == "cpu"
    return {
        "name": Key("unnamed", "of the run, in its report"),
        "size": Key(size, "of networks and images, by what computes them", SIZES),
        "seed": Key(0, "of all that is random"),
        # The recipe states it.
        "method": Key("", "module path of the method, or of several joined by commas"),
        "without_abnormal": Key(
            "", "in place of `method` where no abnormal image teaches or calibrates; '' keeps it"
        ),
        "data": _data(small),
        "tiling": _tiling(small),
        "train": _train(small),
        "statistics": _statistics(),
        "decision": _decision(),
        "localisation": _localisation(),
        "score": {
            "batch_size": Key(32 if small else 128, "images measured at a time"),
            "workers": Key(2 if small else 16, "threads that decode what is measured"),
        },
    }


def _localisation() -> Keys:
    return {
        "sigma": Key(0.0156, "blur of the map, as a share of the image's side (4 of 256 px)"),
        # Of abnormal images that calibrate, 0.9 marks twice as many as 0.995. Figures of test
        # images had been looked at too when it was chosen (docs/baselines.md).
        "level": Key(0.9, "share of normal images whose map stays below the level of a region"),
        "map": Key("", "a method, a map or METHOD.MAP that localises; '' the best, as one"),
        "position": Key(
            "auto",
            "what of normal maps at each position is taken out of a map; auto: what calibrating "
            "abnormal images find best",
            ("auto", "none", "mean", "deviation"),
        ),
        "min_area": Key(0.0005, "smallest region, as a share of the image's area"),
    }


def _tiling(small: bool) -> Keys:
    return {
        "tile": Key(0, "side in pixels of the tiles by which an image is seen; 0: as a whole"),
        "overlap": Key(placeholder(int), "pixels that neighbours share; none: a quarter of a tile"),
        "margin": Key(0, "pixels at borders of a tile within the image that are not used"),
        "scales": Key((1,), "whole numbers by which an image is reduced before it is cut: 1,2,4"),
        "blend": Key("cosine", "how neighbours are joined", ("cosine", "linear", "nearest")),
        "batch": Key(8 if small else 64, "tiles that are seen at a time"),
        "top": Key(0.05, "share of the tiles whose mean loss is NAME_tile_top"),
        "crop": Key(
            "random",
            "how tiles to learn from are cut: anywhere, or as they are seen",
            ("random", "grid"),
            "steps",
        ),
    }


def _data(small: bool) -> Keys:
    side = FieldReference(64 if small else 256, field_type=object)
    return {
        "source": Key("ad_core.data.layouts.folder", "how images are listed: a module, tfds:NAME"),
        "root": Key("", "folder or table of the images", only="files"),
        "normal_classes": Key(
            (), "class folders, TFDS: the classes that are normal", only="classes"
        ),
        "group_pattern": Key(
            "", "regular expression whose (parts) of a path name its group", only="files"
        ),
        "grouping": Key(
            "auto",
            "where no groups are told: found by likeness, or none",
            ("auto", "none"),
            "files",
        ),
        "near_duplicates": Key(
            placeholder(int), "bits of 64 in which hashes of one group may differ; none: off"
        ),
        "image_size": Key(side, "side of a square, in pixels (see resize), or HEIGHT,WIDTH"),
        "channels": Key(1, "1 for grey images, 3 for colour"),
        "protocol": Key(
            "folders",
            "how images are split: as they lie, anew with a balanced test, or fold by fold",
            ("folders", "cyclegan_ad", "vqganodip"),
        ),
        # Shares that leave training (or the abnormal test images) for calibration.
        "calibration": {
            "normal": Key(
                placeholder(float),
                "share of the training normals that calibrates; none: 0.4, or 1.0 where every "
                "method learns in one pass",
            ),
            "abnormal": Key(1.0, "share of the abnormals in training that calibrates"),
            "abnormal_of_test": Key(
                0.5, "share of the abnormal test images that calibrates, where none lie in training"
            ),
            # What learns in one pass learns from the normals that calibrate too.
            "folds": Key(
                0,
                "parts, each left out once of what is learnt; 0: each method's own, 20 where it "
                "fits in seconds",
            ),
        },
        # Without an abnormal image that calibrates, they choose the score; they never count as one.
        "synthetic": {
            "count": Key(100, "normals that get a made-up defect, to choose a score by; 0: none"),
            "kinds": Key(
                ("cut_paste", "scar", "texture", "scratch", "missing"), "of made-up defects"
            ),
        },
        "augment": Key(
            "none",
            "how training images are varied; none says too that parts lie alike in every image",
            ("none", "hflip", "flips_and_turns", "nine_versions"),
            "steps",
        ),
        **_reading(),
        "workers": Key(2 if small else 16, "threads that decode training images"),
        **_limits(),
        "phantom": _phantom(),
    }


def _reading() -> Keys:
    """How a file becomes an image."""
    return {
        "value_range": Key(
            placeholder(tuple),
            "LOW,HIGH of stored values; none: by the type, else as robust: percentiles of normals",
            only="files",
        ),
        "resize": Key(
            "stretch",
            "how a file becomes image_size",
            ("stretch", "proportions", "letterbox", "centre_crop", "own_size"),
            "files",
        ),
        "region": Key(
            "", "file of what is looked at: polygons in JSON, or a mask; '' all", only="files"
        ),
        "reference": Key(
            "", "file of an image that lies as all should, to which each is moved; ''", only="files"
        ),
        "turned": Key(True, "whether they are turned, too, to lie as the reference", only="files"),
        "draft": Key(
            False, "JPEG files may be decoded reduced, no smaller than image_size", only="files"
        ),
        "page": Key(
            "refuse", "of files with several: refuse, a number from 0, or all", only="files"
        ),
        "axis": Key(
            "z",
            "across which a volume is sliced: to the right, front, top",
            ("x", "y", "z"),
            "files",
        ),
        "unreadable": Key(
            "leave_out",
            "what to do about images to learn from that cannot be read",
            ("leave_out", "refuse"),
            "files",
        ),
    }


def _limits() -> Keys:
    return {
        "max_pixels": Key(100_000_000, "largest image that is read", only="files"),
        "max_bytes": Key(500_000_000, "largest file that is read, unpacked", only="files"),
        "min_side": Key(8, "smallest side that is read, in pixels", only="files"),
        "max_frames": Key(10_000, "pages, frames or slices of one file", only="files"),
    }


def _phantom() -> Keys:
    return {
        "kind": Key("retina_oct", "what is drawn: see ad_core.data.phantoms", only="phantoms"),
        "seed": Key(0, "of the drawings", only="phantoms"),
        "normal": Key(600, "images without a defect", only="phantoms"),
        "abnormal": Key(300, "images with one", only="phantoms"),
        "dose": Key(
            1e5,
            "fpet_sinogram: expected counts of a sinogram (30 min at rest)",
            only="phantoms",
        ),
    }


def _train(small: bool) -> Keys:
    keys = {
        "steps": Key(300 if small else 20_000, "of the training, each over one batch"),
        # Rates that fall then do so from epoch to epoch. The main job sets `steps` by it.
        "epochs": Key(0, "over the training images instead of a number of steps; 0: steps count"),
        "batch_size": Key(8 if small else 64, "images a step"),
        "partition": Key("jit", "how a step is spread over devices", ("jit", "pmap")),
        "model_devices": Key(
            1, "devices that divide parameters and optimiser among them; 1: each holds all"
        ),
        "dtype": Key(
            "float32",
            "of computing; parameters and losses stay float32",
            ("float32", "bfloat16"),
        ),
        "log_every": Key(20, "steps between two rows of metrics"),
        "image_every": Key(
            100 if small else 2_000, "steps between two pictures of normal versions"
        ),
        "checkpoint_every": Key(100 if small else 1_000, "steps between two checkpoints"),
        "keep": Key(3, "checkpoints that are kept"),
        "epoch_steps": Key(100, "steps an epoch; the main job sets it from the training split"),
        "max_skipped": Key(20, "steps in a row with a non-finite loss before the run stops"),
    }
    return {name: key._replace(only="steps") for name, key in keys.items()}


def _statistics() -> Keys:
    return {
        "names": Key(("all",), "of statistics and groups of them, with commas"),
        "also": Key((), "detectors of the same data and seed, whose statistics are taken too"),
        "backbone": Key(
            "efficientnet_lite0",
            "compares images and normal versions: a name, NAME:FILE, Inception's file; '' none",
        ),
        # How the worst windows are searched: ad_core.statistics.WindowSettings.
        "windows": {
            "blocks": Key(64, "blocks along the shorter side, by which worst windows are searched"),
            "peaks": Key(100, "highest blocks around which windows are tried"),
            "scales": Key((1, 4, 7, 10, 13, 16), "sides of windows in blocks"),
            "smallest": Key(7, "smallest side of a window in pixels"),
            "worst": Key(15, "windows kept"),
            "rank_power": Key(0.0, "0 ranks windows by the sum of |x - x̂|, 1 by its mean"),
            "side": Key(32, "to which a kept window is brought, in pixels"),
        },
    }


def _decision() -> Keys:
    return {
        "classifier": Key(
            "auto",
            "makes one score of the statistics: auto, select, single, or a name of the catalogue",
        ),
        "candidates": Key(
            ("extra_trees", "logistic_regression", "full_sensitivity"),
            "classifiers among which select chooses",
        ),
        "criterion": Key(
            "fpr_at_tpr1", "by which select chooses", ("fpr_at_tpr1", "zfn", "acc", "auc")
        ),
        "synthetic": Key(
            "choose",
            "auto without abnormals: made-up defects choose a score, or may weigh statistics too",
            ("choose", "weigh"),
        ),
        "stacked": Key(
            ("extra_trees", "logistic_regression", "full_sensitivity"), "classifiers of stacking"
        ),
        "loss": Key("two_way", "of the classifier full_sensitivity"),
        "class_weight": Key("balanced", "of the two classes in fitting", ("balanced", "none")),
        "resample": Key("none", "of the rows to fit, within each fold", ("none", "over", "under")),
        "rules": Key(
            ("zfn", "accuracy", "target_fpr", "normal_quantile"),
            "rules whose thresholds are shown, beside the next two",
        ),
        # auto: zfn, and miss_bound as soon as more than the lowest abnormal score keeps
        # `miss_rate` (5 %: from 93 groups on).
        "rule": Key("auto", "the one that decides between normal and inspect"),
        "target_fpr": Key(0.05, "share of false alarms, of target_fpr and conformal_p"),
        "normal_quantile": Key(0.99, "of the normal scores, of the rule of that name"),
        "review": Key("", "rule up to whose threshold a person looks at images; '' off"),
        "review_share": Key(0.1, "of review_share: share of all parts that a person may look at"),
        "each_defect": Key(False, "zfn, miss_bound: a bound for each type with 20 groups, too"),
        "miss_rate": Key(0.05, "share of misses, of miss_bound, np_umbrella, proved and the like"),
        "delta": Key(0.05, "of np_umbrella: how probably the miss rate may exceed miss_rate"),
        "miss_cost": Key(placeholder(float), "of cost: the price of a miss"),
        "alarm_cost": Key(placeholder(float), "of cost: the price of a false alarm, same unit"),
        "prevalence": Key(0.01, "share of abnormal parts on the line"),
        "threshold": Key(placeholder(float), "of the rule manual"),
        "folds": Key(5, "of the cross-validation that gives calibration scores"),
        "confidence": Key(0.95, "of what is promised"),
    }
