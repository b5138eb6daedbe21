"""A detector on disk around what a method has learnt, for tests that need the method alone."""

import jax
import numpy as np

from ad_core.decision import fit_threshold, make_classifier
from ad_core.scoring.detector import Parts
from ad_core.scoring.files import save_detector
from ad_core.scoring.localisation import MapScale
from ad_core.scoring.part import Part
from ad_core.statistics import Context
from ad_core.types import inference_state


def save_detector_of(folder, config, state, *, name="vqgan"):
    """Writes it; classifier and threshold are of made-up numbers."""
    values, labels = np.arange(8.0)[:, None], np.arange(8) // 4
    classifier = make_classifier("logistic_regression", names=("mse",)).fit(values, labels)
    parts = Parts(
        config=config,
        methods=(Part(name, config, jax.device_get(inference_state(state)), Context(), ("mse",)),),
        classifier=classifier,
        thresholds={"zfn": fit_threshold("zfn", values[:, 0], labels)},
        rule="zfn",
        scale=MapScale(0.0, 1.0, 0.5),
        reference=values[:4].astype(np.float32),
    )
    save_detector(folder, parts, versions={})
