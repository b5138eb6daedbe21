"""Shows the content of a data set, its faults, and the configuration that suits.

    python launch/inspect_data.py --config=configs/folder.py --config.data.root=DIR

Reads every image and mask. Status 0, 3 with warnings, 2 when the set cannot be used.
"""

from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from ad_core.inspection.inspect import inspect, write_findings
from ad_core.reporting.contact_sheet import write_contact_sheet
from ad_core.runtime.command import run
from ad_core.stages.messages import announce_inspection

WORKDIR = flags.DEFINE_string(
    "workdir", "", "Folder for inspection/index.html and findings.json (default: runs/NAME)."
)


def main(config: ConfigDict) -> int:
    """Writes the page and tells what was found."""
    folder = Path(WORKDIR.value or f"runs/{config.name}") / "inspection"
    inspection = inspect(config)
    write_findings(folder / "findings.json", inspection)
    write_contact_sheet(folder / "index.html", inspection)
    announce_inspection(inspection, folder / "index.html")
    return inspection.status


if __name__ == "__main__":
    run(main)
