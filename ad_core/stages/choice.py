"""Choice of a configuration for images that nobody has described, and the command that says it."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from ad_core.data.source import Record
from ad_core.errors import UserError
from ad_core.inspection.inspect import Inspection
from ad_core.runtime.command import overrides_of
from ad_core.stages.checks import check_calibration

NORMALS_ONLY = "normal_quantile"  # the rule that needs no abnormal image


class Command(NamedTuple):
    """A command that trains. name: of its recipe. overrides: key -> value, as they are written."""

    name: str
    overrides: dict[str, str]
    workdir: str

    def arguments(self) -> list[str]:
        """The arguments of launch/train.py."""
        keys = [f"--config.{key}={value}" for key, value in self.overrides.items()]
        return [f"--config={self.name}", *keys, f"--workdir={self.workdir}"]

    def text(self, program: str) -> str:
        """The whole command, for a shell."""
        return " ".join([program, *map(shlex.quote, self.arguments())])


def choose_protocol(records: Sequence[Record]) -> str:
    """The split that suits: as the folders lie, where they divide the images or all are normal.

    Without a test of its own, a set with abnormal images is divided anew.
    """
    folders = {record.folder for record in records}
    normals_only = not any(record.label for record in records)
    as_they_lie = "test" in folders or (normals_only and folders == {"train"})
    return "folders" if as_they_lie else "cyclegan_ad"


def suiting(inspection: Inspection, config: ConfigDict) -> dict[str, str]:
    """Overrides that mend what an inspection found, by key: of the data, and of the deciding rule.

    A rule that the calibration images do not allow becomes the one that needs no abnormal image.
    """
    mends = (line.removeprefix("--config.").partition("=") for line in inspection.lines)
    chosen = {key: value for key, _, value in mends}
    splits, records = inspection.subject.split, inspection.subject.records
    split = "pool" if "pool" in splits else "calibration"
    calibrating = [r for r, own in zip(records, splits, strict=True) if own == split]
    if calibrating and not any(record.label for record in calibrating):
        try:
            check_calibration(config.decision, calibrating, split=split)
        except UserError:
            chosen["decision.rule"] = NORMALS_ONLY
    return chosen


def whole_command(
    inspection: Inspection, config: ConfigDict, name: str, *, workdir: str | Path
) -> Command:
    """The command that trains on what was inspected, with all that suits.

    Args:
        name: of the recipe that the configuration was made from.
    """
    overrides = overrides_of(name, config) | suiting(inspection, config)
    return Command(name, overrides, str(workdir))
