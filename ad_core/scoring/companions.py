"""Methods trained elsewhere whose statistics stand beside a detector's own: `statistics.also`."""

from pathlib import Path

from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.runtime.config import differences
from ad_core.scoring.files import load_parts
from ad_core.scoring.part import Part

# Of the data section, what changes neither an image nor the split that it belongs to.
FREE = ("augment", "workers", "max_pixels", "max_bytes")


def load_companions(config: ConfigDict) -> tuple[Part, ...]:
    """The methods of the detectors of `config.statistics.also`, in order.

    They must have been trained on the same images, sized and split alike: a method that
    has seen what calibrates or judges here would flatter itself.

    Raises:
        UserError: no detector there, or a method of another data section or seed.
    """
    return tuple(part for path in config.statistics.also for part in _load(Path(path), config))


def _load(path: Path, config: ConfigDict) -> tuple[Part, ...]:
    parts = load_parts(path).methods
    free = {f"data.{name}" for name in FREE}
    for part in parts:
        for key, (there, here) in differences(part.config, config).items():
            if key == "seed" or (key.startswith("data.") and key not in free):
                raise UserError(
                    f"`statistics.also` (={path}) was trained with {key} = {there} and here it is "
                    f"{here}. It may have seen images that calibrate or judge here; train it with "
                    "the same data section and seed."
                )
    return parts
