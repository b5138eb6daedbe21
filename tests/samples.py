"""Samples of sources that are made up in a test: what they show is all of their file."""

from ad_core.data.formats.resizing import place
from ad_core.types import Sample


def whole(image, mask=None):
    """The sample of an image whose file has its size, and no value beyond the range."""
    height, width = image.shape[:2]
    placement = place(width, height, size=(height, width), resize="stretch")
    return Sample(image, mask, placement, 0.0)
