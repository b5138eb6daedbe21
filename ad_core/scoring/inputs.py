"""Inputs to score: a folder of images, one image, a table of them, or a TFDS data set."""

import re
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from ad_core.data.formats.kinds import is_image
from ad_core.data.formats.pages import spread
from ad_core.data.layouts.files import FileSource
from ad_core.data.layouts.grouping import group_by_pattern
from ad_core.data.layouts.listing import find_images, refuse_own
from ad_core.data.layouts.manifest import TABLES, manifest_groups, read_manifest
from ad_core.errors import UserError
from ad_core.runtime.registry import resolve

TFDS = "tfds:"  # begins the name of a data set of TensorFlow Datasets


def open_input(given: Path, data: ConfigDict) -> FileSource:
    """The images of a folder, a file, a table or a TFDS data set, read as those that trained were.

    What lies in a folder and is no image stands in `left_out` of the source, what this program
    wrote there in `own`.

    Args:
        data: the section of the detector's configuration.

    Raises:
        UserError: none of the four, no image in it, or what this program wrote.
    """
    if str(given).startswith(TFDS):
        # Its library takes a while to import, and few need it.
        return resolve("ad_core.data.layouts.tfds", "open_images").open_images(str(given), data)
    if given.is_dir():
        found = find_images(given)
        source = _source(given, found.images, data)
        source.left_out, source.own = found.left_out, found.own
        return source
    if given.is_file():
        refuse_own(given)
        if given.suffix.lower() in TABLES:
            source = _source(given.parent, read_manifest(given), data)
            source.groups = {**source.groups, **manifest_groups(given)}
            return source
        if is_image(given):
            real = given.resolve()
            return _source(real.parent, [real.name], data)
    raise UserError(
        f"`--input` (={given}) must be a folder of images, a table (CSV or Parquet) with a column "
        "`path`, an image, or tfds:NAME."
    )


def _source(root: Path, paths: Sequence[str], data: ConfigDict) -> FileSource:
    source = FileSource(root, spread(root, paths, data), data)
    pattern = str(data.group_pattern)
    named = [path for path in source.paths if pattern and re.search(pattern, path)]
    source.groups = group_by_pattern(named, pattern)
    return source
