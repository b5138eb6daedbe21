"""Words for each statistic, as people who look at parts and scans say them."""

import re
from typing import NamedTuple

HIGH, LOW, EITHER = 1, -1, 0  # which end of its range is the abnormal one


class Words(NamedTuple):
    """Words for a statistic.

    subject: what it measures, as a noun. unlike: what a value beyond the normals' range at the
    abnormal end says, as a clause. end: HIGH, LOW, or EITHER where neither end is the abnormal one.
    local: whether it looks at the worst place of an image, and not at all of it.
    known: False for a name that the glossary does not hold.
    """

    subject: str
    unlike: str
    end: int
    local: bool = False
    known: bool = True


_GREY = "the grey values differ from the normal version"
_STRUCTURE = "the structure differs from the normal version"
_EDGES = "the edges differ from those of the normal version"
_PATTERN = "the pattern differs from the normal version"
_HISTOGRAM = "light and dark are spread unlike the normal version"

# Pairs of an image and its normal version.
_PAIRS = {
    "mse": ("the mean squared difference from the normal version", _GREY, HIGH),
    "rmse": ("the root mean squared difference from the normal version", _GREY, HIGH),
    "sse": ("the summed squared difference from the normal version", _GREY, HIGH),
    "psnr": ("the likeness to the normal version in decibels", _GREY, LOW),
    "euclidean": ("the distance from the normal version", _GREY, HIGH),
    "sqeuclidean": ("the squared distance from the normal version", _GREY, HIGH),
    "minkowski": ("the distance from the normal version", _GREY, HIGH),
    "minkowski_3": (
        "the distance from the normal version, large differences foremost", _GREY, HIGH,
    ),
    "cityblock": ("the summed difference from the normal version", _GREY, HIGH),
    "chebyshev": (
        "the largest difference of one point from the normal version",
        "one point differs strongly from the normal version", HIGH,
    ),
    "hamming": (
        "the share of points that differ from the normal version",
        "more points differ from the normal version than usual", HIGH,
    ),
    "canberra": ("the difference from the normal version, dark points foremost", _GREY, HIGH),
    "braycurtis": ("the difference from the normal version, for the brightness", _GREY, HIGH),
    "cosine": ("the difference of the pattern from the normal version", _PATTERN, HIGH),
    "correlation": (
        "the difference of the pattern from the normal version, whatever its brightness",
        _PATTERN, HIGH,
    ),
    "sre": ("the brightness against the difference from the normal version", _GREY, LOW),
    "sam": ("the angle between the image and its normal version", _PATTERN, HIGH),
    "ssim": ("the likeness of the structure to the normal version", _STRUCTURE, LOW),
    "ms_ssim": ("the likeness of fine and coarse structure", _STRUCTURE, LOW),
    "uiq": ("the likeness of brightness and contrast", _STRUCTURE, LOW),
    "issm": ("the likeness of structure and edges", _STRUCTURE, LOW),
    "fsim": ("the likeness of features such as edges and corners", _EDGES, LOW),
    "gms": ("the likeness of the edges to the normal version", _EDGES, LOW),
    "gmsd": ("the unevenness of the likeness of the edges", _EDGES, HIGH),
    "mutual_information": ("what the image shares with its normal version", _PATTERN, LOW),
    "jensenshannon": ("the difference in how light and dark are spread", _HISTOGRAM, HIGH),
    "wasserstein": ("the shift of light and dark", _HISTOGRAM, HIGH),
    "directed_hausdorff": (
        "the largest gap to any point of the normal version",
        "some points have no counterpart in the normal version", HIGH,
    ),
    "frechet": (
        "the largest gap on a walk over both images",
        "the course of light and dark leaves that of the normal version", HIGH,
    ),
    "fid": (
        "the difference in the eyes of a pretrained network",
        "a pretrained network sees something else than in the normal version", HIGH,
    ),
}  # fmt: skip

_BRIGHTER = "some places are brighter than in the normal version"
_DARKER = "some places are darker than in the normal version"
_WORST = "the worst places differ from the normal version"
_AREA = "more of the image differs from the normal version than usual"

