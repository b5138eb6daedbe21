"""The backbones that a configuration names: what they are, and what taught them."""

import json
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from ad_core.backbones import load_backbone, taught
from ad_core.runtime.config import flat
from ad_core.runtime.sealed import write_json
from ad_core.runtime.workdir import Workdir
from ad_core.scoring.companions import FREE, OF_IMAGE, refuse_other_splits
from ad_core.scoring.part import Part

STATISTICS = "statistics.backbone"
FAMILY = "inception"  # of a file alone, as the backbone of the statistics
GIVEN = "given"  # in the workdir's note: what the configuration said
Facts = dict[str, dict[str, str]]


def check_taught(config: ConfigDict) -> None:
    """Refuses a backbone that may have seen what calibrates or judges here; UserError.

    It was trained on the same data, split otherwise.
    """
    for key, spec in _named(config).items():
        training = taught(spec, family=FAMILY if key == STATISTICS else "")
        if training is not None and _same_images(training, config):
            refuse_other_splits(f"`{key}` (={spec})", training, config, free=(*FREE, *OF_IMAGE))


def record(workdir: Workdir, config: ConfigDict) -> None:
    """Notes in the workdir, before anything is learnt, what the methods' backbones are.

    What was noted of the same names stays, so that a run that goes on tells what it began with.

    Raises:
        UserError: as `load_backbone`.
    """
    known, found = _read(workdir.backbones), {}
    for key, spec in _named(config).items():
        if key == STATISTICS:
            continue
        former = known.get(key, {})
        if former.get(GIVEN) != spec:
            former = {GIVEN: spec, **load_backbone(spec).facts}
        found[key] = former
    if found or known:
        write_json(workdir.backbones, found)


def recorded(workdir: Workdir, parts: Sequence[Part]) -> Facts:
    """Facts of the backbones of the methods, and of that which their statistics look through."""
    noted = _read(workdir.backbones)
    found = {key: {k: v for k, v in of.items() if k != GIVEN} for key, of in noted.items()}
    for part in parts:
        if part.context.backbone is not None:
            found[STATISTICS] = part.context.backbone.facts
    return found


def _named(config: ConfigDict) -> dict[str, str]:
    """Key -> specification of each backbone in a configuration."""
    values = flat(config).items()
    return {key: value for key, value in values if key.endswith(".backbone") and value}


def _read(path: Path) -> Facts:
    return json.loads(path.read_text()) if path.exists() else {}


def _same_images(training: ConfigDict, config: ConfigDict) -> bool:
    there, here = training.data, config.data
    if there.root and here.root:
        return Path(there.root).resolve() == Path(here.root).resolve()
    return there.root == here.root and there.source == here.source
