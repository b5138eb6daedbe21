"""Methods trained elsewhere whose statistics stand beside a detector's own: `statistics.also`."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.runtime.config import differences
from ad_core.scoring.files import load_parts
from ad_core.scoring.part import Part
from ad_core.types import OnePass

# Of the data section, what changes neither an image nor the split that it belongs to.
FREE = ("augment", "workers", "max_pixels", "max_bytes")
OF_IMAGE = ("image_size", "channels", "value_range", "resize")  # what changes images alone


def load_companions(config: ConfigDict) -> tuple[Part, ...]:
    """The methods of the detectors of `config.statistics.also`, in order.

    They must have been trained on the same images, sized and split alike: a method that
    has seen what calibrates or judges here would flatter itself.

    Raises:
        UserError: no detector there, a method of another data section or seed, or one that has
            learnt from the images that calibrate here.
    """
    return tuple(part for path in config.statistics.also for part in _load(Path(path), config))


def _load(path: Path, config: ConfigDict) -> tuple[Part, ...]:
    parts = load_parts(path).methods
    for part in parts:
        _refuse_cross_fitted(path, part, config)
        refuse_other_splits(f"`statistics.also` (={path})", part.config, config, free=FREE)
    return parts


def refuse_other_splits(
    what: str, taught: ConfigDict, config: ConfigDict, *, free: Sequence[str]
) -> None:
    """Refuses a training that may have seen what calibrates or judges here; UserError.

    Args:
        what: was trained, for the message. taught: its configuration.
        free: keys of the section `data` in which the two may differ.
    """
    # What learns step by step learns from no image that calibrates, in however many folds.
    may_differ = {"data.calibration.folds", *(f"data.{name}" for name in free)}
    for key, (there, here) in differences(taught, config).items():
        if key == "seed" or (key.startswith("data.") and key not in may_differ):
            raise UserError(
                f"{what} was trained with {key} = {there} and here it is {here}. It may have seen "
                "images that calibrate or judge here; train it with the same data section and "
                f"seed, or give --config.{key}={there} here."
            )


def _refuse_cross_fitted(path: Path, part: Part, config: ConfigDict) -> None:
    """Refuses a method whose states for the folds of this calibration are gone; UserError."""
    if isinstance(part.make().learn, OnePass) and config.data.protocol != "vqganodip":
        raise UserError(
            f"`statistics.also` (={path}) holds {part.name}, which has learnt from the normals "
            f"that calibrate here. Name it in `--config.method` instead, as in "
            f"{config.method},{part.config.method}: it is then learnt anew without them."
        )
