"""Images that come without a configuration: how they are read, and the command that says all."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ad_core.data.source import NORMAL, Record, open_source, printable
from ad_core.errors import UserError
from ad_core.inspection.findings import NOTE, UNUSABLE, plural
from ad_core.inspection.inspect import Inspection, inspect
from ad_core.inspection.layout import Layout, find_layout
from ad_core.runtime.command import configure, refuse_unknown_flags, take
from ad_core.runtime.invocation import (
    PROJECT,
    default_workdir,
    named_photos,
    program,
    run_name,
    shown,
)
from ad_core.runtime.recipes import device_size
from ad_core.runtime.workdir import Workdir
from ad_core.stages.choice import choose_protocol, whole_command

RECIPE = "configs/folder.py"  # what suits images that nothing is known of

REASONS = {  # of what no finding explains
    "data.protocol": "no test is set apart by folders: the images are divided anew",
    "decision.rule": "no abnormal image to calibrate with: a share of normal ones is inspected",
}


def train_arguments(argv: Sequence[str]) -> list[str]:
    """Arguments of launch/train.py for `train PHOTOS ...`; as they are where no PHOTOS are named.

    What is chosen, and the whole command, is printed. A run that is under way goes on.

    Raises:
        UserError: the images can be read in two ways, or in none; or a workdir of other images.
    """
    photos, rest = named_photos(argv), list(argv[2:])
    if photos is None:
        return list(argv)
    refuse_unknown_flags([argv[0], *take(rest, "normal")[1]])
    workdir = take(rest, "workdir")[0] or str(default_workdir(photos))
    rest = [*take(rest, "workdir")[1], f"--workdir={workdir}"]
    if Workdir(Path(workdir)).in_use:
        _require_same(photos, Path(workdir))
    if Workdir(Path(workdir)).in_use and take(rest, "config")[0] is None:
        print(f"{workdir}: goes on with the configuration that it holds")
        return [argv[0], *take(rest, "normal")[1]]
    described, rest = _described(photos, rest)
    config = configure(described)
    inspection = inspect(config)
    _refuse_unusable(inspection)
    name = str(take(described, "config")[0])
    command = whole_command(inspection, config, name, workdir=workdir)
    _announce_choices(inspection, command.overrides)
    print("The same command with every choice said, to change what you like:")
    print(f"  {command.text(program(argv))}")
    others = [argument for argument in rest if not argument.startswith("--workdir=")]
    return [argv[0], *command.arguments(), *others]


def inspect_arguments(argv: Sequence[str]) -> list[str]:
    """Arguments of launch/inspect_data.py for `inspect PHOTOS ...`; errors as above."""
    photos, rest = named_photos(argv), list(argv[2:])
    if photos is None:
        return list(argv)
    refuse_unknown_flags([argv[0], *take(rest, "normal")[1]])
    described, others = _described(photos, rest)
    workdir, others = take(others, "workdir")
    return [argv[0], *described, *others, f"--workdir={workdir or default_workdir(photos)}"]


def _require_same(photos: Path, workdir: Path) -> None:
    """Refuses to go on with a run on other images."""
    root = json.loads((workdir / "config.json").read_text())["data"]["root"]
    if not Path(root).resolve().is_relative_to(photos.resolve()):
        raise UserError(
            f"{workdir} holds a run on other images ({root}); name another folder for this one: "
            f"--workdir={workdir}-2."
        )


def _described(photos: Path, rest: list[str]) -> tuple[list[str], list[str]]:
    """The arguments that configure, recipe first, and all others; prints what was found."""
    normal, rest = take(rest, "normal")
    layout = find_layout(photos, tuple(filter(None, (normal or "").split(","))))
    recipe, rest = take(rest, "config")
    name = recipe or f"{shown(PROJECT / RECIPE)}:{device_size()}"
    own = [argument for argument in rest if argument.startswith(("--config.", "--noconfig."))]
    others = [argument for argument in rest if argument not in own]
    read = [f"--config.data.{key}={value}" for key, value in layout.overrides.items()]
    records = open_source(configure([f"--config={name}", *read, *own]).data).records
    _announce_layout(photos, layout, records)
    protocol = f"--config.data.protocol={choose_protocol(records)}"
    run = f"--config.name={run_name(photos)}"
    return [f"--config={name}", run, *read, protocol, *own], others


def _announce_layout(photos: Path, layout: Layout, records: Sequence[Record]) -> None:
    """Prints what was taken for normal and for abnormal."""
    kinds = Counter(record.defect for record in records)
    normal = kinds.pop(NORMAL, 0)
    folders = sorted({os.path.dirname(r.path) or "no folder" for r in records if not r.label})
    told = ", ".join(f"{printable(kind)} {count}" for kind, count in kinds.most_common(8))
    few = ", ".join(map(printable, folders[:4])) + (", ..." if len(folders) > 4 else "")
    print(f"{photos}: {layout.words}")
    print(f"  normal    {plural(normal, 'image')}, in {few}")
    abnormal = sum(kinds.values())
    print(f"  abnormal  {plural(abnormal, 'image')}" + (f": {told}" if told else ""))
    print("  Not so? Say which folders are normal: --normal=NAME (several with commas)")


def _refuse_unusable(inspection: Inspection) -> None:
    unusable = [finding for finding in inspection.findings if finding.level == UNUSABLE]
    if unusable:
        mends = [mend for finding in unusable for mend in finding.mends]
        hint = f" Add {' '.join(mends)}." if mends else ""
        raise UserError(f"{printable(unusable[0].text).rstrip('.')}.{hint}")


def _announce_choices(inspection: Inspection, overrides: Mapping[str, str]) -> None:
    """Prints the findings that matter, and what was chosen for each."""
    for finding in inspection.findings:
        if finding.mends or finding.level != NOTE or finding.name == "ignored":
            chosen = ", ".join(mend.removeprefix("--config.") for mend in finding.mends)
            print(f"  {printable(finding.text)}" + (f"; chosen: {chosen}" if chosen else ""))
            for row in finding.paths[:3] if finding.level != NOTE else ():
                print(f"      {printable(' | '.join(row))}")
    for key, words in REASONS.items():
        if key in overrides:
            print(f"  {words}; chosen: {key}={overrides[key]}")
