"""The detector: from images to `normal` or `inspect`, as a user runs it."""

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from ml_collections import ConfigDict
from sklearn.pipeline import Pipeline

from ad_core.data.formats.resizing import MIRRORING
from ad_core.data.shape import image_shape
from ad_core.decision import AbstainBand, Explainer, Reason, Threshold, anomaly_score
from ad_core.decision.drift import Drift, Normals
from ad_core.errors import UserError
from ad_core.scoring.drift import drift_of, normals_of, statistics_of
from ad_core.scoring.fusion import Fusion
from ad_core.scoring.given import Given, Images, Range, read_all
from ad_core.scoring.localisation import MapScale
from ad_core.scoring.measuring import Measured, begin_all, join_rows
from ad_core.scoring.part import Part, column_names, measure_parts
from ad_core.scoring.profile import Profile, told
from ad_core.scoring.tiling import least_region
from ad_core.scoring.verdict import INSPECT, NORMAL, Explain, Shown, Verdict, Verdicts, judge


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
    classifier was chosen, as `Selection.to_dict`. clipped: largest share of values beyond the range
    that calibration normals had; an image with more of them is inspected. facts: of the
    calibration, as `facts_of`. backbones: key of the configuration that names one -> its facts.
    groups: of the normals in `reference`, a number for each; None: nobody knows them. profile: of
    normal maps, by which a map is told; None: as it is. fusion: of the maps of several methods.
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
    clipped: float = 1.0
    facts: Mapping[str, Any] | None = None
    backbones: Mapping[str, Mapping[str, str]] = {}
    groups: Int[np.ndarray, " m"] | None = None
    profile: Profile | None = None
    fusion: Fusion | None = None

    @property
    def maps(self) -> int:
        """Number of the methods whose maps are told as one."""
        return 1 if self.fusion is None else len(self.fusion.scales)

    @property
    def names(self) -> tuple[str, ...]:
        """The statistics, in the order of the classifier's columns."""
        return column_names(self.methods)


