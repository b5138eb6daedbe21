"""Writers of what a training leaves to look at: metrics.jsonl, tensorboard/, samples/."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from tensorboardX import SummaryWriter

from ad_core.runtime.sealed import write_text


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; none if there is no such file. A torn last line is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def to_pixels(image: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Converts [-1, 1] to 0..255, clipped; NaN is black."""
    clipped = np.clip(np.nan_to_num(image, nan=-1.0), -1.0, 1.0)
    return np.round((clipped + 1) * 127.5).astype(np.uint8)


def side_by_side(
    image: Float[np.ndarray, "n h w c"], reconstruction: Float[np.ndarray, "n h w c"]
) -> UInt8[np.ndarray, "height width c"]:
    """One row an image: image | reconstruction."""
    n, h, w, c = image.shape
    pairs = np.concatenate([image, reconstruction], axis=2)
    return to_pixels(pairs.reshape(n * h, 2 * w, c))


class Silent:
    """Stands in for `Writers` in a process that writes nothing."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Writes nothing."""

    def sample(
        self,
        step: int,
        image: Float[np.ndarray, "n h w c"],
        reconstruction: Float[np.ndarray, "n h w c"],
    ) -> None:
        """Writes nothing."""

    def close(self) -> None:
        """Closes nothing."""


class Writers:
    """Appends to the records of a training that stands at step `resume_at`.

    Rows of later steps, which a run wrote that was killed after its last checkpoint, are
    dropped: no step stands twice.
    """

    def __init__(self, workdir: Path, *, resume_at: int):
        self._workdir = workdir
        path = workdir / "metrics.jsonl"
        kept = [row for row in read_metrics(path) if row["step"] <= resume_at]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a")
        self._tensorboard = SummaryWriter(
            str(workdir / "tensorboard"), purge_step=resume_at + 1, flush_secs=30
        )

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a row. Values that are not finite become null; TensorBoard gets none of them."""
        finite = {name: x if math.isfinite(x) else None for name, x in values.items()}
        self._file.write(json.dumps({"step": step, **finite}) + "\n")
        self._file.flush()
        for name, value in finite.items():
            if value is not None:
                self._tensorboard.add_scalar(name, value, step)

    def sample(
        self,
        step: int,
        image: Float[np.ndarray, "n h w c"],
        reconstruction: Float[np.ndarray, "n h w c"],
    ) -> None:
        """Writes samples/step_<step>.png, and the same picture to TensorBoard."""
        picture = side_by_side(image, reconstruction)
        folder = self._workdir / "samples"
        folder.mkdir(exist_ok=True)
        Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(
            folder / f"step_{step:06d}.png"
        )
        self._tensorboard.add_image("sample", picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flushes and closes all."""
        self._file.close()
        self._tensorboard.close()
