"""Checks before anything is trained: they refuse names and images that could not end well."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from ad_core.data.shape import image_shape
from ad_core.data.source import Record
from ad_core.decision.calibration import check_decision, check_single
from ad_core.scoring.companions import load_companions
from ad_core.scoring.part import Part, find_map, part_names, view_shapes
from ad_core.statistics import WindowSettings, check_names, usable_scales
from ad_core.types import Method, Steps, TrainState, View, inference_state

Made = Mapping[str, tuple[Method, ConfigDict]]


def check_calibration(decision: ConfigDict, records: Sequence[Record], *, split: str) -> None:
    """Refuses a rule or a classifier that the images which calibrate do not allow; UserError."""
    labels = np.array([record.label for record in records])
    groups = np.array([record.group for record in records])
    check_decision(decision, labels, groups, split=split)


def check_methods(config: ConfigDict, methods: Made) -> None:
    """Refuses what could not be computed after the training, as far as shapes tell.

    A method that learns in one pass has no shapes before it: its names are checked after it.

    Raises:
        UserError: statistics that no method gives, a map that localises nothing, windows that
            do not fit the image, companions trained on other images.
    """
    usable_scales(WindowSettings(**config.statistics.windows), *image_shape(config.data)[:2])
    also = load_companions(config)
    check_single(
        config.decision.classifier,
        (*config.statistics.names, *(name for part in also for name in part.statistics)),
    )
    if all(isinstance(method.learn, Steps) for method, _ in methods.values()):
        own = {
            name: view_shapes(method, of, _start(method, of))
            for name, (method, of) in methods.items()
        }
        check_views(config, own, also)


def check_views(config: ConfigDict, own: Mapping[str, View], also: Sequence[Part]) -> None:
    """Refuses statistics and maps that these views, given as shapes, do not hold; UserError."""
    names, backbone = tuple(config.statistics.names), bool(config.statistics.backbone)
    check_names(names, own, backbone=backbone)
    others = [view_shapes(part.make(), part.config, part.state) for part in also]
    together = part_names([*own, *(part.name for part in also)])
    find_map(dict(zip(together, [*own.values(), *others], strict=True)), config.localisation.map)


def _start(method: Method, config: ConfigDict) -> TrainState:
    assert isinstance(method.learn, Steps)
    init, shape = method.learn.init, image_shape(config.data)
    state = jax.eval_shape(lambda: init(jax.random.key(0), shape))
    return inference_state(state)
