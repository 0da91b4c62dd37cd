"""What lies around the pixels in JPEG, PNG, WebP, GIF and AVIF.

Each reader finds out what a file tells of its one picture, and gives the bytes that a decoder needs for it and no
others: no text, no further frames, no previews, no more scans than refine what is seen. So a small file cannot cost
more than its pixels do.
"""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from impasto.formats.exif import PREFIX, Data
from impasto.formats.space import coded_profile, measured_profile

_MOST_SCANS = 100  # of a progressive JPEG; encoders make about ten
_MOST_PROFILE = 1 << 23  # bytes of an ICC profile; those of presses have 3 MB at most
_INCH = 0.0254


@dataclass
class Contents:
    """A file of one picture.

    `size`: width and height that it tells. `data`: what a decoder needs, whole. `exif`: EXIF block as it is. `profile`:
    ICC profile. `srgb`: the file itself says that it is sRGB. `dpi`: across and down. `missing`: how much of `data` had
    to be made up, 0..1, if that can be told before decoding. `cut`: the file ends too early.
    """

    size: tuple[int, int]
    data: bytes
    exif: bytes | None = None
    profile: bytes | None = None
    srgb: bool = False
    dpi: tuple[float, float] | None = None
    missing: float = 0.0
    cut: bool = False


# JPEG

_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES = frozenset([0xC4, 0xCC, 0xDB, 0xDD])
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


def read_jpeg(data: Data, *, pixels: bool = True) -> Contents:
    """Reads a JPEG, without what a decoder needs if not its `pixels`; ValueError if there is no scan in it.

    Where it ends too early, an end is put there.
    """
    kept, exif = [b"\xff\xd8"], b""
    pieces: dict[int, bytes] = {}
    contents = Contents((0, 0), b"")
    at, scan = 2, None
    seen = set()
    while scan is None:
        marker, body, at = _segment(data, at)
        if marker in _FRAME and len(body) >= 5:
            contents.size = struct.unpack(">HH", body[1:5])[::-1]
        if marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 12:
            contents.dpi = _read_jfif(body)
            body = body[:12] + b"\0\0"  # without its preview
        elif marker == 0xE1 and body.startswith(PREFIX):
            more = body[len(PREFIX) :]
            if not exif or more[:2] not in (b"II", b"MM"):  # a second block is none, what goes on with the first is
                exif += more
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            pieces.setdefault(body[12], body[14:])
        if marker == 0xDA:
            scan = at - len(body) - 4
        elif marker in _TABLES | _FRAME or (marker in (0xE0, 0xEE) and marker not in seen):
            kept.append(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body)
        seen.add(marker)
    if pixels:
        end, contents.cut = _find_end(data, at)
        contents.data = b"".join(kept) + bytes(data[scan:end]) + b"\xff\xd9"
    contents.exif = exif or None
    contents.profile = b"".join(pieces[number] for number in sorted(pieces)) or None
    return contents


def _segment(data: Data, at: int) -> tuple[int, bytes, int]:
    """Reads the next segment of a JPEG that has a length: marker, body, and where it ends."""
    found = _MARKER.search(data, at)
    if found is None or found[0][1] == 0xD9 or found.end() + 2 > len(data):
        raise ValueError("it ends before its pixels begin")
    start = found.end()
    size = max(2, int.from_bytes(data[start : start + 2], "big"))
    return found[0][1], bytes(data[start + 2 : start + size]), start + size


def _find_end(data: Data, at: int) -> tuple[int, bool]:
    """Finds where the scans end that are worth decoding, and whether the file has been cut off there."""
    scans = 1
    while found := _MARKER.search(data, at):
        if found[0][1] == 0xD9:
            return found.start(), False
        scans += found[0][1] == 0xDA
        if scans > _MOST_SCANS:
            return found.start(), False
        at = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2], "big"))
    return len(data), True


def _read_jfif(body: bytes) -> tuple[float, float] | None:
    unit, across, down = struct.unpack(">BHH", body[7:12])
    scale = {1: 1.0, 2: 2.54}.get(unit)
    return (across * scale, down * scale) if scale and across and down else None


# PNG

