"""The front door for programs: a detector with the habits of scikit-learn's estimators."""

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from ml_collections import ConfigDict
from PIL import Image
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from ad_core.data.layouts import memory
from ad_core.decision.calibration import Calibration
from ad_core.decision.drift import Drift
from ad_core.decision.table import read_table
from ad_core.errors import UserError
from ad_core.runtime.compilation import keep_programs
from ad_core.runtime.memo import memoised
from ad_core.runtime.progress import quiet
from ad_core.runtime.stop import Stop
from ad_core.scoring.detector import Detector
from ad_core.scoring.files import load_detector, save_detector
from ad_core.scoring.verdict import INSPECT, Explain, Verdict, Verdicts
from ad_core.stages.calibrate import run_calibration
from ad_core.stages.job import Job, prepare
from ad_core.stages.parameters import config_of, parameters_of, told_by_parameters
from ad_core.stages.timing import versions
from ad_core.stages.train import run_training

NORMAL, ABNORMAL = 1, -1  # what `predict` gives


class AnomalyDetector(OutlierMixin, BaseEstimator):
    """Detector of abnormal images, after scikit-learn's outlier detectors.

    It trains and calibrates by the stages of `zfn train`, on all images that it is given: nothing
    is set apart as a test. X is a list of images of any size, each a path (of a page:
    "stack.tif#2"), an image of Pillow or an array [h, w] or [h, w, c]; or one array [n, h, w, c];
    read as `Detector.judge` reads. y is 0 for normal and 1 for abnormal.

    As with scikit-learn's, `score_samples` and `decision_function` are higher for normal images,
    and `predict` gives +1 for normal and -1 for inspect; `Verdict.score` is higher for abnormal
    ones. A metric that takes y, 1 for abnormal, takes `-score_samples(X)`.

    Args:
        method: module path of a method, or of several joined by commas; None: the one that suits
            any folder of images. backbone: of every method that has one. Any other None too is what
            a configuration has without it.
        image_size: side, or (height, width), in pixels. channels: 1 or 3. resize: stretch,
            proportions (one side is then the shorter one), letterbox or centre_crop.
        value_range: (low, high), the values of files and arrays that become black and white;
            None: by their type (floats from 0 to 1), else fixed by the normal images.
        classifier, rule, miss_rate: of the decision. rule: without any abnormal image, None and
            "auto" are "normal_quantile", which promises nothing about misses.
        seed: of all that is random; the same seed and images give the same scores.
        size: "cpu" or "accelerator"; None: by the device.
        overrides: key of a configuration -> value.
        verbose: whether `fit` shows its progress, on stderr.

    Attributes: `detector_` (a `Detector`), `threshold_` (of `Verdict.score`, inspected from there
    on), `offset_` (`decision_function` is `score_samples - offset_`), `guarantee_` (what is
    promised about misses, or None), `classes_`; after `fit` alone `left_out_` (image -> why it
    taught nothing) and `out_of_fold_scores_` (like `score_samples`, of the images that calibrated,
    each by parts that have not learnt it; NaN of the others). `predict` and `score_samples` are
    for other images: one that the detector has learnt may score like no other.

    Of scikit-learn's checks of estimators those hold that need no table of numbers: parameters,
    clone, tags, nothing set in `__init__`, NotFittedError. Images have no `n_features_in_`, no
    feature names and no sparse form, and a fit to random numbers says nothing. A fitted one is not
    pickled: `save` it.
    """

    def __init__(
        self,
        *,
        method: str | None = None,
        backbone: str | None = None,
        image_size: Any = None,
        channels: int | None = None,
        resize: str | None = None,
        value_range: Any = None,
        classifier: str | None = None,
        rule: str | None = None,
        miss_rate: float | None = None,
        seed: int = 0,
        size: str | None = None,
        overrides: Any = None,
        verbose: bool = False,
    ):
        """Stores the parameters as they are; `fit` looks at them."""
        self.method = method
        self.backbone = backbone
        self.image_size = image_size
        self.channels = channels
        self.resize = resize
        self.value_range = value_range
        self.classifier = classifier
        self.rule = rule
        self.miss_rate = miss_rate
        self.seed = seed
        self.size = size
        self.overrides = overrides
        self.verbose = verbose

    @told_by_parameters()
    def fit(self, X: Any, y: Any = None, groups: Any = None) -> "AnomalyDetector":
        """Trains and calibrates on images.

        Args:
            y: 0 normal, 1 abnormal; None: all are normal.
            groups: one of each image (a patient, a part); images of a group stay together.

        Raises:
            UserError: a ValueError; an image that cannot be read, a parameter or images that allow
                no detector.
        """
        images = _images(X)
        labels, names = _labels(y, len(images)), _groups(groups, len(images))
        config = config_of(self.get_params(deep=False), any_abnormal=bool(labels.any()))
        keep_programs()

        def opener(data: ConfigDict) -> memory.MemorySource:
            return memory.MemorySource(images, labels.tolist(), data, groups=names)

        shown = nullcontext() if self.verbose else quiet()
        with shown, TemporaryDirectory(prefix="zfn-ad-") as root:
            job = prepare(config, root, Stop(), opener=opener)
            with memoised():
                scores = _unseen(job, run_calibration(job, run_training(job)))
            self._keep(load_detector(job.workdir.detector))
        self.out_of_fold_scores_, self.left_out_ = scores, dict(job.left_out)
        _warn_of(job)
        return self

    def judge(self, X: Any, *, explain: Explain = True) -> list[Verdict]:
        """The verdict on each image, as `Detector.judge` gives it.

        Raises:
            NotFittedError: before `fit`. UserError: X is no list of images.
        """
        check_is_fitted(self)
        images = _images(X)
        verdicts = self.detector_.judge(images, explain=explain) if images else Verdicts()
        if len(verdicts) != len(images):
            raise UserError(
                f"`X` holds {len(images)} entries with {len(verdicts)} images; name the pages of a "
                'file one by one, as in "stack.tif#2".'
            )
        return verdicts

    def score_samples(self, X: Any) -> Float64[np.ndarray, " n"]:
        """Normality of each image: minus `Verdict.score`, so higher is more normal.

        An image without a score, such as one that cannot be read, has -inf. Errors as `judge`.
        """
        return _normality(self.judge(X, explain=False))

    def decision_function(self, X: Any) -> Float64[np.ndarray, " n"]:
        """Distance of each image from the threshold: >= 0 is normal, below is inspect.

        An image that is inspected whatever its score (unreadable, clipped beyond what normal ones
        are) has -inf. Errors as `judge`.
        """
        verdicts = self.judge(X, explain=False)
        distance = _normality(verdicts) - self.offset_
        return np.where(_inspected(verdicts) & (distance >= 0), -np.inf, distance)

    def predict(self, X: Any) -> Int[np.ndarray, " n"]:
        """+1 for an image that is normal, -1 for one to inspect. Errors as `judge`."""
        return np.where(_inspected(self.judge(X, explain=False)), ABNORMAL, NORMAL)

    def drift(self, X: Any, groups: Any = None) -> Drift:
        """Comparison of a whole lot with the normal images that calibrated, as `Detector.drift`.

        Args:
            groups: one of each image, those of one part being equal; None: each image by itself.

        Raises:
            UserError: none of the images could be measured, or another number of groups.
        """
        check_is_fitted(self)
        images = _images(X)
        names = _groups(groups, len(images))
        return self.detector_.drift(self.judge(images, explain=False), names)

    def fit_predict(self, X: Any, y: Any = None, groups: Any = None) -> Int[np.ndarray, " n"]:
        """Fits, and gives the decision on each of these images by parts that have not learnt it.

        That is what `out_of_fold_scores_` say. An image that only trained a network, which has
        none, is predicted by the final detector.
        """
        images = _images(X)
        scores = self.fit(images, y, groups).out_of_fold_scores_
        decided = np.where(scores >= self.offset_, NORMAL, ABNORMAL)
        known = np.flatnonzero(np.isnan(scores))
        decided[known] = self.predict([images[row] for row in known])
        return decided

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the detector's folder, which launch/score.py, `load_detector` and `load` read."""
        check_is_fitted(self)
        save_detector(Path(directory), self.detector_.parts, versions=versions())

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "AnomalyDetector":
        """The fitted estimator of a detector's folder, whoever trained it.

        Its parameters are those of the detector, so that a clone fits in the same way.

        Raises:
            UserError: as `load_detector`.
        """
        detector = load_detector(Path(directory))
        loaded = cls(**parameters_of(detector.parts.config))
        loaded._keep(detector)
        return loaded

    def _keep(self, detector: Detector) -> None:
        self.detector_ = detector
        self.threshold_ = detector.threshold.value
        self.guarantee_ = detector.threshold.guarantee
        # The threshold itself is inspected, and an offset of its own would be normal.
        self.offset_ = float(np.nextafter(-self.threshold_, np.inf))
        self.classes_ = np.array([ABNORMAL, NORMAL])

    def __getstate__(self) -> Any:
        """State of an estimator that is not fitted. Raises TypeError of a fitted one."""
        if hasattr(self, "detector_"):
            raise TypeError("A fitted AnomalyDetector is not pickled or copied; `save` it.")
        return super().__getstate__()

    def __sklearn_tags__(self) -> Tags:
        """Tags for scikit-learn: X is no table of numbers, and nothing is validated by it."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.allow_nan = False
        tags.no_validation = True
        return tags


def _images(X: Any) -> list[Any]:
    """The images one by one. Raises UserError for what is one image, or none."""
    one = (str, bytes, os.PathLike, Image.Image, Mapping)
    held = "" if isinstance(X, Iterable) and not isinstance(X, one) else type(X).__name__
    if isinstance(X, np.ndarray) and X.dtype.kind in "buifc" and X.ndim != 4:
        held = f"shape {X.shape}"
    if held:
        raise UserError(
            f"`X` ({held}) must be a list of images (paths, Pillow's, or arrays [h, w] or "
            "[h, w, c]) or one array [n, h, w, c]; one image alone is a list of one."
        )
    return list(X)


def _labels(y: Any, count: int) -> Int[np.ndarray, " n"]:
    """0 and 1 of each image. Raises UserError for anything else, or no image at all."""
    labels = np.zeros(count, int) if y is None else np.asarray(y)
    if count == 0:
        raise UserError("`X` holds no image; give some normal ones.")
    if labels.shape != (count,) or not np.isin(labels, (0, 1)).all():
        held = ", ".join(list(dict.fromkeys(map(str, labels.ravel().tolist())))[:4])
        raise UserError(
            f"`y` (shape {labels.shape}, values {held}) must hold 0 (normal) or 1 (abnormal) for "
            f"each of {count} images; None means that all are normal."
        )
    return labels.astype(int)


def _groups(groups: Any, count: int) -> list[str] | None:
    """A name for each image; None where each is a group of its own. Raises UserError."""
    names = None if groups is None else [str(group) for group in groups]
    if names is not None and len(names) != count:
        raise UserError(f"`groups` ({len(names)} names) must name one for each of {count} images.")
    return names


def _unseen(job: Job, calibration: Calibration) -> Float64[np.ndarray, " n"]:
    """Normality of the images that calibrated, by a classifier that has not seen them, else NaN."""
    scores = np.full(len(job.source.records), np.nan)
    table = read_table(job.workdir.statistics(job.calibration_split))
    scores[job.splits[job.calibration_split][table.readable]] = -calibration.scores
    return scores


def _normality(verdicts: Sequence[Verdict]) -> Float64[np.ndarray, " n"]:
    scores = [np.inf if verdict.score is None else verdict.score for verdict in verdicts]
    return -np.array(scores, np.float64)


def _inspected(verdicts: Sequence[Verdict]) -> np.ndarray:
    return np.array([verdict.decision == INSPECT for verdict in verdicts], bool)


def _warn_of(job: Job) -> None:
    if job.left_out:
        first = next(iter(job.left_out.values()))
        warnings.warn(
            f"{len(job.left_out)} images cannot be read and taught nothing; `left_out_` names "
            f"them. The first: {first}",
            stacklevel=3,
        )