class Detector:
    """A trained, calibrated detector: `judge` takes images of any kind, `score` the network's."""

    def __init__(self, parts: Parts, *, batch_size: int = 32):
        """Compiles nothing yet; the first call does, for batches of `batch_size`."""
        self.parts = parts
        self.image_shape = image_shape(parts.config.data)
        measurer = measure_parts(
            parts.methods, parts.config.localisation, batch_size=batch_size, maps=parts.maps
        )
        self.measurer = told(measurer, fusion=parts.fusion, profile=parts.profile)

    def __repr__(self) -> str:
        """Its name, methods and line, as a person in a notebook needs them."""
        of, line = self.parts.config, self.threshold
        return f"Detector({of.name!r}, {of.method}, inspects from {line.value:.4g} by {line.rule})"

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
    def scale(self) -> MapScale:
        """Scale of the maps; a region lies above its level."""
        return self.parts.scale

    @property
    def least_region(self) -> float:
        """Smallest region that counts, as a share in [0, 1] of the image."""
        return least_region(self.parts.config)

    @property
    def clipped(self) -> float:
        """Largest share of clipped values that normals had."""
        return self.parts.clipped

    @property
    def names(self) -> tuple[str, ...]:
        """The statistics, in the order of `Scores.statistics`."""
        return self.parts.names

    def score(
        self,
        images: np.ndarray,
        content: Int[np.ndarray, "n 4"] | None = None,
    ) -> Scores:
        """Scores of images in [-1, 1] at the detector's size and number of channels.

        An image's result does not depend on n, nor on the other images: one program measures it
        however many there are (`runtime.inference`).

        Args:
            images: [n, h, w, c] floats. content: of letterboxed images, as in a Batch.

        Raises:
            UserError: whole numbers, values beyond [-1, 1], another size or number of channels.
        """
        images = self._checked(images)
        measured = self._measure(images, content)
        score = self.score_statistics(measured.statistics)
        decision, shown = self.decide(score), measured.anomaly_map
        return Scores(score, decision, shown, measured.drawn, measured.statistics)

    def _checked(self, images: Any) -> Float[np.ndarray, "n h w c"]:
        given = np.asarray(images)
        if given.ndim != 4 or given.shape[1:] != self.image_shape:
            raise UserError(
                f"`images` (shape {given.shape}) must be [n, h, w, c] with (h, w, c) = "
                f"{self.image_shape}, values in [-1, 1]; `judge` takes images of any size."
            )
        if given.dtype.kind != "f":
            raise UserError(
                f"`images` (of {given.dtype}) must be floats in [-1, 1]; `judge` takes uint8 and "
                "uint16 as they are."
            )
        # What is not a number has no score, and is inspected.
        if (np.abs(given) > 1).any():
            low, high = np.nanmin(given), np.nanmax(given)
            raise UserError(
                f"`images` (from {low:.6g} to {high:.6g}) must lie in [-1, 1]; `judge` takes "
                "values of any range."
            )
        return given.astype(np.float32, copy=False)

    def judge(
        self,
        images: Images,
        *,
        value_range: Range = None,
        explain: Explain = True,
    ) -> list[Verdict]:
        """Verdicts on images of any size, read as the detector reads files.

        An image that cannot be read is a verdict with the status error and the decision inspect.
        An image gets the same score, to the last digit, alone, among others and by score.py on the
        same machine. On an accelerator that takes the same batch size: there each call measures
        that many, and `load_detector(dir, batch_size=1)` is the fastest for images that come alone.

        Args:
            images: one or many: the path of a file (of several pages: `stack.tif#2`), an image of
                Pillow, or an array [h, w] or [h, w, c]; many as a list or as [n, h, w, c]. Of
                arrays, uint8 and uint16 count from 0 to what they can hold, bool from 0 to 1,
                floats from 0 to 1; with a detector that has a `data.value_range`, they are in
                its unit, as the values of files are.
            value_range: of arrays, the values that are black and white instead.
            explain: True gives reasons for inspected images, "all" for normal ones too, False none.

        Raises:
            UserError: `value_range` is none, or the detector has one of its own.
        """
        given = read_all(images, self.parts.config.data, value_range)
        verdicts = Verdicts()
        while some := list(itertools.islice(given, self.measurer.batch_size)):
            verdicts += self._judge(some, explain)
        return verdicts

    def _judge(self, given: list[Given], explain: Explain) -> list[Verdict]:
        samples = [one.sample for one in given]
        blank = np.zeros(self.image_shape, np.float32)
        images = np.stack([blank if sample is None else sample.image for sample in samples])
        content = None
        if self.parts.config.data.resize in MIRRORING:
            h, w, _ = self.image_shape
            boxes = [(0, 0, w, h) if s is None else s.placement.content for s in samples]
            content = np.array(boxes, np.int32)
        measured = begin_all(self.measurer, images, content, samples).result()
        shown = [
            image if sample is None or sample.motion is None else sample.motion.undo(image)
            for image, sample in zip(images, samples, strict=True)
        ]
        found = judge(self, [one.seen for one in given], measured, explain=explain)
        drawn = [None] * len(given) if measured.drawn is None else measured.drawn
        return [
            verdict._replace(shown=Shown(image, version, self.scale))
            for verdict, image, version in zip(found, shown, drawn, strict=True)
        ]

    def _measure(
        self, images: Float[np.ndarray, "n h w c"], content: Int[np.ndarray, "n 4"] | None
    ) -> Measured:
        size = self.measurer.batch_size
        parts = [slice(start, start + size) for start in range(0, max(len(images), 1), size)]
        boxes = [None if content is None else content[rows] for rows in parts]
        measure = self.measurer.measure
        return join_rows([measure(images[r], box) for r, box in zip(parts, boxes, strict=True)])

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

    def explain(
        self,
        statistics: Float[np.ndarray, "n k"],
        *,
        top: int = 3,
        inspected: Bool[np.ndarray, "n"] | None = None,
    ) -> list[list[Reason]]:
        """The statistics that pushed each image's score most, as `Explainer.reasons` says."""
        return self._explainer.reasons(statistics, top=top, inspected=inspected)

    def drift(
        self,
        found: Scores | Sequence[Verdict] | Float[np.ndarray, "n k"],
        groups: Sequence[Any] | np.ndarray | None = None,
    ) -> Drift:
        """Comparison of a lot with the calibration normals, as `compare_lot` makes it.

        A lot is looked at once, when it is whole; `Watch` of `decision.drift` looks as it comes in.

        Args:
            found: what `score` or `judge` gave for the lot, or its statistics. groups: of its
                images, those of one part being equal; None: each image by itself.

        Raises:
            UserError: nothing was measured, or other numbers of statistics or groups.
        """
        return drift_of(self.normals, statistics_of(found), groups)

    @cached_property
    def normals(self) -> Normals | None:
        """Normals that a lot is compared with; None in a detector of an earlier version."""
        parts = self.parts
        if parts.groups is None:
            return None
        protocol = parts.config.data.protocol
        return normals_of(parts.methods, parts.reference, parts.groups, protocol=protocol)

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
