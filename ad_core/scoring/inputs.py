"""Inputs to score: a folder of images, a table that names them, or a TFDS data set."""

from pathlib import Path

from ml_collections import ConfigDict

from ad_core.data.formats.pages import spread
from ad_core.data.layouts.files import FileSource
from ad_core.data.layouts.listing import list_images
from ad_core.data.layouts.manifest import TABLES, read_manifest
from ad_core.data.layouts.tfds import PREFIX, open_images
from ad_core.errors import UserError


def open_input(given: Path, data: ConfigDict) -> FileSource:
    """The images of a folder, a table or a TFDS data set, read as those that trained were.

    Args:
        data: the section of the detector's configuration.

    Raises:
        UserError: none of the three, or no image in it.
    """
    if str(given).startswith(PREFIX):
        return open_images(str(given), data)
    if given.is_dir():
        return FileSource(given, spread(given, list_images(given), data), data)
    if given.suffix.lower() in TABLES and given.is_file():
        return FileSource(given.parent, spread(given.parent, read_manifest(given), data), data)
    raise UserError(
        f"`--input` (={given}) must be a folder of images, a table (CSV or Parquet) with "
        "a column `path`, or tfds:NAME."
    )
