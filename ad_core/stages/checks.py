"""Checks before anything is trained: they refuse names and images that could not end well."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from ad_core.backbones import load_backbone
from ad_core.data.shape import image_shape
from ad_core.data.source import Record
from ad_core.data.synthetic.defects import check_kinds
from ad_core.decision.calibration import asks_for_synthetic, check_decision, check_single
from ad_core.errors import UserError
from ad_core.runtime.methods import method_configs
from ad_core.scoring.companions import load_companions
from ad_core.scoring.part import Part, find_map, foremost, part_names, view_shapes
from ad_core.scoring.tiling import make_method
from ad_core.stages.backbones import FAMILY
from ad_core.statistics import WindowSettings, check_names, usable_scales
from ad_core.types import Method, Steps, TrainState, View, inference_state

Made = Mapping[str, tuple[Method, ConfigDict]]


def check_calibration(decision: ConfigDict, records: Sequence[Record], *, split: str) -> None:
    """Refuses a rule or a classifier that the images which calibrate do not allow; UserError."""
    labels = np.array([record.label for record in records])
    groups = np.array([record.group for record in records])
    check_decision(decision, labels, groups, split=split)


def check_settings(config: ConfigDict) -> None:
    """Refuses what no method could mend; UserError.

    It is told of windows that do not fit the image, a classifier of one statistic with several,
    companions that were trained on other images, kinds of made-up defects that are unknown, and a
    rule that needs some where none are made.
    """
    if config.data.synthetic.count:
        check_kinds(tuple(config.data.synthetic.kinds))
    elif asks_for_synthetic(config.decision):
        raise UserError(
            "Rule 'spi' needs made-up defects and `data.synthetic.count` (=0) makes none; raise it."
        )
    usable_scales(WindowSettings(**config.statistics.windows), *image_shape(config.data)[:2])
    also = [name for part in load_companions(config) for name in part.statistics]
    check_single(config.decision.classifier, (*config.statistics.names, *also))


def check_methods(config: ConfigDict, methods: Made, learnt: Mapping[str, TrainState]) -> None:
    """Refuses what could not be computed after a training by gradient, as far as shapes tell.

    Args:
        learnt: the states of the methods that learn in one pass, which have no shapes before it.

    Raises:
        UserError: statistics that no method gives, or a map that localises nothing.
    """
    own = {
        name: view_shapes(method, of, learnt[name] if name in learnt else _start(method, of))
        for name, (method, of) in methods.items()
    }
    check_views(config, own, load_companions(config))


def check_views(config: ConfigDict, own: Mapping[str, View], also: Sequence[Part]) -> None:
    """Refuses statistics and maps that these views, given as shapes, do not hold; UserError."""
    spec = config.statistics.backbone
    # Its weights too: a file that is not there is told before the training.
    backbone = load_backbone(spec, family=FAMILY).network if spec else None
    check_names(tuple(config.statistics.names), own, backbone=backbone)
    others = [view_shapes(part.make(), part.config, part.state) for part in also]
    together = part_names([*own, *(part.name for part in also)])
    made = [make_method(of) for of in method_configs(config).values()]
    ranks = [method.localises for method in (*made, *(part.make() for part in also))]
    views = dict(zip(together, [*own.values(), *others], strict=True))
    best = foremost(dict(zip(together, ranks, strict=True)))
    find_map(views, config.localisation.map, default=best[0])


def _start(method: Method, config: ConfigDict) -> TrainState:
    assert isinstance(method.learn, Steps)
    init, shape = method.learn.init, image_shape(config.data)
    state = jax.eval_shape(lambda: init(jax.random.key(0), shape))
    return inference_state(state)