# Of the residual, behind "residual_".
_RESIDUAL = {
    "mean": ("the difference in brightness from the normal version", "", EITHER),
    "median": ("the usual difference in brightness from the normal version", "", EITHER),
    "std": ("the spread of the differences from the normal version", _GREY, HIGH),
    "min": ("the darkest difference from the normal version", _DARKER, LOW),
    "max": ("the brightest difference from the normal version", _BRIGHTER, HIGH),
    "q01": ("the darkest 1 % of differences", _DARKER, LOW),
    "q05": ("the darkest 5 % of differences", _DARKER, LOW),
    "q25": ("the darker quarter of differences", _DARKER, LOW),
    "q75": ("the brighter quarter of differences", _BRIGHTER, HIGH),
    "q95": ("the brightest 5 % of differences", _BRIGHTER, HIGH),
    "q99": ("the brightest 1 % of differences", _BRIGHTER, HIGH),
    "skewness": ("how far brighter places outweigh darker ones", "", EITHER),
    "kurtosis": (
        "how far a few places hold all of the difference",
        "a few places differ strongly from the normal version", HIGH,
    ),
    "energy": ("the total difference from the normal version", _GREY, HIGH),
    "entropy": ("how varied the differences are", "", EITHER),
    "abs_mean": ("the mean difference from the normal version", _GREY, HIGH),
    "abs_std": ("the unevenness of the difference from the normal version", _GREY, HIGH),
    "abs_max": ("the largest difference of one point", _WORST, HIGH),
    "abs_q50": ("the median difference from the normal version", _GREY, HIGH),
    "abs_q90": ("the difference that 10 % of the image exceed", _GREY, HIGH),
    "abs_q95": ("the difference that 5 % of the image exceed", _WORST, HIGH),
    "abs_q99": ("the difference that 1 % of the image exceed", _WORST, HIGH),
    "abs_top_001": ("the difference of the worst 0.1 % of the image", _WORST, HIGH),
    "abs_top_01": ("the difference of the worst 1 % of the image", _WORST, HIGH),
    "abs_top_05": ("the difference of the worst 5 % of the image", _WORST, HIGH),
    "abs_top_10": ("the difference of the worst 10 % of the image", _WORST, HIGH),
    "scale_0": ("the share of the finest detail in the difference", "", EITHER),
    "scale_1": ("the share of fine detail in the difference", "", EITHER),
    "scale_2": ("the share of middling detail in the difference", "", EITHER),
    "scale_3": ("the share of coarse detail in the difference", "", EITHER),
    "scale_low": ("the share of large areas in the difference", "", EITHER),
    "area_above_q90": ("the area that differs more than 90 % of normal images do", _AREA, HIGH),
    "area_above_q99": ("the area that differs more than 99 % of normal images do", _AREA, HIGH),
    "area_above_q999": ("the area that differs more than 99.9 % of normal images do", _AREA, HIGH),
    "largest_area": (
        "the largest connected area that differs from the normal version",
        "a connected area differs from the normal version", HIGH,
    ),
}  # fmt: skip

_PATCH = "the image looks unlike any normal patch"
_FEATURES = "the image looks unlike normal images to a pretrained network"
_APART = "the difference from the normal version to a pretrained network"
_DIFFERS = "the image differs from its normal version to a pretrained network"
_LEARNT = "parts of the image are like nothing among the learnt normal parts"

# What methods say by themselves: losses and maps, by the names that they give them.
_LIKENESS = (
    "the likeness to the abnormal images that calibrated",
    "it looks like the abnormal images that calibrated",
    HIGH,
)
_OWN = {
    "likeness": _LIKENESS,
    "reconstruction": (
        "the error of the normal version", "the image cannot be redrawn as normal", HIGH,
    ),
    "residual": ("the difference from the normal version", _GREY, HIGH),
    "quantisation": ("the distance from the learnt normal parts", _LEARNT, HIGH),
    "commitment": ("the weighted distance from the learnt normal parts", _LEARNT, HIGH),
    "unquantised": (
        "what is lost when the image is put together from normal parts",
        "detail is lost when the image is put together from normal parts", HIGH,
    ),
    "code_surprise": (
        "the rarity of the image's parts among normal images",
        "parts of the image are rare among normal images", HIGH,
    ),
    "latent": (
        "how far the network's summary of the image lies from that of its normal version",
        "the network sums the image up otherwise than its normal version", HIGH,
    ),
    "perceptual": (
        "the difference from the normal version in the eyes of a pretrained network",
        "a pretrained network sees something else than in the normal version", HIGH,
    ),
    "disc_real": (
        "how much like a normal image it looks to the discriminator",
        "the discriminator does not take it for a normal image", LOW,
    ),
    "disc_fake": (
        "how much like a normal image its normal version looks to the discriminator",
        "not even its normal version looks normal to the discriminator", LOW,
    ),
    "disc_abnormal_real": (
        "how much like an abnormal image it looks to the discriminator",
        "the discriminator takes it for an abnormal image", HIGH,
    ),
    "disc_abnormal_fake": (
        "how abnormal its abnormal version looks to the discriminator", "", EITHER,
    ),
    "cycle": (
        "the error on the way to normal and back",
        "the way to normal and back changes the image", HIGH,
    ),
    "identity": ("the difference from its abnormal version", "", EITHER),
    "score": ("the distance from normal images", "the image looks unlike normal images", HIGH),
    "top": (
        "the distance of the worst patches from normal ones",
        "the worst patches look unlike any normal patch", HIGH,
    ),
    "distance": ("the distance of a patch from normal patches", _PATCH, HIGH),
    "share": ("the part of a place in the distance from normal images", _FEATURES, HIGH),
    "deviation": ("the deviation of a patch from normal patches", _PATCH, HIGH),
}  # fmt: skip