_RAW_PROFILES = (b"Raw profile type exif\0", b"Raw profile type APP1\0")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass
class Png(Contents):
    """A PNG. `depth`: bits of a sample. `color`: its colour type. `key`: the samples of the colour that is transparent.
    """  # fmt: skip

    depth: int = 8
    color: int = 2
    key: tuple[int, ...] | None = None
    palette: bytes | None = None
    palette_alpha: bytes | None = None
    interlaced: bool = False
    packed: bytes = b""

    def build(self, packed: bytes | None = None, *, depth: int | None = None, color: int | None = None) -> bytes:
        """Makes the file that a decoder needs."""
        head = struct.pack(">IIBBBBB", *self.size, depth or self.depth, self.color if color is None else color,
                           0, 0, self.interlaced)  # fmt: skip
        chunks = {b"IHDR": head, b"PLTE": self.palette, b"tRNS": self.palette_alpha}
        chunks |= {b"IDAT": self.packed if packed is None else packed, b"IEND": b""}
        return _SIGNATURE + b"".join(chunk(kind, body) for kind, body in chunks.items() if body is not None)

    def mend(self) -> None:
        """Makes up for rows that are missing, each like the one above it, and tells how many there were."""
        passes = [(1 + self._row_bytes(width), height) for width, height in self._passes()]
        total = sum(row * height for row, height in passes)
        opened = zlib.decompressobj()
        there = bytearray()
        with contextlib.suppress(zlib.error):
            for start in range(0, len(self.packed), 1 << 10):  # so that what comes before a fault is had
                there += opened.decompress(self.packed[start : start + (1 << 10)], max(1, total - len(there)))
                if len(there) >= total:
                    break
        whole, at = 0, 0
        for row, height in passes:
            rows = min(height, (len(there) - at) // row)
            whole += rows
            at += rows * row
            if rows < height:
                there[at:] = (b"\2" + bytes(row - 1)) * (height - rows)
                at = len(there)
        self.missing = 1 - whole / sum(height for _, height in passes)
        self.packed = zlib.compress(there, 1)
        self.data = self.build()

    def _row_bytes(self, width: int) -> int:
        return -(-width * _CHANNELS.get(self.color, 1) * self.depth // 8)

    def _passes(self) -> list[tuple[int, int]]:
        """Width and height of each pass that has pixels."""
        if not self.interlaced:
            return [self.size]
        sizes = [(-(-(self.size[0] - x) // across), -(-(self.size[1] - y) // down)) for x, y, across, down in _PASSES]
        return [size for size in sizes if min(size) > 0]


def chunk(kind: bytes, body: bytes) -> bytes:
    """Makes a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def read_png(data: Data, *, pixels: bool = True) -> Png:
    """Reads a PNG, without what a decoder needs if not its `pixels`; ValueError if it has no header or no pixels."""
    found: dict[bytes, bytes] = {}
    packed, cut = [], True
    for kind, body, sound in _chunks(data, pixels):
        if kind == b"IEND":
            cut = False
            break
        if kind == b"IDAT":
            packed.append(body)
            if not sound:
                break
        elif kind in (b"tEXt", b"zTXt"):
            if b"exif" not in found and body.startswith(_RAW_PROFILES):
                found[b"exif"] = _read_raw_profile(kind, body)
        elif sound and kind not in found:
            found[kind] = body
    head = found.get(b"IHDR", b"")
    if len(head) != 13 or not packed:
        raise ValueError("it ends before its pixels begin")
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    png = Png((width, height), b"", depth=depth, color=color, interlaced=bool(interlaced), cut=cut)
    png.packed = b"".join(packed)
    clear = found.get(b"tRNS", b"")
    if color == 3:
        png.palette = found.get(b"PLTE", b"")[: 3 * 256]
        png.palette_alpha = clear[:256] or None
    elif color in (0, 2) and len(clear) >= 2 * _CHANNELS[color]:
        samples = struct.unpack_from(f">{_CHANNELS[color]}H", clear)
        png.key = tuple(sample & (1 << depth) - 1 for sample in samples)
    png.exif = found.get(b"eXIf") or found.get(b"exif") or None
    png.dpi = _read_phys(found.get(b"pHYs", b""))
    png.profile, png.srgb = _read_png_space(found)
    if pixels:
        png.data = png.build()
    return png


def _chunks(data: Data, pixels: bool) -> Iterator[tuple[bytes, bytes, bool]]:
    """Goes through the chunks of a PNG: kind, body, and whether it is what was written."""
    at = len(_SIGNATURE)
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT" and not pixels:
            at += 12 + size
            yield kind, b"", True
            continue
        body = bytes(data[at + 8 : at + 8 + size])
        at += 12 + size
        check = data[at - 4 : at]
        yield kind, body, len(check) == 4 and struct.unpack(">I", check)[0] == zlib.crc32(body, zlib.crc32(kind))


def _read_png_space(found: dict[bytes, bytes]) -> tuple[bytes | None, bool]:
    """Reads what a PNG tells of its colours: profile, and whether it says sRGB. The first in this order counts."""
    coded = found.get(b"cICP", b"")
    if len(coded) == 4 and coded[2] == 0:
        profile = coded_profile(coded[0], coded[1])
        return profile, profile is None
    packed = found.get(b"iCCP", b"").partition(b"\0")[2]
    if packed[:1] == b"\0":
        return _inflate(packed[1:]), False
    if b"sRGB" in found:
        return None, True
    gamma, primaries = found.get(b"gAMA", b""), found.get(b"cHRM", b"")
    power = 100_000 / int.from_bytes(gamma, "big") if len(gamma) == 4 and any(gamma) else None
    corners = None
    if len(primaries) == 32:
        white, *others = np.reshape(struct.unpack(">8I", primaries), (4, 2)) / 100_000
        corners = [float(value) for corner in (*others, white) for value in corner]
    return measured_profile(power, corners), bool(gamma or primaries)


def _inflate(packed: bytes) -> bytes | None:
    try:
        opened = zlib.decompressobj()
        profile = opened.decompress(packed, _MOST_PROFILE)
    except zlib.error:
        return None
    return profile if opened.eof else None


def _read_raw_profile(kind: bytes, body: bytes) -> bytes:
    """Reads EXIF that lies in text, as hexadecimal digits, as older programs write it; empty if it is broken."""
    text = body.partition(b"\0")[2]
    if kind == b"zTXt":
        text = _inflate(text[1:]) or b""
    words = text.split(maxsplit=2)  # "exif", how many bytes there are, and those
    try:
        return bytes.fromhex(words[2].decode("ascii")) if len(words) == 3 else b""
    except ValueError:
        return b""


def _read_phys(body: bytes) -> tuple[float, float] | None:
    if len(body) != 9:
        return None
    across, down, unit = struct.unpack(">IIB", body)
    return (across * _INCH, down * _INCH) if unit == 1 and across and down else None


# WebP


def read_webp(data: Data) -> Contents:
    """Reads a WebP, of several frames the first; ValueError if there is none."""
    found: dict[bytes, bytes] = {}
    missing, canvas = 0.0, None
    for kind, body, size in _riff(data, 12, len(data)):
        if kind == b"ANMF" and b"frame" not in found:
            found[b"frame"] = body
            missing = 1 - len(body) / max(1, size)
        elif kind not in found:
            found[kind] = body
            if kind in (b"VP8 ", b"VP8L", b"ALPH"):
                missing = max(missing, 1 - len(body) / max(1, size))
                found[kind] = body.ljust(min(size, 2 * len(body)), b"\0")
    declared = int.from_bytes(data[4:8], "little") + 8
    head = found.get(b"VP8X", b"")
    if len(head) >= 10:
        canvas = int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    frame = found.get(b"frame")
    if frame is not None and canvas:
        # An animation of one frame: where it lies on the canvas, what is around it, is settled by the decoder.
        parts = _make_riff_chunk(b"VP8X", head[:10])
        parts += _make_riff_chunk(b"ANIM", found.get(b"ANIM", bytes(6)).ljust(6, b"\0")[:6])
        parts += _make_riff_chunk(b"ANMF", frame)
        parts = parts[:8] + bytes([head[0] & 0x12]) + parts[9:]  # animation and alpha; no EXIF, XMP, ICC
    else:
        pixels = next((kind for kind in (b"VP8 ", b"VP8L") if kind in found), None)
        if pixels is None:
            raise ValueError("it ends before its pixels begin")
        parts = _make_riff_chunk(pixels, found[pixels])
        if b"ALPH" in found and pixels == b"VP8 " and canvas:
            parts = (
                _make_riff_chunk(b"VP8X", bytes([0x10]) + head[1:10])
                + _make_riff_chunk(b"ALPH", found[b"ALPH"])
                + parts
            )
        canvas = _read_webp_size(pixels, found[pixels])
    made = b"RIFF" + struct.pack("<I", len(parts) + 4) + b"WEBP" + parts
    contents = Contents(canvas, made, found.get(b"EXIF"), found.get(b"ICCP"))
    contents.missing, contents.cut = missing, missing > 0 or declared > len(data) + 1
    return contents


def _riff(data: Data, at: int, end: int) -> Iterator[tuple[bytes, bytes, int]]:
    """Goes through the chunks of a RIFF: kind, body as far as it is there, and its size."""
    while at + 8 <= end:
        kind, size = struct.unpack_from("<4sI", data, at)
        yield kind, bytes(data[at + 8 : min(end, at + 8 + size)]), size
        at += 8 + size + size % 2


def _make_riff_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _read_webp_size(kind: bytes, body: bytes) -> tuple[int, int]:
    if len(body) < 10:
        raise ValueError("it ends before its pixels begin")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return struct.unpack("<H", body[6:8])[0] & 0x3FFF, struct.unpack("<H", body[8:10])[0] & 0x3FFF


# GIF


def read_gif(data: Data) -> Contents:
    """Reads a GIF, of several frames the first; ValueError if there is none."""
    if len(data) < 13:
        raise ValueError("it ends in its header")
    size = struct.unpack("<HH", data[6:10])
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    kept, control = [bytes(data[:at])], b""
    while at < len(data):
        start, kind = at, data[at]
        if kind == 0x21:
            at = _skip_blocks(data, at + 2)
            if data[start + 1 : start + 2] == b"\xf9":
                control = bytes(data[start:at])
        elif kind == 0x2C and at + 10 <= len(data):
            x, y, width, height, flags = struct.unpack("<HHHHB", data[at + 1 : at + 10])
            size = max(size[0], x + width), max(size[1], y + height)
            at = _skip_blocks(data, at + 10 + (3 << (flags & 7) + 1 if flags & 0x80 else 0) + 1)
            kept += [control, bytes(data[start:at]), b";"]
            return Contents(size, b"".join(kept))
        else:
            at += 1
    raise ValueError("it ends before its pixels begin")


def _skip_blocks(data: Data, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


# AVIF


def read_avif(data: Data) -> Contents:
    """Reads an AVIF. Its size is left to the decoder, which finds it without decoding."""
    hidden = bytearray(data)
    exif, profile, coded, told = None, None, None, False
    meta = next((box for box in _boxes(data, 0, len(data)) if box[0] == b"meta"), None)
    if meta is not None:
        inside = {kind: (start, end) for kind, start, end in _boxes(data, meta[1] + 4, meta[2])}
        for at, number in _find_items(data, inside.get(b"iinf", (0, 0)), b"Exif"):
            hidden[at : at + 4] = b"skip"  # it is read here, as bytes; what Pillow does to it would cost more
            exif = exif or _read_item(data, inside.get(b"iloc", (0, 0)), number)
        for kind, start, end in _boxes(data, *inside.get(b"iprp", (0, 0))):
            for sub, at, stop in _boxes(data, start, end) if kind == b"ipco" else ():
                if sub == b"colr" and data[at : at + 4] == b"nclx" and stop - at >= 10 and coded is None:
                    coded = struct.unpack_from(">HH", data, at + 4)
    if coded is not None:
        profile = coded_profile(*coded)
        told = coded != (2, 2)
    if exif is not None:
        exif = exif[4 + int.from_bytes(exif[:4], "big") :]  # there are some bytes before the block, or none
    return Contents((0, 0), bytes(hidden), exif, profile, srgb=told and profile is None)


def _boxes(data: Data, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Goes through the boxes in a part of a file: kind, and where the contents begin and end."""
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1 and start + 8 <= end:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        stop = end if size == 0 else min(end, at + size)
        if stop < start:
            return
        yield kind, start, stop
        at = stop


def _find_items(data: Data, span: tuple[int, int], wanted: bytes) -> Iterator[tuple[int, int]]:
    """Finds the items of a kind: where the kind is written, and the item's number."""
    start, end = span
    skip = 6 if data[start : start + 1] == b"\0" else 8
    for kind, at, stop in _boxes(data, start + skip, end):
        wide = 4 if data[at : at + 1] == b"\3" else 2
        name = at + 4 + wide + 2
        if kind == b"infe" and name + 4 <= stop and data[name : name + 4] == wanted:
            yield name, int.from_bytes(data[at + 4 : at + 4 + wide], "big")


def _read_item(data: Data, span: tuple[int, int], wanted: int) -> bytes | None:
    """Reads the bytes of an item that lies in the file in one piece."""
    at, end = span
    version = data[at] if at < end else 3
    if end - at < 8 or version > 2:
        return None
    sizes = [data[at + 4] >> 4, data[at + 4] & 15, data[at + 5] >> 4, data[at + 5] & 15 if version else 0]
    wide = 4 if version == 2 else 2
    at += 6

    def take(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(data[at - size : at], "big")

    for _ in range(take(wide)):
        number = take(wide)
        method = take(2) if version else 0
        take(2)
        base, extents = take(sizes[2]), take(2)
        for _ in range(extents):
            take(sizes[3])
            start, size = take(sizes[0]), take(sizes[1])
            if number == wanted and not method and extents == 1:
                return bytes(data[base + start : base + start + size]) or None
        if at > end:
            return None
    return None
