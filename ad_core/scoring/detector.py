"""The detector: from images to `normal` or `inspect`, as a user runs it."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float, Float64, Int
from ml_collections import ConfigDict
from sklearn.pipeline import Pipeline

from ad_core.backbones import load_backbone, pooled, read_saved, save_backbone
from ad_core.decision import (
    AbstainBand,
    Explainer,
    Reason,
    Threshold,
    anomaly_score,
    load_classifier,
    save_classifier,
)
from ad_core.errors import UserError
from ad_core.runtime.config import from_json, to_json
from ad_core.runtime.registry import resolve
from ad_core.runtime.workdir import write_json
from ad_core.scoring.localisation import MapScale
from ad_core.scoring.measuring import Measured, Measurer, join, make_measurer
from ad_core.statistics import Context, WindowSettings
from ad_core.types import TrainState

FORMAT = 2  # of the detector's files; from 2 on with companions
BACKBONES = "backbones"  # folder of those that the detector needs
OLD_BACKBONE = "backbone.npz"  # of the one in detectors written before there was that folder
MANIFEST = "MANIFEST.json"
ALSO = "also"  # folder of the companions
OF_FOLDERS = (f"{ALSO}/", f"{BACKBONES}/")
FILES = ("detector.json", "parameters.npz", "normals.npz", "classifier.skops", "threshold.json")
NORMAL, INSPECT = "normal", "inspect"


class Scores(NamedTuple):
    """Of n images.

    score: rises with abnormality; NaN where it could not be computed.
    decision: "normal" only where the score is finite and below the threshold, else "inspect".
    anomaly_map, reconstruction: at the detector's image size.
    statistics: in the order of `Detector.names`.
    """

    score: Float64[np.ndarray, " n"]
    decision: np.ndarray
    anomaly_map: Float[np.ndarray, "n h w"]
    reconstruction: Float[np.ndarray, "n h w c"]
    statistics: Float[np.ndarray, "n k"]


class Parts(NamedTuple):
    """All that a detector consists of.

    config: complete. names: of the statistics, in the order of the classifier's columns.
    state: an inference state. thresholds: by rule. rule: the one that decides.
    reference: calibration normals' statistics [m, k], against which an image stands out.
    also: companions, whose statistics are the last of `names`.
    review: the rule up to whose threshold a person looks, "" for none. selection: how the
    classifier was chosen, as `Selection.to_dict`.
    """

    config: ConfigDict
    names: tuple[str, ...]
    state: TrainState
    context: Context
    classifier: Pipeline
    thresholds: Mapping[str, Threshold]
    rule: str
    scale: MapScale
    reference: Float[np.ndarray, "m k"]
    also: tuple["Parts", ...] = ()
    review: str = ""
    selection: Mapping[str, Any] | None = None


def measurer_of(parts: Parts, *, batch_size: int) -> Measurer:
    """The measurer of a detector and its companions; compiles nothing yet."""
    others = sum(len(other.names) for other in parts.also)
    own = make_measurer(
        resolve(parts.config.method).make(parts.config),
        jax.tree.map(jnp.asarray, parts.state),
        names=parts.names[: len(parts.names) - others],
        context=jax.tree.map(jnp.asarray, parts.context),
        windows=WindowSettings(**parts.config.statistics.windows),
        sigma_px=parts.config.localisation.sigma * parts.config.data.image_size,
        batch_size=batch_size,
    )
    return join(own, [measurer_of(other, batch_size=batch_size) for other in parts.also])


class Detector:
    """A trained, calibrated detector; `score` is its one verb."""

    def __init__(self, parts: Parts, *, batch_size: int = 32):
        """Compiles nothing yet; the first `score` does, for batches of `batch_size`."""
        self.parts = parts
        data = parts.config.data
        self.image_shape = (data.image_size, data.image_size, data.channels)
        self.measurer = measurer_of(parts, batch_size=batch_size)

    @property
    def threshold(self) -> Threshold:
        """The one that decides."""
        return self.parts.thresholds[self.parts.rule]

    @property
    def band(self) -> AbstainBand | None:
        """The scores at which a person looks; None where no rule of review stands above."""
        upper = self.parts.thresholds.get(self.parts.review)
        if upper is None or upper.value <= self.threshold.value:
            return None
        return AbstainBand(self.threshold, upper)

    @property
    def names(self) -> tuple[str, ...]:
        """The statistics, in the order of `Scores.statistics`."""
        return self.parts.names

    def score(
        self,
        images: Float[np.ndarray, "n h w c"],
        content: Int[np.ndarray, "n 4"] | None = None,
    ) -> Scores:
        """Scores of images in [-1, 1] at the detector's size and number of channels.

        The result does not depend on n: images are scored in batches of one padded size.

        Args:
            content: of letterboxed images, as in a Batch.

        Raises:
            UserError: another size or number of channels than the detector's.
        """
        images = np.asarray(images, np.float32)
        if images.ndim != 4 or images.shape[1:] != self.image_shape:
            raise UserError(
                f"`images` (shape {images.shape}) must be [n, h, w, c] with (h, w, c) = "
                f"{self.image_shape}, values in [-1, 1]."
            )
        b = self.measurer.batch_size
        parts = []
        for start in range(0, len(images), b):
            part = images[start : start + b]
            padded = np.zeros((b, *self.image_shape), np.float32)
            padded[: len(part)] = part
            boxes = None if content is None else self._padded(content[start : start + b])
            whole = jax.tree.map(np.asarray, self.measurer.measure(padded, boxes))
            parts.append(Measured(*(x[: len(part)] for x in whole)))
        if not parts:
            h, w, c = self.image_shape
            shapes = ((0, len(self.names)), (0, h, w), (0, h, w, c))
            parts = [Measured(*(np.zeros(shape, np.float32) for shape in shapes))]
        return self.decide(Measured(*map(np.concatenate, zip(*parts, strict=True))))

    def _padded(self, content: Int[np.ndarray, "n 4"]) -> Int[np.ndarray, "b 4"]:
        h, w, _ = self.image_shape
        boxes = np.tile(np.array([0, 0, w, h], np.int32), (self.measurer.batch_size, 1))
        boxes[: len(content)] = content
        return boxes

    def decide(self, measured: Measured) -> Scores:
        """The classifier's score and the decision for measured images."""
        score = self.score_statistics(measured.statistics)
        return Scores(score, decide(score, self.threshold), *measured[1:], measured[0])

    def score_statistics(self, statistics: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, " n"]:
        """The classifier's score of each row; NaN where a statistic is not finite.

        Such a statistic is no measurement: it must not reach a classifier that would fill it in
        and call the image normal.
        """
        score = np.full(len(statistics), np.nan)
        sound = np.isfinite(statistics).all(axis=1)
        if sound.any():
            score[sound] = anomaly_score(self.parts.classifier, statistics[sound])
        return score

    def explain(self, statistics: Float[np.ndarray, "n k"], *, top: int = 3) -> list[list[Reason]]:
        """For each image the statistics that pushed its score most, foremost first."""
        return self._explainer.reasons(statistics, top=top)

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.parts.classifier, self.names, self.parts.reference)


