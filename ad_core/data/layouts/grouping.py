"""Groups of images: by a pattern of their paths, and always by the file that a path names."""

import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ad_core.data.formats.pages import find_page
from ad_core.data.near_duplicates import merge_groups
from ad_core.data.source import Record
from ad_core.errors import UserError


def group_by_pattern(paths: Iterable[str], pattern: str) -> dict[str, str]:
    """Group of each path: what the (parentheses) of a regular expression find in it.

    An empty pattern gives no group.

    Raises:
        UserError: no regular expression, one without parentheses, or a path without a match.
    """
    if not pattern:
        return {}
    where = f"`data.group_pattern` (={pattern!r})"
    try:
        search = re.compile(pattern)
    except re.error as error:
        raise UserError(f"{where} is no regular expression: {error}.") from error
    if not search.groups:
        raise UserError(f"{where} needs (parentheses) around what names the group.")
    groups = {}
    for path in paths:
        match = search.search(path)
        if match is None:
            raise UserError(f"{where} does not match {path!r}; every image needs a group.")
        groups[path] = "-".join(part or "" for part in match.groups())
    return groups


def plain_name(root: Path, path: str) -> str:
    """The file of a path, in its one spelling and without a page: "./v.nii#z=3" is v.nii."""
    return posixpath.normpath(find_page(root, path)[0])


def join_files(root: Path, records: Sequence[Record]) -> tuple[Record, ...]:
    """The records, in one group where groups share a file.

    Pages and slices of one file, links to it and spellings of its path are of one file, whatever
    group a table, a pattern or the text of the path gives each of them. The first group's name
    stays.
    """
    number: dict[object, int] = {}
    known: dict[str, int] = {}
    for record in records:
        name = plain_name(root, record.path)
        if name not in known:
            known[name] = number.setdefault(_identity(root / name), len(number))
    component = np.array([known[plain_name(root, r.path)] for r in records], np.int64)
    groups = merge_groups([record.group for record in records], component)
    return tuple(r._replace(group=group) for r, group in zip(records, groups, strict=True))


def _identity(path: Path) -> object:
    """What tells one file from another: its place on the disk, or its path where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return os.path.realpath(path)
    return status.st_dev, status.st_ino
