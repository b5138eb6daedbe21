"""Files that hold several images, one path for each: stack.tif#2, volume.nii.gz#z=12."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ad_core.data.formats import nifti
from ad_core.data.formats.image import count_images
from ad_core.data.formats.stored import Limits, Wanted
from ad_core.errors import UserError

_PAGE = re.compile(r"(?P<file>.+)#(?:(?P<axis>[xyz])=)?(?P<page>[0-9]{1,9})", re.DOTALL)
_SINGLE = (".bmp",)  # never opened to look for more


def split_page(path: str) -> tuple[str, dict[str, Any]]:
    """The file of a path and the options of `read_image` that name the page: empty without one."""
    match = _PAGE.fullmatch(path)
    if match is None:
        return path, {}
    options: dict[str, Any] = {"page": int(match["page"])}
    if match["axis"]:
        options["axis"] = match["axis"]
    return match["file"], options


def find_page(root: Path, path: str) -> tuple[str, dict[str, Any]]:
    """File and page of a path, by `split_page`; a file that is itself called so has no page."""
    name, page = split_page(path)
    return (path, {}) if page and os.path.lexists(root / path) else (name, page)


def spread(root: Path, paths: Iterable[str], data: Any) -> list[str]:
    """`paths` with a path for each page of a file that holds several, if `data.page` is "all".

    A file that cannot be read stays as it is: it has one row that says why. So does one with
    more than `data.max_frames`.

    Args:
        root: the folder below which the files lie; links that lead out of it are not followed.
        data: config.data.

    Raises:
        UserError: a page of one file has the name of another file.
    """
    found = list(paths)
    if str(data["page"]) != "all":
        return found
    names = ("max_pixels", "max_bytes", "min_side", "max_frames")
    limits = Limits(*(data[name] for name in names))
    wanted = Wanted("all", str(data["axis"]))
    return [page for path in found for page in _pages(root, path, wanted, limits)]


def _pages(root: Path, path: str, wanted: Wanted, limits: Limits) -> list[str]:
    if path.lower().endswith(_SINGLE) or find_page(root, path)[1]:
        return [path]
    if not Path(os.path.realpath(root / path)).is_relative_to(os.path.realpath(root)):
        return [path]
    try:
        count = count_images(root / path, wanted, limits)
    except UserError:
        return [path]
    if not 1 < count <= limits.max_frames:
        return [path]
    mark = f"{wanted.axis}=" if path.lower().endswith(nifti.EXTENSIONS) else ""
    pages = [f"{path}#{mark}{number}" for number in range(count)]
    taken = next((page for page in pages if os.path.lexists(root / page)), "")
    if taken:
        raise UserError(
            f"{root / taken}: has the name of a page of {path!r}, so the two cannot be told apart; "
            "rename it."
        )
    return pages