def decide(score: Float64[np.ndarray, " n"], threshold: Threshold) -> np.ndarray:
    """Normal where the score is finite and below the threshold, else inspect."""
    return np.where(threshold.flags(score) | ~np.isfinite(score), INSPECT, NORMAL)


def save_detector(directory: Path, parts: Parts, *, versions: Mapping[str, str]) -> None:
    """Writes a self-contained directory without pickle, put in place as a whole."""
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    flat = flax.traverse_util.flatten_dict(parts.state.params, sep="/")
    backbone = parts.context.backbone
    learnt = parts.context._replace(backbone=None)
    learnt = {k: v for k, v in learnt._asdict().items() if v is not None}
    if backbone is not None:
        save_backbone(backbone.args[0], partial / BACKBONES)
    _save_arrays(partial / "parameters.npz", flat)
    _save_arrays(partial / "normals.npz", {"reference": parts.reference, **learnt})
    save_classifier(parts.classifier, partial / "classifier.skops")
    write_json(
        partial / "threshold.json",
        {
            "rule": parts.rule,
            "review": parts.review,
            "thresholds": {rule: t.to_dict() for rule, t in parts.thresholds.items()},
        },
    )
    write_json(
        partial / "detector.json",
        {
            "format": FORMAT,
            "method": parts.config.method,
            "image_size": parts.config.data.image_size,
            "channels": parts.config.data.channels,
            "statistics": list(parts.names),
            "also": len(parts.also),
            "backbone": None if backbone is None else backbone.args[0].name,
            "scale": parts.scale.to_dict(),
            "selection": parts.selection,
            "config": json.loads(to_json(parts.config)),
            "versions": dict(versions),
        },
    )
    for number, other in enumerate(parts.also):
        save_detector(partial / ALSO / str(number), other, versions=versions)
    files = [path for path in sorted(partial.iterdir()) if path.is_file()]
    files += sorted(partial.glob(f"{BACKBONES}/*"))
    files += sorted(partial.glob(f"{ALSO}/*/{MANIFEST}"))  # each vouches for its own folder
    hashes = {path.relative_to(partial).as_posix(): _sha256(path) for path in files}
    write_json(partial / MANIFEST, hashes)
    _replace(partial, directory)


