"""Pyramids in TIFF files: pages that have reduced versions of themselves in the same file.

A reduced version is a directory that says so (NewSubfileType, bit 0) and has the shape of its page:
it follows the page in the chain of directories, or is one of its SubIFDs. It is no page of its own.
Source: TIFF revision 6.0, section 8; Adobe's technical note 1, "TIFF trees"; BigTIFF.
"""

import struct
from typing import NamedTuple

_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # whole numbers, by their type
_SUBFILE, _WIDTH, _HEIGHT, _ORIENTATION, _CHILDREN = 254, 256, 257, 274, 330
_ALIKE = (
    258,
    262,
    _ORIENTATION,
    277,
    339,
)  # bits, photometric, orientation, samples, format of samples
_MOST_CHILDREN = 64


class Directory(NamedTuple):
    """Directory of a TIFF file: where it lies, its sides, and what its values mean."""

    offset: int
    width: int
    height: int
    reduced: bool
    values: tuple[tuple[int, ...], ...]
    children: tuple[int, ...]

    @property
    def orientation(self) -> int:
        """Its EXIF orientation; 0 where it states none."""
        return next(iter(self.values[_ALIKE.index(_ORIENTATION)]), 0)


class Page(NamedTuple):
    """Page of a TIFF file, and its reduced versions."""

    full: Directory
    levels: tuple[Directory, ...]

    def enough(self, least: tuple[int, int] | None) -> Directory:
        """The smallest version of which no side lies below `least`; of all values, without it.

        Args:
            least: height and width, as the values are stored.
        """
        if least is None:
            return self.full
        alike = [level for level in self.levels if level.values == self.full.values]
        fit = [d for d in alike if d.height >= least[0] and d.width >= least[1]]
        return min(fit, key=lambda d: d.width * d.height, default=self.full)


class _Form(NamedTuple):
    """How a file writes: the codes of `struct` for counts, entries and offsets."""

    order: str
    big: bool

    def number(self, data: bytes, code: str, at: int) -> int:
        return struct.unpack_from(self.order + code, data, at)[0]


def pages(data: bytes, *, most: int) -> list[Page]:
    """The pages of a TIFF file; [] where none has a reduced version, or its directories are broken.

    Args:
        most: directories that are followed, at most.
    """
    try:
        form = _form(data)
        found = _grouped(data, form, _chain(data, form, most))
    except (struct.error, ValueError, OverflowError):
        return []  # whoever decodes it is told
    return found if any(page.levels for page in found) else []


def beginning_with(data: bytes, directory: Directory) -> bytes:
    """The file with a directory as its first one."""
    form = _form(data)
    at, code = (8, "Q") if form.big else (4, "I")
    offset = struct.pack(form.order + code, directory.offset)
    return data[:at] + offset + data[at + len(offset) :]


def _form(data: bytes) -> _Form:
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None:
        raise ValueError("no byte order")
    return _Form(order, struct.unpack_from(order + "H", data, 2)[0] == 43)


def _chain(data: bytes, form: _Form, most: int) -> list[Directory]:
    found, seen = [], set()
    offset = form.number(data, "Q", 8) if form.big else form.number(data, "I", 4)
    while offset and offset not in seen and len(found) < most:
        seen.add(offset)
        directory, offset = _read(data, form, offset)
        found.append(directory)
    return found


def _read(data: bytes, form: _Form, offset: int) -> tuple[Directory, int]:
    """A directory, and where the next one lies (0: there is none)."""
    count = form.number(data, "Q" if form.big else "H", offset)
    size, begin = (20, offset + 8) if form.big else (12, offset + 2)
    if count * size > len(data):
        raise ValueError("more entries than the file holds")
    tags = {}
    for at in range(begin, begin + count * size, size):
        tag = form.number(data, "H", at)
        if tag in (_SUBFILE, _WIDTH, _HEIGHT, _CHILDREN, *_ALIKE):
            tags[tag] = _values(data, form, at)
    behind = form.number(data, "Q" if form.big else "I", begin + count * size)
    width, height = (tags.get(tag, (0,))[0] for tag in (_WIDTH, _HEIGHT))
    reduced = bool(tags.get(_SUBFILE, (0,))[0] & 1)
    values = tuple(tags.get(tag, ()) for tag in _ALIKE)
    children = tags.get(_CHILDREN, ())[:_MOST_CHILDREN]
    return Directory(offset, width, height, reduced, values, children), behind


def _values(data: bytes, form: _Form, at: int) -> tuple[int, ...]:
    """The whole numbers of an entry; (0,) where it holds others."""
    kind = form.number(data, "H", at + 2)
    count = form.number(data, "Q" if form.big else "I", at + 4)
    where, room = (at + 12, 8) if form.big else (at + 8, 4)
    if kind not in _CODES or count > _MOST_CHILDREN:
        return (0,)
    layout = f"{form.order}{count}{_CODES[kind]}"
    if struct.calcsize(layout) > room:
        where = form.number(data, "Q" if form.big else "I", where)
    return struct.unpack_from(layout, data, where) or (0,)


def _grouped(data: bytes, form: _Form, chain: list[Directory]) -> list[Page]:
    """Each full directory with the reduced versions among its children and behind it."""
    found: list[Page] = []
    for directory in chain:
        if found and _is_level(directory, found[-1].full):
            found[-1] = found[-1]._replace(levels=(*found[-1].levels, directory))
            continue
        children = [_read(data, form, offset)[0] for offset in directory.children]
        levels = tuple(child for child in children if _is_level(child, directory))
        found.append(Page(directory, levels))
    return found


def _is_level(one: Directory, full: Directory) -> bool:
    """Tells whether a directory is a reduced version of a page, to a pixel of its sides."""
    if not one.reduced or not 0 < one.width <= full.width or not 0 < one.height <= full.height:
        return False
    across, down = full.width / one.width, full.height / one.height
    return abs(one.width - full.width / down) <= 1 or abs(one.height - full.height / across) <= 1
