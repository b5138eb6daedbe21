"""A detector that learns in a second, and images that it was calibrated on."""

import jax
import numpy as np
from PIL import Image

from ad_core.decision import Threshold, make_classifier
from ad_core.decision.classifiers.fitting import anomaly_score, fit_classifier
from ad_core.runtime.methods import method_configs
from ad_core.runtime.registry import resolve
from ad_core.scoring.detector import Parts
from ad_core.scoring.fusion import fit_fusion
from ad_core.scoring.given import read_all
from ad_core.scoring.localisation import fit_scale
from ad_core.scoring.part import Part, column_names, measure_parts, view_shapes
from ad_core.statistics import Context, expand
from ad_core.types import Batch, OnePass, inference_state
from tests.small_config import small_config

COUNT = 30  # images, of which every third is abnormal


def draw_images(*, height=30, width=41, seed=0):
    """Stripes with noise; an abnormal one has a bright square. Labels, and images of 8 bits."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(COUNT) % 3 == 0).astype(int)
    stripes = 90 + 60 * np.sin(np.arange(width) / 3)[None, :, None]
    images = stripes + rng.normal(0, 8, (COUNT, height, width, 3))
    for image, top in zip(
        images[labels == 1], rng.integers(2, height - 9, labels.sum()), strict=True
    ):
        image[top : top + 6, 10:17] += rng.uniform(15, 90)
    return labels, np.clip(images, 0, 255).astype(np.uint8)


def tiny_parts(
    *,
    method="tests.toys.flat",
    classifier="logistic_regression",
    names=("default",),
    settings=None,
    steps=1,
    **data,
):
    """The detector's parts; `data` is its section of that name. It inspects what is abnormal.

    settings: of one method, instead of its defaults; others keep theirs. steps: 0 leaves a method
    that learns step by step as it begins.
    """
    size = {"image_size": (16, 24), "channels": 3, "min_side": 2}
    config = small_config(method=method, data=size | data, reconstructor=settings or {})
    labels, images = draw_images()
    read = np.stack([given.sample.image for given in read_all(images, config.data)])
    alone = method_configs(config)
    parts = tuple(_part(name, own, names, (read, labels, steps)) for name, own in alone.items())
    measured = measure_parts(parts, config.localisation, batch_size=COUNT).measure(read, None)
    columns = column_names(parts)
    model = fit_classifier(make_classifier(classifier, names=columns), measured.statistics, labels)
    scores = anomaly_score(model, measured.statistics)
    odd, normal = scores[labels == 1].min(), scores[labels == 0].max()
    value = float((odd + normal) / 2) if odd > normal else float(odd)
    shown = measured.maps[labels == 0]
    fusion = fit_fusion(list(shown), level_quantile=0.9)
    shown = shown[:, 0] if fusion is None else fusion(shown)
    return Parts(
        config=config,
        methods=parts,
        classifier=model,
        thresholds={"zfn": Threshold(value, "zfn", {"split": "calibration"}, {})},
        rule="zfn",
        scale=fit_scale([shown], level_quantile=0.9),
        reference=measured.statistics[labels == 0],
        fusion=fusion,
    )


def _part(name, config, names, learnt_from):
    made = resolve(config.method).make(config)
    state = inference_state(_learnt(made, *learnt_from))
    chosen = expand(names, view_shapes(made, config, state))
    return Part(name, config, jax.device_get(state), Context(), chosen)


def _learnt(method, images, labels, steps):
    """The state after one pass over what it learns from, or as many steps on pairs."""
    key, count = jax.random.key(0), int(labels.sum())
    chosen = np.flatnonzero(labels == 0)
    if not isinstance(method.learn, OnePass):
        pairs = chosen[:count], np.flatnonzero(labels == 1)
        chosen = np.stack(pairs, axis=1).ravel()
    if method.learns_from_calibration:
        chosen = np.arange(len(labels))
    zeros = np.zeros(len(chosen), np.int32)
    batch = Batch(images[chosen], labels[chosen].astype(np.int32), zeros == 0, zeros)
    if isinstance(method.learn, OnePass):
        return method.learn.fit(iter([batch]), key)
    state = method.learn.init(key, images.shape[1:])
    for _ in range(steps):
        state, _ = method.learn.train_step(state, batch, key)
    return state


def save_images(folder, images):
    """The images as PNG files."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return folder
