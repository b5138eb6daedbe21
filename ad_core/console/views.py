"""Pictures of a scored image for a browser: the image, the map over it, the raw map."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt
from PIL import Image

from ad_core.console.chain import SCORED
from ad_core.console.store import Store
from ad_core.data.formats.resizing import place, reduced, to_file
from ad_core.data.layouts.files import FileSource
from ad_core.errors import UserError
from ad_core.scoring.detector import Detector
from ad_core.scoring.heat import HeatScale
from ad_core.scoring.localisation import MapScale
from ad_core.scoring.pictures import overlay, to_rgb

LONGEST = 1600  # pixels


def encode(picture: UInt[np.ndarray, "h w *channels"]) -> bytes:
    """A PNG file's content, made in milliseconds: a line is waiting."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def picture(store: Store, detector: Detector, sha: str, *, longest: int = LONGEST) -> bytes:
    """The image as the detector's files are shown, as PNG: never the bytes that were sent.

    Raises:
        UserError: it is not kept, or cannot be read.
    """
    return encode(to_rgb(_source(store, detector, sha).view(0, longest)))


def map_over(store: Store, detector: Detector, sha: str, *, longest: int = LONGEST) -> bytes:
    """The map of the last scoring over the image, as PNG, in that detector's one colour scale.

    Raises:
        UserError: picture or map is not kept, or cannot be read.
    """
    values, scale = raw_map(store, sha)
    source = _source(store, detector, sha)
    image = source.view(0, longest)
    shown = source.read(0).placement
    size, resize = values.shape, detector.parts.config.data.resize
    if tuple(shown.size) != size:  # another detector made the map
        shown = place(shown.width, shown.height, size=size, resize=resize)
    anomaly = to_file(values.astype(np.float32), reduced(shown, longest), unseen=scale.low)
    return encode(overlay(image, anomaly, scale, min_area=detector.least_region))


def raw_map(store: Store, sha: str) -> tuple[Float[np.ndarray, "h w"], MapScale]:
    """Values of the map of the last scoring, at the network's size, and the scale of its detector.

    Raises:
        UserError: it is not kept.
    """
    path, scored = store.archive.map(sha), store.events(SCORED, sha, newest=True, limit=1)
    if path is None or not scored or not scored[0].detail.get("scale"):
        raise UserError(f"{sha}: no map is kept of this image.")
    scale = MapScale.from_dict(scored[0].detail["scale"])
    return HeatScale.of(scale).values(_read(path)), scale


def _read(path: Path) -> UInt[np.ndarray, "h w"]:
    try:
        with Image.open(path) as image:
            return np.asarray(image).astype(np.uint16)
    except OSError as error:
        raise UserError(f"{path}: the map cannot be read ({type(error).__name__}).") from error


def _source(store: Store, detector: Detector, sha: str) -> FileSource:
    path = store.archive.picture(sha)
    if path is None:
        raise UserError(f"{sha}: this picture is not kept any more.")
    scored = store.events(SCORED, sha, newest=True, limit=1)
    page = scored[0].detail.get("page", "") if scored else ""
    name = f"{path.name}#{page}" if page else path.name
    return FileSource(path.parent, [name], detector.parts.config.data)