_TIMED = {  # at a time of a diffusion
    "residual": ("the difference from the normal version after little or much noise", _GREY, HIGH),
    "denoising": (
        "the error of telling noise from image",
        "noise cannot be told from the image, which looks unlike normal ones", HIGH,
    ),
}  # fmt: skip
_LEVEL = re.compile(r"(?P<kind>distance|deep)_(?P<level>.+?)(?:_\d{4,})?")
_BY = re.compile(r"_by_\d+$")  # of an image that was reduced by so much
_PLACES = {  # how a map is pooled
    "max": "at the worst place",
    "top_05": "over the worst 5 % of the image",
    "mean": "on average",
}
_TILES = {  # how a loss is pooled over tiles of the image
    "max": "in the worst tile",
    "top": "over the worst tiles",
    "mean": "over all tiles",
}
_WINDOWS = {  # how the worst windows are
    "max": "in the worst patch",
    "min": "in the worst patch",
    "mean": "over the worst patches",
    "worst": "in the patch that differs most",
}
_LOCAL = ("chebyshev", "residual_abs_max", "residual_abs_top_001", "residual_abs_top_01")
_LOCAL += ("residual_min", "residual_max", "residual_largest_area", "loss_top")
_FURTHER = {  # no statistics of the table, but what a decision may rest on
    "deep_head": Words(*_LIKENESS),
    "deep_apart": Words(
        "the distance from the images that calibrated",
        "it is much less like the images that calibrated than any normal one among them",
        HIGH,
    ),
    "clipped": Words(
        "the share of values beyond the range that the detector knows",
        "values lie beyond the range that the detector knows, where it sees no difference",
        HIGH,
    ),
}


def words(name: str) -> Words:
    """Words for the statistic `name`; for one that the glossary does not hold, its name.

    Args:
        name: as it stands in a table, with the method's name and a dot before it or without.
    """
    _, _, bare = name.rpartition(".")
    found = _find(bare)
    if found is None:
        return Words(bare.replace("_", " "), "", EITHER, known=False)
    return found._replace(local=found.local or bare in _LOCAL)


def _find(name: str) -> Words | None:
    if name in _FURTHER:
        return _FURTHER[name]
    if name in _PAIRS:
        return Words(*_PAIRS[name])
    kind, _, rest = name.partition("_")
    finders = {"residual": _residual, "window": _window, "loss": _loss, "deep": _seen}
    found = finders[kind](rest) if kind in finders else None
    return found or (_level(name) if kind == "deep" else None)


def _residual(rest: str) -> Words | None:
    return Words(*_RESIDUAL[rest]) if rest in _RESIDUAL else None


def _seen(rest: str) -> Words | None:
    """Words for a difference from the normal version in the features of a backbone."""
    if rest == "distance" or rest.endswith("_fid"):
        return Words(_APART, _DIFFERS, HIGH)
    level, _, how = rest.removeprefix("distance_").rpartition("_")
    if not rest.startswith("distance_"):
        return None
    if level and how in ("mean", "max"):
        found = Words(f"{_APART} at {level}", _DIFFERS, HIGH)
        return _at(found, _PLACES[how], how, local=how == "max")
    return Words(f"{_APART} at {rest.removeprefix('distance_')}", _DIFFERS, HIGH)


def _loss(rest: str) -> Words | None:
    """Words for a loss, also over tiles, or for a map that is pooled."""
    name, pooled, how = rest.rpartition("_tile_")
    if pooled and how in _TILES:
        found = _own(_BY.sub("", name))
        return found and _at(found, _TILES[how], how, local=how != "mean")
    name, pooled, how = rest.rpartition("_map_")
    if not pooled:
        return _own(rest)
    found = _own(name)
    return found and _at(found, _PLACES[how], how, local=how != "mean")


def _window(rest: str) -> Words | None:
    """Words for a pair or a map, over the worst windows."""
    weighted = rest.startswith("weighted_")
    name, _, how = rest.removeprefix("weighted_").rpartition("_")
    found = _loss(name.removeprefix("loss_")) if name.startswith("loss_") else _find(name)
    if found is None or how not in _WINDOWS:
        return None
    where = _WINDOWS[how] + (" of where normal images are alike" if weighted else "")
    return _at(found, where, how, local=True)


def _own(name: str) -> Words | None:
    kind, _, time = name.rpartition("_")
    if kind in _TIMED and time.isdecimal():
        subject, unlike, end = _TIMED[kind]
        return Words(f"{subject}, at time {time}", unlike, end)
    return Words(*_OWN[name]) if name in _OWN else _level(name)


def _level(name: str) -> Words | None:
    match = _LEVEL.fullmatch(name)
    if match is None:
        return None
    return Words(f"what a pretrained network sees at {match['level']}", _FEATURES, HIGH)


def _at(found: Words, where: str, how: str, *, local: bool) -> Words:
    # The highest value of what is low where abnormal says nothing of the worst place.
    end = EITHER if found.end == LOW and how in ("max", "top", "top_05") else found.end
    unlike = found.unlike and f"{where} {found.unlike}"
    return Words(f"{found.subject}, {where}", unlike, end, local=local)
