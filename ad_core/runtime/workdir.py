"""The files of one run, and the refusal to mix two runs in one directory."""

import json
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.runtime.config import differences, from_json, to_json
from ad_core.runtime.sealed import find_folder, mark_own, write_json

# Whatever a run leaves in its workdir: none of it is ever input.
NAMES = (
    "config.json", "checkpoints", "metrics.jsonl", "tensorboard", "samples", "methods",
    "statistics", "detector", "results.json", "report", "timing.json", ".lock", "backbones.json",
)  # fmt: skip


class Workdir(NamedTuple):
    """Paths below `root`; see `claim` for how a directory becomes a run's."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.json"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of a training, one folder a step."""
        return self.root / "checkpoints"

    @property
    def detector(self) -> Path:
        """Folder of the detector that a user runs; self-contained."""
        return self.root / "detector"

    @property
    def results(self) -> Path:
        """The figures."""
        return self.root / "results.json"

    @property
    def report(self) -> Path:
        """The page that shows them."""
        return self.root / "report" / "index.html"

    @property
    def timing(self) -> Path:
        """Seconds and images of each stage, kept from one command to the next."""
        return self.root / "timing.json"

    @property
    def backbones(self) -> Path:
        """Facts of the pretrained networks that the methods look through."""
        return self.root / "backbones.json"

    @property
    def left_out(self) -> Path:
        """The log of images that a person left out of calibration."""
        return self.root / "left_out.json"

    @property
    def in_use(self) -> bool:
        """Tells whether the configuration made anything here; a mistake in it makes nothing."""
        folders = (self.checkpoints, *(self.root / "methods").glob("*/checkpoints"))
        made = [step for folder in folders for step in folder.glob("[0-9]*")]
        made += (self.root / "statistics").glob("*.parquet")
        return bool(made) or find_folder(self.detector).exists()

    def training(self, method: str, *, several: bool) -> Path:
        """Folder where the training of a method leaves its checkpoints and metrics."""
        return self.root / "methods" / method if several else self.root

    def statistics(self, split: str) -> Path:
        """The table of one split."""
        return self.root / "statistics" / f"{split}.parquet"


def claim(root: str | Path, config: ConfigDict, *, free: tuple[str, ...] = ()) -> Workdir:
    """The workdir of this configuration, made if there is none.

    Args:
        config: the resolved configuration.
        free: sections that may differ from those the workdir was made with; they are renewed.

    Raises:
        UserError: what the workdir holds was made with another configuration (names the differing
            keys),
            or cannot be written.
    """
    workdir = Workdir(Path(root))
    try:
        workdir.root.mkdir(parents=True, exist_ok=True)
        if workdir.config.exists() and workdir.in_use:
            _refuse_another(workdir, config, free)
        mark_own(workdir.root, NAMES)
        write_json(workdir.config, json.loads(to_json(config)))
    except OSError as error:
        raise UserError(
            f"`--workdir` (={root}) cannot be written: {error.strerror}; choose another folder."
        ) from error
    return workdir


def _refuse_another(workdir: Workdir, config: ConfigDict, free: tuple[str, ...]) -> None:
    was = from_json(workdir.config.read_text())
    differing = differences(was, config)
    keys = [key for key in differing if key.split(".")[0] not in free]
    if keys:
        listed = "; ".join(f"{k} was {differing[k][0]}, now {differing[k][1]}" for k in keys[:8])
        raise UserError(
            f"`--workdir` (={workdir.root}) was made with another configuration: {listed}. "
            "Use another workdir, or the configuration it was made with."
        )
