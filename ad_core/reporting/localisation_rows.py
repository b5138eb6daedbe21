"""Images as a detector sees them, for the figure of localisation."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from ad_core.backbones import Backbone
from ad_core.backbones.perceptual import distance_maps
from ad_core.data.formats.resizing import MIRRORING, mask_to_network
from ad_core.scoring.detector import Detector
from ad_core.scoring.localisation import RESIDUAL, MapScale
from ad_core.scoring.measuring import Measured, begin_all, join_rows
from ad_core.scoring.part import part_names, shown_maps, view_shapes
from ad_core.scoring.sheets import middle_pixels
from ad_core.scoring.verdict import Seen, judge
from ad_core.types import Sample


class Heat(NamedTuple):
    """A map at the network's size. words: what it measures.

    scale: one for all images of the method. has_level: whether its level is one that normal
    calibration images set; else it is nothing but the upper end.
    """

    values: Float[np.ndarray, "h w"]
    words: str
    scale: MapScale
    has_level: bool


class Row(NamedTuple):
    """One image under one method, all at the network's size.

    method: as it stands above the rows. name: of the image. drawn: the normal version. residual,
    features: raw maps; None where the method has none. anomaly, scale: the map that localises.
    mask: None where the image has none. decision, score, threshold: of the verdict; score None
    where there is none. abnormal: the truth, None where it is not known.
    """

    method: str
    name: str
    image: Float[np.ndarray, "h w c"]
    drawn: Float[np.ndarray, "h w c"] | None
    residual: Heat | None
    features: Heat | None
    anomaly: Float[np.ndarray, "h w"]
    scale: MapScale
    mask: Bool[np.ndarray, "h w"] | None
    decision: str
    score: float | None
    threshold: float
    abnormal: bool | None


def localisation_rows(
    detector: Detector,
    samples: Sequence[Sample],
    *,
    names: Sequence[str],
    abnormal: Sequence[bool | None],
    method: str = "",
) -> list[Row]:
    """Rows of `localisation_figure`: one for each sample, as this detector judges it.

    The residual is the mean over the channels of |x - x̂|. The map of features is the one that
    localises, where that is no residual; else the distance of image and normal version in the
    detector's backbone, summed over its levels. The colours of what localises begin where those of
    the detector do, of any other map at 0; they end at the highest value of these images (of what
    localises at the level of normal images, if that is higher).

    Args:
        samples: as `source.read(i)` gives them. names: of the images. abnormal: their truth.
        method: stands above the rows; "" is that of the detector's configuration.
    """
    images = np.stack([sample.image for sample in samples])
    content = None
    if detector.parts.config.data.resize in MIRRORING:
        content = np.array([sample.placement.content for sample in samples], np.int32)
    measured = _measured(detector, images, content, samples)
    images = np.stack([_shown(sample, drawn=measured.drawn is not None) for sample in samples])
    seen = [Seen(name, s.placement, "", s.clipped) for name, s in zip(names, samples, strict=True)]
    verdicts = judge(detector, seen, measured, explain=False)
    residuals, features = _maps(detector, images, measured)
    return [
        Row(
            method=method or detector.parts.config.method,
            name=names[i],
            image=images[i],
            drawn=None if measured.drawn is None else measured.drawn[i],
            residual=residuals[i],
            features=features[i],
            anomaly=measured.anomaly_map[i],
            scale=detector.scale,
            mask=_mask(sample),
            decision=verdicts[i].decision,
            score=verdicts[i].score,
            threshold=detector.threshold.value,
            abnormal=abnormal[i],
        )
        for i, sample in enumerate(samples)
    ]


def _measured(
    detector: Detector,
    images: Float[np.ndarray, "n h w c"],
    content: Int[np.ndarray, "n 4"] | None,
    samples: Sequence[Sample],
) -> Measured:
    size = detector.measurer.batch_size
    parts = [slice(start, start + size) for start in range(0, len(images), size)]
    boxes = [None if content is None else content[rows] for rows in parts]
    begun = (
        begin_all(detector.measurer, images[rows], box, samples[rows])
        for rows, box in zip(parts, boxes, strict=True)
    )
    return join_rows([one.result() for one in begun])


def _shown(sample: Sample, *, drawn: bool) -> Float[np.ndarray, "h w c"]:
    """The image as its maps lie, and its normal version where there is one."""
    if sample.motion is not None:
        return sample.motion.undo(sample.image)
    if sample.large is not None and drawn:
        return middle_pixels(sample.large(), sample.placement.size)
    return sample.image


def _mask(sample: Sample) -> Bool[np.ndarray, "h w"] | None:
    """The mask at the network's size; what lies beyond the file's content is not marked."""
    if sample.mask is None:
        return None
    left, top, right, bottom = sample.placement.content
    whole = np.zeros(sample.image.shape[:2], bool)
    if sample.mask.any():
        whole[top:bottom, left:right] = mask_to_network(sample.mask, sample.placement)[
            top:bottom, left:right
        ]
    return whole


def _maps(
    detector: Detector, images: Float[np.ndarray, "n h w c"], measured: Measured
) -> tuple[Sequence[Heat | None], Sequence[Heat | None]]:
    """Residual and map of features of each image, None where the detector has none."""
    nothing, drawn = [None] * len(images), measured.drawn
    residuals: Sequence[Heat | None] = nothing
    if drawn is not None:
        residuals = _own_scale(np.abs(images - drawn).mean(axis=-1), "|image - normal version|")
    name = _localising_map(detector)
    if name:
        scale, maps = detector.scale, measured.anomaly_map
        wide = scale._replace(high=max(scale.level, float(np.nanmax(maps))))
        return residuals, [Heat(each, name, wide, True) for each in maps]
    backbone = _backbone(detector)
    if drawn is None or backbone is None or not backbone.network.over_image:
        return residuals, nothing
    words = f"distance in {backbone.name}"
    return residuals, _own_scale(_feature_distance(backbone, images, drawn), words)


def _localising_map(detector: Detector) -> str:
    """METHOD.MAP of each map that localises, with "and"; "" where the first is the residual."""
    parts = detector.parts.methods
    found = shown_maps(parts, detector.parts.config.localisation.map)
    places = part_names(one.name for one in parts)

    def of_view(name: str) -> str:
        part = parts[places.index(name)]
        return view_shapes(part.make(), part.config, part.state).anomaly

    named = itertools.islice(found.items(), detector.parts.maps)
    maps = {name: of_view(name) if chosen is None else chosen for name, chosen in named}
    if RESIDUAL in maps.values():
        return ""
    return " and ".join(f"{name}.{chosen}" for name, chosen in maps.items())


def _backbone(detector: Detector) -> Backbone | None:
    """The first backbone by whose features a part compares image and normal version."""
    known = [part.context.backbone for part in detector.parts.methods]
    return next((backbone for backbone in known if backbone is not None), None)


def _own_scale(maps: Float[np.ndarray, "n h w"], words: str) -> list[Heat]:
    """Maps on one scale from 0 to the highest value of all of them."""
    high = max(float(maps.max()), 1e-6)
    scale = MapScale(low=0.0, high=high, level=high)
    return [Heat(each, words, scale, False) for each in maps]


def _feature_distance(
    backbone: Backbone, images: Float[np.ndarray, "n h w c"], drawn: Float[np.ndarray, "n h w c"]
) -> Float[np.ndarray, "n h w"]:
    """Sum over the levels of |f - f̂|^2, f and f̂ at unit length, at the images' size."""

    def both(backbone: Backbone, pair: jax.Array) -> jax.Array:
        levels = backbone.stages(backbone.params, pair)
        maps = distance_maps(*({k: x[i : i + 1] for k, x in levels.items()} for i in (0, 1)))
        return _summed(maps, images.shape[1:3])

    look = jax.jit(both)
    pairs = (np.stack(pair) for pair in zip(images, drawn, strict=True))
    return np.concatenate([np.asarray(look(backbone, jnp.asarray(pair))) for pair in pairs])


def _summed(maps: Mapping[str, jax.Array], size: tuple[int, int]) -> jax.Array:
    full = [jax.image.resize(x, (len(x), *size), "linear") for x in maps.values()]
    return jnp.sum(jnp.stack(full), axis=0)
