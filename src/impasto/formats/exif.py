"""EXIF, and the directories of tags that it shares with TIFF, as bytes.

A block is handed on as it is, byte for byte: maker notes, text in whatever encoding and tags that nobody knows. Taken
out is only what would be untrue of the new picture. Nothing here costs more than the bytes that are there.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

#: The bytes of a file, read or mapped.
Data = bytes | bytearray | mmap.mmap

PREFIX = b"Exif\0\0"  # of a block in JPEG, and in Pillow's hands
ORIENTATION, EXIF, GPS, INTEROP = 274, 34665, 34853, 40965
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
_COLOR_SPACE, _WIDTH, _HEIGHT, _GAMMA, _INTEROP_INDEX = 0xA001, 0xA002, 0xA003, 0xA500, 1
_SRGB = 1

# Tags that say how the file they came from stored its pixels (a TIFF keeps them beside the real EXIF), or that hold a
# second copy of it (XMP, IPTC, Photoshop and its layers, ICC, ImageJ). In another file they would be wrong.
# fmt: off
STORAGE_TAGS = frozenset([
    254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 301, 317, 318, 319, 320, 322, 323, 324, 325,
    330, 332, 333, 334, 336, 338, 339, 340, 341, 347, 433, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531,
    532, 700, 33723, 34377, 34675, 37724, 50838, 50839,
])
# fmt: on

# Bytes of a value of each type; and the numbers in it: rationals are two.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 10: "i4", 11: "f4",
            12: "f8", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """How numbers lie in a TIFF structure: `order` is "<" or ">", `big` that of a BigTIFF."""

    order: str
    big: bool = False

    @property
    def count(self) -> struct.Struct:
        """How many entries a directory has."""
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def entry(self) -> struct.Struct:
        """Tag, type, count, and a value or where it lies."""
        return struct.Struct(self.order + ("HHQ8s" if self.big else "HHI4s"))

    @property
    def pointer(self) -> struct.Struct:
        """A place in the file."""
        return struct.Struct(self.order + ("Q" if self.big else "I"))


class Entry(NamedTuple):
    """An entry of a directory, with the bytes of its value or of where that lies."""

    tag: int
    type: int
    length: int
    field: bytes

    @property
    def size(self) -> int:
        """Bytes of the value; 0 if the type is not known."""
        return _SIZES.get(self.type, 0) * self.length

    def value(self, data: Data, layout: Layout, most: int | None = None) -> bytes:
        """Reads the value's bytes, as far as they are there, and `most` of them."""
        size = self.size if most is None else min(self.size, most)
        if self.size <= len(self.field):
            return self.field[:size]
        [start] = layout.pointer.unpack(self.field)
        return bytes(data[start : start + size])

    def numbers(self, data: Data, layout: Layout, most: int | None = None) -> npt.NDArray[Any]:
        """Reads the value as numbers, and `most` of them; rationals are divided, and 0 where that cannot be."""
        if self.type not in _NUMBERS:
            return np.zeros(0)
        kind = np.dtype(layout.order + _NUMBERS[self.type])
        raw = self.value(data, layout, None if most is None else most * _SIZES[self.type])
        numbers: npt.NDArray[Any] = np.frombuffer(raw[: len(raw) // _SIZES[self.type] * _SIZES[self.type]], kind)
        if self.type in (5, 10):
            over, under = numbers.reshape(-1, 2).astype(float).T
            numbers = np.divide(over, under, out=np.zeros(len(over)), where=under != 0)
        return numbers


def read_layout(data: Data) -> tuple[Layout, int]:
    """Reads the head of a TIFF structure: its layout, and where its first directory is; ValueError if it is none."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    magic = int.from_bytes(data[2:4], "big" if order == ">" else "little")
    if order is None or magic not in (42, 43):
        raise ValueError("its header is not that of a TIFF")
    layout = Layout(order, magic == 43)
    start, pointer = 8 if layout.big else 4, layout.pointer
    if len(data) < start + pointer.size:
        raise ValueError("it ends in its header")
    return layout, pointer.unpack_from(data, start)[0]


def read_directory(data: Data, start: int, layout: Layout) -> tuple[list[Entry], int]:
    """Reads a directory, as far as it is there, and where the next one is (0: nowhere)."""
    count, entry, pointer = layout.count, layout.entry, layout.pointer
    if not 0 < start <= len(data) - count.size:
        return [], 0
    first = start + count.size
    number = min(count.unpack_from(data, start)[0], (len(data) - first) // entry.size)
    end = first + number * entry.size
    entries = [Entry(*parts) for parts in entry.iter_unpack(data[first:end])]
    return entries, pointer.unpack_from(data, end)[0] if end + pointer.size <= len(data) else 0


@dataclass(frozen=True)
class Exif:
    """What EXIF says of a picture.

    `orientation`: 1 to 8, how its pixels lie. `adobe_rgb`: they are Adobe RGB, as cameras tell it (DCF).
    `block`: what may go into another file, or None.
    """

    orientation: int = 1
    adobe_rgb: bool = False
    block: bytes | None = None


def read_exif(block: bytes | None) -> Exif:
    """Reads an EXIF block, and takes out what another file must not have: its orientation is applied, its preview and
    its size in pixels are those of another picture, and its colours are sRGB now.

    Of a damaged block what can be kept is kept; a value that lies outside of it, or over others, cannot.
    """
    body = bytearray(block or b"")
    while body.startswith(PREFIX):
        del body[: len(PREFIX)]
    try:
        layout, start = read_layout(body)
    except ValueError:
        return Exif()
    if layout.big:
        return Exif()
    budget = [len(body)]  # values share it: in an honest block they lie side by side
    main, preview = _trim(body, start, layout, STORAGE_TAGS, {}, budget)
    details = _trim(body, _first(main, EXIF, body, layout), layout, {_WIDTH, _HEIGHT, _GAMMA},
                    {_COLOR_SPACE: struct.pack(layout.order + "HH", _SRGB, 0)}, budget)[0]  # fmt: skip
    _trim(body, _first(main, GPS, body, layout), layout, set(), {}, budget)
    interop = _trim(body, _first(details, INTEROP, body, layout), layout, set(), {_INTEROP_INDEX: b"R98\0"}, budget)[0]
    _drop_preview(body, preview, layout)
    told = _first(details, _COLOR_SPACE, body, layout)
    index = interop[_INTEROP_INDEX].field[:3] if _INTEROP_INDEX in interop else b""
    return Exif(
        _first(main, ORIENTATION, body, layout) or 1,
        index == b"R03" and told != _SRGB,
        PREFIX + bytes(body) if set(main) - STORAGE_TAGS else None,
    )


def _trim(
    body: bytearray,
    start: int,
    layout: Layout,
    drop: frozenset[int] | set[int],
    change: dict[int, bytes],
    budget: list[int],
) -> tuple[dict[int, Entry], int]:
    """Takes entries out of a directory in its place, and changes others; tells which there were, and the next one.

    The next one is cut off: in EXIF it is the preview.
    """
    entries, following = read_directory(body, start, layout)
    if not entries:
        return {}, 0
    kept = bytearray()
    for entry in entries:
        if entry.tag in drop or not _is_sound(entry, body, layout, budget):
            continue
        known = entry.tag in change and entry.size <= 4
        kept += layout.entry.pack(*entry[:3], change[entry.tag] if known else entry.field)
    first = start + layout.count.size
    layout.count.pack_into(body, start, len(kept) // layout.entry.size)
    room = len(entries) * layout.entry.size + layout.pointer.size
    body[first : first + room] = kept.ljust(room, b"\0")
    return {entry.tag: entry for entry in reversed(entries)}, following


def _is_sound(entry: Entry, body: bytearray, layout: Layout, budget: list[int]) -> bool:
    """Tells whether a value lies in the block, and not over so many others that reading them would cost much more."""
    if entry.size <= 4:
        return True
    budget[0] -= entry.size
    return layout.pointer.unpack(entry.field)[0] + entry.size <= len(body) and budget[0] >= 0


def _first(entries: dict[int, Entry], tag: int, data: Data, layout: Layout) -> int:
    """Reads the first number of a tag; 0 if there is none."""
    numbers = entries[tag].numbers(data, layout, 1).tolist() if tag in entries else []
    return int(numbers[0]) if numbers and math.isfinite(numbers[0]) else 0


def _drop_preview(body: bytearray, start: int, layout: Layout) -> None:
    """Takes the bytes of a preview out, which shows the old picture."""
    entries = {entry.tag: entry for entry in read_directory(body, start, layout)[0]}
    at, size = (_first(entries, tag, body, layout) for tag in (513, 514))
    if size < 4 or body[at : at + 2] != b"\xff\xd8":
        return
    if at + size >= len(body):  # the last there is, as cameras write it
        del body[at:]
    else:
        body[at : at + size] = bytes(size)


@dataclass
class Tree:
    """A directory with its values, and those that it points to by a tag."""

    values: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    branches: dict[int, Tree] = field(default_factory=dict)

    def pack(self, layout: Layout, start: int) -> tuple[bytes, int]:
        """Makes the bytes that hold it, to lie at `start` in a file, and tells where the directory itself is."""
        out, fields = bytearray(), {}

        def place(raw: bytes) -> int:
            out.extend(bytes(-(start + len(out)) % 8))  # to even places, as TIFF wants
            at = start + len(out)
            out.extend(raw)
            return at

        for tag, branch in self.branches.items():
            place(b"")
            made, directory = branch.pack(layout, start + len(out))
            out += made
            fields[tag] = 16 if layout.big else 4, 1, layout.pointer.pack(directory)
        size = layout.pointer.size
        for tag, (kind, count, raw) in self.values.items():
            value = raw.ljust(size, b"\0") if len(raw) <= size else layout.pointer.pack(place(raw))
            fields[tag] = kind, count, value
        entries = b"".join(layout.entry.pack(tag, *fields[tag]) for tag in sorted(fields))
        at = place(layout.count.pack(len(fields)) + entries + bytes(size))
        return bytes(out), at


_BRANCHES: dict[int, dict[int, object]] = {EXIF: {INTEROP: {}}, GPS: {}}


def read_tree(data: Data, start: int, layout: Layout, skip: frozenset[int] = frozenset()) -> Tree:
    """Reads a directory and those of EXIF below it, without the tags in `skip`; not more than the data holds."""
    budget = [len(data)]

    def read(start: int, below: dict[int, object]) -> Tree:
        entries = {entry.tag: entry for entry in reversed(read_directory(data, start, layout)[0])}
        tree = Tree()
        for tag, entry in entries.items():
            if tag in below:
                branch = read(_first(entries, tag, data, layout), below[tag])  # type: ignore[arg-type]
                if branch.values:
                    tree.branches[tag] = branch
            elif tag not in skip and entry.type in _SIZES:
                budget[0] -= entry.size
                raw = entry.value(data, layout) if budget[0] >= 0 else b""
                if len(raw) == entry.size > 0:
                    tree.values[tag] = entry.type, entry.length, raw
        return tree

    return read(start, _BRANCHES)  # type: ignore[arg-type]


def pack_block(tree: Tree, layout: Layout) -> bytes | None:
    """Makes an EXIF block of a directory, in the byte order that its values have; None if there is nothing in it."""
    values = {tag: value for tag, value in tree.values.items() if value[0] < 16}  # those of BigTIFF are not of EXIF
    if not values and not tree.branches:
        return None
    small = Layout(layout.order)
    made, start = Tree(values, tree.branches).pack(small, 8)
    magic = b"II*\0" if layout.order == "<" else b"MM\0*"
    return PREFIX + magic + small.pointer.pack(start) + made


def add_to_tiff(head: Data, end: int, block: bytes) -> tuple[bytes, bytes]:
    """Gives a TIFF of 8 bit samples an EXIF block.

    Its numbers take on the block's byte order, since in the block there are values that cannot be told from text.

    Args:
        head: the file as far as its first directory reaches, mapped or read.
        end: how long the file is.
        block: EXIF block, as `read_exif` gives it.

    Returns:
        What the file has to begin with, and what has to follow at its end.
    """
    layout, start = read_layout(head)
    body = block.removeprefix(PREFIX)
    theirs, first = read_layout(body)
    exif = read_tree(body, first, theirs, STORAGE_TAGS)
    tree = read_tree(head, start, layout)
    if theirs.order != layout.order:
        tree.values = {
            tag: (kind, count, np.frombuffer(raw, _NUMBERS[kind]).byteswap().tobytes())
            for tag, (kind, count, raw) in tree.values.items()
        }
    made = Layout(theirs.order, layout.big)
    padding = bytes(-end % 8)
    packed, directory = Tree(exif.values | tree.values, exif.branches).pack(made, end + len(padding))
    magic = {"<": b"II", ">": b"MM"}[made.order] + struct.pack(made.order + "H", 43 if made.big else 42)
    magic += struct.pack(made.order + "HH", 8, 0) if made.big else b""
    return magic + made.pointer.pack(directory), padding + packed
