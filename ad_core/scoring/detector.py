"""The detector: from images to `normal` or `inspect`, as a user runs it."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Float64, Int
from ml_collections import ConfigDict
from sklearn.pipeline import Pipeline

from ad_core.data.shape import image_shape
from ad_core.decision import AbstainBand, Explainer, Reason, Threshold, anomaly_score
from ad_core.errors import UserError
from ad_core.scoring.localisation import MapScale
from ad_core.scoring.measuring import Measured, join_rows
from ad_core.scoring.part import Part, column_names, measure_parts

NORMAL, INSPECT = "normal", "inspect"


class Scores(NamedTuple):
    """Scores of n images.

    score: rises with abnormality; NaN where it could not be computed.
    decision: "normal" only where the score is finite and below the threshold, else "inspect".
    anomaly_map, drawn: at the detector's image size; drawn is the normal version, None where no
    method draws one.
    statistics: in the order of `Detector.names`.
    """

    score: Float64[np.ndarray, " n"]
    decision: np.ndarray
    anomaly_map: Float[np.ndarray, "n h w"]
    drawn: Float[np.ndarray, "n h w c"] | None
    statistics: Float[np.ndarray, "n k"]


class Parts(NamedTuple):
    """Parts of a detector.

    config: complete. methods: what has learnt, the first of them foremost.
    thresholds: by rule. rule: the one that decides.
    reference: calibration normals' statistics [m, k], against which an image stands out.
    review: the rule up to whose threshold a person looks, "" for none. selection: how the
    classifier was chosen, as `Selection.to_dict`. facts: of the calibration, as `facts_of`.
    """

    config: ConfigDict
    methods: tuple[Part, ...]
    classifier: Pipeline
    thresholds: Mapping[str, Threshold]
    rule: str
    scale: MapScale
    reference: Float[np.ndarray, "m k"]
    review: str = ""
    selection: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The statistics, in the order of the classifier's columns."""
        return column_names(self.methods)


class Detector:
    """A trained, calibrated detector; `score` is its one verb."""

    def __init__(self, parts: Parts, *, batch_size: int = 32):
        """Compiles nothing yet; the first `score` does, for batches of `batch_size`."""
        self.parts = parts
        self.image_shape = image_shape(parts.config.data)
        self.measurer = measure_parts(
            parts.methods, parts.config.localisation, batch_size=batch_size
        )

    @property
    def threshold(self) -> Threshold:
        """Threshold that decides."""
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
        measured = self._measure(images, content)
        score = self.score_statistics(measured.statistics)
        return Scores(score, self.decide(score), *measured[1:], measured.statistics)

    def _measure(
        self, images: Float[np.ndarray, "n h w c"], content: Int[np.ndarray, "n 4"] | None
    ) -> Measured:
        b, done = self.measurer.batch_size, []
        for start in range(0, max(len(images), 1), b):
            part = images[start : start + b]
            padded = np.zeros((b, *self.image_shape), np.float32)
            padded[: len(part)] = part
            boxes = None if content is None else self._padded(content[start : start + b])
            whole = jax.tree.map(np.asarray, self.measurer.measure(padded, boxes))
            done.append(whole.rows(slice(len(part))))
        return join_rows(done)

    def _padded(self, content: Int[np.ndarray, "n 4"]) -> Int[np.ndarray, "b 4"]:
        h, w, _ = self.image_shape
        boxes = np.tile(np.array([0, 0, w, h], np.int32), (self.measurer.batch_size, 1))
        boxes[: len(content)] = content
        return boxes

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

    def decide(self, score: Float64[np.ndarray, " n"]) -> np.ndarray:
        """Normal where the score is finite and below the threshold, else inspect."""
        return np.where(self.threshold.flags(score) | ~np.isfinite(score), INSPECT, NORMAL)

    def explain(self, statistics: Float[np.ndarray, "n k"], *, top: int = 3) -> list[list[Reason]]:
        """The statistics that pushed each image's score most, foremost first."""
        return self._explainer.reasons(statistics, top=top)

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.parts.classifier, self.names, self.parts.reference)

    def describe(self) -> dict[str, Any]:
        """Facts for a summary: name, method, deciding rule, threshold, review rule, guarantee."""
        return {
            "name": self.parts.config.name,
            "method": self.parts.config.method,
            "rule": self.parts.rule,
            "threshold": self.threshold.value,
            "review": self.parts.review or None,
            "guarantee": self.threshold.guarantee,
        }
