"""Shows the content of a data set, its faults, and the whole command that suits.

    python launch/inspect_data.py PHOTOS
    python launch/inspect_data.py --config=configs/folder.py --config.data.root=DIR

Reads every image and mask. Status 0, 3 with warnings, 2 when the set cannot be used.
"""

from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from ad_core.runtime.command import recipe_name, run

WORKDIR = flags.DEFINE_string(
    "workdir", "", "Folder for inspection/index.html and findings.json (default: runs/NAME)."
)


def first(argv: list[str]) -> list[str]:
    """PHOTOS as a whole command."""
    from ad_core.stages.photos import inspect_arguments

    return inspect_arguments(argv)


def main(config: ConfigDict) -> int:
    """Writes the page and tells what was found."""
    from ad_core.inspection.inspect import inspect, write_findings
    from ad_core.reporting.contact_sheet import write_contact_sheet
    from ad_core.runtime.invocation import script
    from ad_core.stages.choice import whole_command
    from ad_core.stages.messages import announce_inspection

    workdir = Path(WORKDIR.value or f"runs/{config.name}")
    inspection = inspect(config)
    write_findings(workdir / "inspection" / "findings.json", inspection)
    write_contact_sheet(workdir / "inspection" / "index.html", inspection)
    command = whole_command(inspection, config, recipe_name(), workdir=workdir)
    page = workdir / "inspection" / "index.html"
    announce_inspection(inspection, page, command.text(script("train")))
    return inspection.status


if __name__ == "__main__":
    run(main, first=first)
