"""Other trained detectors whose statistics stand beside a detector's own: `statistics.also`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.runtime.config import differences
from ad_core.scoring.detector import Parts, load_parts

# Of the data section, what changes neither an image nor the split that it belongs to.
FREE = ("augment", "workers", "max_pixels", "max_bytes")


def load_companions(config: ConfigDict) -> tuple[Parts, ...]:
    """The detectors of `config.statistics.also`, in order.

    They must have been trained on the same images, sized and split alike: a reconstructor that
    has seen what calibrates or judges here would flatter itself.

    Raises:
        UserError: no detector there, one of another data section or seed, or one that has
            companions of its own.
    """
    return tuple(_load(Path(path), config) for path in config.statistics.also)


def _load(path: Path, config: ConfigDict) -> Parts:
    parts = load_parts(path)
    if parts.also:
        raise UserError(
            f"`statistics.also` (={path}) has companions of its own; name each detector itself."
        )
    free = {f"data.{name}" for name in FREE}
    for key, (there, here) in differences(parts.config, config).items():
        if key == "seed" or (key.startswith("data.") and key not in free):
            raise UserError(
                f"`statistics.also` (={path}) was trained with {key} = {there} and here it is "
                f"{here}, so that it may have seen images that calibrate or judge here; train it "
                "with the same data section and seed."
            )
    return parts


def companion_names(companions: Sequence[Parts]) -> tuple[str, ...]:
    """Their statistics, each with its method before it: "vqgan.ssim", "vqgan2.ssim", ..."""
    seen: Counter[str] = Counter()
    names: list[str] = []
    for parts in companions:
        method = str(parts.config.method).rpartition(".")[2]
        seen[method] += 1
        prefix = method if seen[method] == 1 else f"{method}{seen[method]}"
        names += [f"{prefix}.{name}" for name in parts.names]
    return tuple(names)
