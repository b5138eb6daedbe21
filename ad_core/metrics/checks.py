"""Labels and scores, maps and masks, as the figures take them: checked, and sorted once."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from ad_core.errors import UserError

Labels = Shaped[Array | np.ndarray, "n"]
Scores = Shaped[Array | np.ndarray, "n"]
Images = Shaped[Array | np.ndarray, "m h w"] | Sequence[Shaped[np.ndarray, "_ _"]]


def sorted_classes(
    labels: Labels, scores: Scores
) -> tuple[Float[np.ndarray, "q"], Float[np.ndarray, "p"]]:
    """Scores of the normal and of the abnormal, each ascending.

    Raises:
        UserError: a class is absent, lengths differ, or a score is not finite.
    """
    abnormal, values = binary("labels", labels), finite(scores)
    if abnormal.shape != values.shape or abnormal.ndim != 1:
        raise UserError(
            f"Labels {abnormal.shape} and scores {values.shape} must be two vectors of one length."
        )
    positives, negatives = values[abnormal], values[~abnormal]
    if not positives.size or not negatives.size:
        raise UserError(
            f"{negatives.size} normal and {positives.size} abnormal scores; both kinds are needed."
        )
    positives.sort()
    negatives.sort()
    return negatives, positives


def binary(name: str, values: Shaped[Array | np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Values as bool. Raises UserError if one is neither 0 nor 1."""
    array = np.asarray(values)
    if array.dtype == np.bool_:
        return array
    if array.size and not np.isin(array, (0, 1)).all():
        raise UserError(f"`{name}` must be 0 or 1; found {np.setdiff1d(array, (0, 1))[:3]}.")
    return array.astype(bool)


def finite(scores: Shaped[Array | np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Scores as float64, or float32 where they are. Raises UserError if one is not finite."""
    array = np.asarray(scores)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise UserError(f"{bad} of {array.size} scores are not finite; they cannot be ranked.")
    return array


def pairs(
    masks: Images, maps: Images
) -> tuple[list[Bool[np.ndarray, "_ _"]], list[Float[np.ndarray, "_ _"]]]:
    """Mask as bool and map of each image. Raises UserError unless their shapes agree."""
    if [np.shape(mask) for mask in masks] != [np.shape(found) for found in maps]:
        shapes = [np.shape(x) if hasattr(x, "shape") else len(x) for x in (masks, maps)]
        raise UserError(f"Masks {shapes[0]} and maps {shapes[1]} must have one shape.")
    return [np.asarray(mask) != 0 for mask in masks], [finite(found) for found in maps]