def _save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    np.savez(path, allow_pickle=False, **{name: np.asarray(x) for name, x in arrays.items()})


def _replace(new: Path, directory: Path) -> None:
    old = directory.with_name(directory.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        directory.rename(old)
    new.rename(directory)
    shutil.rmtree(old, ignore_errors=True)


def load_detector(directory: str | Path, *, batch_size: int = 32) -> Detector:
    """The detector that `save_detector` wrote, each file checked against its hash.

    Raises:
        UserError: no detector there, a file that is missing or changed, or one written by a
            later version.
    """
    return Detector(load_parts(Path(directory)), batch_size=batch_size)


def load_parts(directory: Path) -> Parts:
    """The parts of a saved detector; errors as `load_detector`."""
    _check_manifest(directory)
    described = json.loads((directory / "detector.json").read_text())
    if described["format"] > FORMAT:
        raise UserError(
            f"Detector {directory} has format {described['format']}, this version reads up to "
            f"{FORMAT}: update zfn-ad."
        )
    with np.load(directory / "parameters.npz", allow_pickle=False) as arrays:
        params = flax.traverse_util.unflatten_dict(dict(arrays), sep="/")
    with np.load(directory / "normals.npz", allow_pickle=False) as arrays:
        normals = dict(arrays)
    reference = normals.pop("reference")
    decided = json.loads((directory / "threshold.json").read_text())
    thresholds = {r: Threshold.from_dict(t) for r, t in decided["thresholds"].items()}
    return Parts(
        config=from_json(json.dumps(described["config"])),
        names=tuple(described["statistics"]),
        state=TrainState(jnp.zeros((), jnp.int32), params, (), {}),
        context=Context(**normals, backbone=_read_backbone(directory, described.get("backbone"))),
        classifier=load_classifier(directory / "classifier.skops"),
        thresholds=thresholds,
        rule=decided["rule"],
        scale=MapScale.from_dict(described["scale"]),
        reference=reference,
        also=tuple(load_parts(directory / ALSO / str(n)) for n in range(described.get("also", 0))),
        review=decided.get("review", ""),
        selection=described.get("selection"),
    )


def _read_backbone(directory: Path, name: str | None) -> Partial | None:
    """The one that the statistics take, None where they need none."""
    if (directory / OLD_BACKBONE).is_file():
        return pooled(load_backbone(f"inception:{directory / OLD_BACKBONE}"))
    return None if name is None else pooled(read_saved(directory / BACKBONES)[name])


def _check_manifest(directory: Path) -> None:
    manifest = directory / MANIFEST
    if not manifest.is_file():
        raise UserError(
            f"`--detector` (={directory}): no detector there (MANIFEST.json is missing); "
            "give the `detector` folder of a workdir."
        )
    try:
        digests = json.loads(manifest.read_text())
        carried = [*directory.glob(OLD_BACKBONE), *sorted(directory.glob(f"{BACKBONES}/*"))]
        needed = (*FILES, *(path.relative_to(directory).as_posix() for path in carried))
        needed = (*needed, *(name for name in digests if name.startswith(OF_FOLDERS)))
        unlisted = [name for name in needed if name not in digests]
    except (ValueError, TypeError) as error:
        raise UserError(f"{manifest} is damaged ({error}); calibrate again.") from error
    if unlisted:
        raise UserError(f"{manifest} lacks {', '.join(unlisted)}; calibrate again.")
    for name in needed:
        path = directory / name
        if not path.is_file() or _sha256(path) != digests[name]:
            state = "is missing" if not path.is_file() else "was changed or damaged"
            raise UserError(f"Detector file {path} {state}; calibrate again or restore a copy.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(parts: Parts) -> dict[str, Any]:
    """What a summary says of a detector: method, name, deciding rule, threshold, guarantee."""
    threshold = parts.thresholds[parts.rule]
    return {
        "name": parts.config.name,
        "method": parts.config.method,
        "rule": parts.rule,
        "threshold": threshold.value,
        "review": parts.review or None,
        "guarantee": threshold.guarantee,
    }
