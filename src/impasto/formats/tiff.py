"""TIFF and BigTIFF: samples of any kind become 8 bit, some rows at a time.

libtiff, in Pillow, only unpacks what is compressed. What samples mean is settled here, since Pillow reads few of the
kinds there are, and some of them wrong.
"""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from impasto.errors import ImpastoError
from impasto.formats.exif import (
    ORIENTATION,
    RESOLUTION_UNIT,
    STORAGE_TAGS,
    X_RESOLUTION,
    Y_RESOLUTION,
    Data,
    Exif,
    Layout,
    Tree,
    pack_block,
    read_directory,
    read_exif,
    read_layout,
    read_tree,
)
from impasto.formats.space import lab_to_srgb

Array = npt.NDArray[Any]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_OFFSETS, _SAMPLES, _ROWS, _BYTES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_COLOR_MAP, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 320, 322, 323, 324, 325
_INKS, _EXTRA, _FORMAT, _JPEG_TABLES, _DECODE, _PROFILE = 334, 338, 339, 347, 433, 34675
_YCBCR_TAGS = (512, 513, 514, 515, 519, 520, 521, 529, 530, 531, 532)

_COMPRESSIONS = {
    6: "old JPEG", 34661: "JBIG", 34712: "JPEG 2000", 33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000",
    34676: "SGI LogLuv", 34677: "SGI LogLuv", 34887: "LERC", 34892: "lossy DNG", 50002: "JPEG XL", 52546: "JPEG XL",
    50001: "WebP", 32766: "NeXT", 32895: "IT8", 32896: "IT8", 32897: "IT8", 32898: "IT8", 32908: "Pixar",
    32909: "Pixar",
}  # fmt: skip
_PHOTOMETRICS = {32803: "CFA (raw sensor data)", 34892: "linear raw", 32844: "LogL", 32845: "LogLuv", 51177: "depth"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _MASK, _INKED, _YCBCR, _CIELAB, _ICCLAB, _ITULAB = (*range(7), 8, 9, 10)
_CHANNELS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _MASK: 1, _INKED: 4, _YCBCR: 3,
             _CIELAB: 3, _ICCLAB: 3, _ITULAB: 3}  # fmt: skip
_RAW, _LZW, _DEFLATE, _LZMA = 1, 5, (8, 32946), 34925
_BY_BYTES = frozenset([_LZW, 32773, 50000])  # LZW, PackBits, Zstandard: libtiff unpacks them to bytes
_BY_PICTURE = frozenset([2, 3, 4, 7, 32771, 32809])  # which is unpacked to pixels: fax, JPEG
_UINT, _INT, _FLOAT = 1, 2, 3
_MOST_SAMPLES = 32  # of a pixel, of which four are seen
_LARGEST_TILE = 1 << 22  # pixels, where the picture is smaller


@dataclass
class Tiff:
    """The first picture of a TIFF: what its tags tell; ImpastoError if its kind is not read, ValueError if it is none.

    Args:
        data: the file.
        name: what errors call it.
    """

    data: Data
    name: str
    seen: int = field(default=0, init=False)  # rows of strips and tiles that were read
    lost: int = field(default=0, init=False)  # and those of them that are not there, or damaged

    def __post_init__(self) -> None:
        self.layout, self._start = read_layout(self.data)
        entries, _ = read_directory(self.data, self._start, self.layout)
        self._entries = {entry.tag: entry for entry in reversed(entries)}
        self.width, self.height = self._one(_WIDTH, 0), self._one(_HEIGHT, 0)
        if min(self.width, self.height) < 1:
            raise ValueError("it tells no size")

    # Tags

    def _all(self, tag: int) -> Array:
        entry = self._entries.get(tag)
        return np.zeros(0, np.int64) if entry is None else entry.numbers(self.data, self.layout)

    def _one(self, tag: int, default: int) -> int:
        entry = self._entries.get(tag)
        numbers = [] if entry is None else entry.numbers(self.data, self.layout, 1).tolist()
        return int(numbers[0]) if numbers else default

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height as they are stored."""
        return self.width, self.height

    @cached_property
    def exif(self) -> Exif:
        """Orientation, and the EXIF block for another file."""
        tree = read_tree(self.data, self._start, self.layout, STORAGE_TAGS)
        told = read_exif(pack_block(tree, self.layout))
        return Exif(self._one(ORIENTATION, 1), told.adobe_rgb, told.block)

    @cached_property
    def profile(self) -> bytes | None:
        """ICC profile."""
        entry = self._entries.get(_PROFILE)
        return (entry.value(self.data, self.layout) or None) if entry and entry.size < 1 << 23 else None

    @cached_property
    def dpi(self) -> tuple[float, float] | None:
        """Across and down."""
        scale = {2: 1.0, 3: 2.54}.get(self._one(RESOLUTION_UNIT, 2))
        values = []
        for tag in (X_RESOLUTION, Y_RESOLUTION):
            entry = self._entries.get(tag)
            numbers = entry.numbers(self.data, self.layout, 1) if entry else ()
            values += [float(number) for number in numbers[:1] if np.isfinite(number) and number > 0]
        return (values[0] * scale, values[1] * scale) if scale and len(values) == 2 else None

    # What samples are

    @cached_property
    def _bits(self) -> list[int]:
        bits = self._all(_BITS)[: self._samples].tolist() or [1]
        return bits if len(bits) == self._samples else [bits[0]] * self._samples

    @cached_property
    def _samples(self) -> int:
        return max(1, self._one(_SAMPLES, 1))

    @cached_property
    def _kind(self) -> int:
        kinds = set(self._all(_FORMAT)[: self._samples].tolist()) or {_UINT}
        kind = kinds.pop()
        if kinds:
            raise self._unsupported("samples of several formats")
        if kind in (5, 6):
            raise self._unsupported("complex samples")
        return _UINT if kind == 4 else kind

    @cached_property
    def _meaning(self) -> int:
        default = {1: _BLACK_IS_ZERO, 2: _BLACK_IS_ZERO}.get(self._samples, _RGB)
        return self._one(_PHOTOMETRIC, default)

    @cached_property
    def _alpha(self) -> tuple[int, bool] | None:
        """Which sample is alpha, and whether colours are multiplied by it."""
        extra = self._all(_EXTRA)[: self._samples].tolist()
        first = self._samples - len(extra)
        for number, meaning in enumerate(extra):
            if meaning in (1, 2, 999) and first + number < self._samples:  # 999: Corel Draw
                return first + number, meaning == 1
        if not extra and self._meaning in (_RGB, _BLACK_IS_ZERO) and self._samples == _CHANNELS[self._meaning] + 1:
            return self._samples - 1, False
        return None

    @property
    def has_alpha(self) -> bool:
        """Whether it has alpha."""
        return self._alpha is not None

    @property
    def mode(self) -> str:
        """What `strips` gives, as Pillow calls it, alpha aside: L, RGB or CMYK."""
        if self._meaning in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _MASK):
            return "L"
        return "CMYK" if self._meaning == _INKED else "RGB"

    @property
    def is_plain(self) -> bool:
        """Whether every reader of TIFF reads it right: whole bytes, unsigned, that mean light or ink."""
        return (
            self._kind == _UINT
            and set(self._bits) in ({8}, {16})
            and (self._meaning in (_BLACK_IS_ZERO, _RGB, _INKED) or (self._meaning, self._compression) == (_YCBCR, 7))
            and self._compression in (_RAW, _LZW, 7, *_DEFLATE, 32773)
            and not self._planar
            and self._samples - self.has_alpha == _CHANNELS[self._meaning]
            and not (self._alpha and self._alpha[1])
        )

    def _unsupported(self, what: str) -> ImpastoError:
        return ImpastoError(f"cannot read {self.name}: TIFF with {what} is not supported; save it as 8 or 16 bit RGB")

    def check(self) -> None:
        """Raises `ImpastoError` if it is of a kind that is not read."""
        if self._samples > _MOST_SAMPLES:
            raise self._unsupported(f"{self._samples} samples a pixel")
        if self._meaning in _PHOTOMETRICS:
            raise self._unsupported(f"pixels that are {_PHOTOMETRICS[self._meaning]}")
        if self._meaning not in _CHANNELS:
            raise self._unsupported(f"photometric interpretation {self._meaning}")
        inks = self._samples - len(self._all(_EXTRA))
        if self._meaning == _INKED and (inks != 4 or self._one(_INKS, 4) != 4):
            raise self._unsupported(f"{inks} inks that are not CMYK")
        if self._samples < _CHANNELS[self._meaning]:
            raise ValueError("it has too few samples")
        if self._compression in _COMPRESSIONS and self._compression != 6:
            raise self._unsupported(f"{_COMPRESSIONS[self._compression]} compression")
        if not self._is_picture and not (
            self._compression in (_RAW, *_DEFLATE, _LZMA) or self._compression in _BY_BYTES
        ):
            raise self._unsupported(f"compression {self._compression}")
        kind, bits = self._kind, set(self._bits)
        if self._is_picture and not (bits <= {1, 4, 8} and kind == _UINT and self._meaning < _CIELAB):
            named = {6: "JPEG", 7: "JPEG"}.get(self._compression, f"compression {self._compression}")
            raise self._unsupported(f"{named} of samples of {max(bits)} bits")
        good = {_UINT: range(1, 65), _INT: range(2, 65), _FLOAT: (16, 24, 32, 64)}.get(kind, ())
        if not all(one in good for one in bits) or (len(bits) > 1 and (kind != _UINT or self._planar)):
            raise self._unsupported(f"samples of format {kind} with {' and '.join(map(str, sorted(bits)))} bits")
        if self._meaning == _PALETTE and (max(bits) > 16 or kind != _UINT):
            raise self._unsupported(f"a palette of {max(bits)} bits")
        if self._meaning in (_CIELAB, _ICCLAB, _ITULAB) and not (bits < {8, 16} or kind == _FLOAT):
            raise self._unsupported(f"Lab of {max(bits)} bits")
        if (
            self._predictor not in (1, 2, 3)
            or (self._predictor == 3) > (kind == _FLOAT)
            or (self._predictor == 2 and not bits < {8, 16, 32, 64})
        ):
            raise self._unsupported(f"predictor {self._predictor}")

    @cached_property
    def _compression(self) -> int:
        return self._one(_COMPRESSION, 1)

    @cached_property
    def _predictor(self) -> int:
        return self._one(_PREDICTOR, 1) if self._compression not in (_RAW, 32773, *_BY_PICTURE) else 1

    @cached_property
    def _planar(self) -> bool:
        return self._one(_PLANAR, 1) == 2 and self._samples > 1

    @property
    def _is_picture(self) -> bool:
        """Whether Pillow has to read it as a whole: where what is packed are pixels, not bytes."""
        return self._compression in _BY_PICTURE or self._compression == 6 or self._meaning == _YCBCR

    # Where they are

    def _segments(self) -> tuple[int, int, list[tuple[int, int]]]:
        """Width and height of a strip or tile, and for each where it begins and how many bytes it has."""
        tiled = _TILE_WIDTH in self._entries
        width = self._one(_TILE_WIDTH, self.width) if tiled else self.width
        height = self._one(_TILE_HEIGHT, self.height) if tiled else min(self._one(_ROWS, self.height), self.height)
        if min(width, height) < 1 or width * height > max(_LARGEST_TILE, 4 * self.width * self.height):
            raise ValueError("its tiles have an impossible size")
        starts = self._all(_TILE_OFFSETS if _TILE_OFFSETS in self._entries else _OFFSETS).astype(int).tolist()
        sizes = self._all(_TILE_BYTES if _TILE_BYTES in self._entries else _BYTES).astype(int).tolist()
        number = -(-self.width // width) * -(-self.height // height) * (self._samples if self._planar else 1)
        if not starts:
            raise ValueError("it tells no place of its pixels")
        if len(sizes) < len(starts):  # some writers leave them out
            sizes = [len(self.data) - start for start in starts]
        return width, height, list(zip(starts[:number], sizes[:number], strict=False))

    def _rows(self) -> Iterator[tuple[slice, Array]]:
        """Gives the samples of some rows at a time: numbers as they are stored, [h, W, S]."""
        width, height, places = self._segments()
        across = -(-self.width // width)
        down = -(-self.height // height)
        each = 1 if self._planar else self._samples
        bits = self._bits[:1] if self._planar else self._bits
        row = -(-width * sum(bits) // 8)
        at_once = height
        if self._compression == _RAW:
            there = sum(min(max(0, len(self.data) - start), height * row) for start, _ in places)
            if there < row * across * self.height * (self._samples if self._planar else 1) // 2:
                raise ValueError("most of its pixels are missing")
        if self._compression == _RAW and across == 1:  # no need for more than some rows of a strip
            at_once = max(1, min(height, (1 << 22) // max(1, row)))
        for band in range(down):
            for skip in range(0, height, at_once):
                top = band * height + skip
                if top >= self.height:
                    break
                rows = min(at_once, height - skip)
                if _TILE_WIDTH not in self._entries:  # the last strip is shorter, where a tile is padded
                    rows = min(rows, self.height - top)
                shown = min(rows, self.height - top)
                planes = []
                for plane in range(self._samples if self._planar else 1):
                    numbers = range((plane * down + band) * across, (plane * down + band + 1) * across)
                    blocks = [self._block(number, places, skip, rows, row, shown) for number in numbers]
                    line = [self._numbers(block, width, each, bits) for block in blocks]
                    planes.append(np.concatenate(line, axis=1) if across > 1 else line[0])
                samples = np.concatenate(planes, axis=2) if self._planar else planes[0]
                yield slice(top, top + shown), samples[:shown, : self.width]

    def _block(
        self, number: int, places: list[tuple[int, int]], skip: int, rows: int, row: int, shown: int
    ) -> npt.NDArray[np.uint8]:
        """Reads some rows of a segment, uint8 [rows, bytes of a row]; counts those that are not there."""
        raw = b""
        if number < len(places):
            start, size = places[number]
            raw = self._unpack(*((start + skip * row, rows * row) if self._compression == _RAW else (start, size)),
                               rows, row)[: rows * row]  # fmt: skip
        self.seen += shown
        self.lost += max(0, shown - len(raw) // row)
        return np.frombuffer(raw.ljust(rows * row, b"\0"), np.uint8).reshape(rows, row)

    def _unpack(self, start: int, size: int, rows: int, row: int) -> bytes:
        """Unpacks a segment, as far as it is there and sound."""
        packed = bytes(self.data[start : start + size]) if start < len(self.data) else b""
        turned = self._one(_FILL_ORDER, 1) == 2
        wanted = rows * row
        if turned and self._compression not in _BY_BYTES:
            packed = packed.translate(_TURNED)
        if self._compression == _RAW:
            return packed
        if self._compression in _BY_BYTES:
            tags = {_WIDTH: row, _HEIGHT: rows, _ROWS: rows, _BITS: 8, _SAMPLES: 1, _PHOTOMETRIC: 1,
                    _COMPRESSION: self._compression, _FILL_ORDER: 1 + turned, _OFFSETS: 8,
                    _BYTES: len(packed)}  # fmt: skip
            values = {tag: (4, 1, struct.pack("<I", value)) for tag, value in tags.items()}
            body = packed + bytes(len(packed) % 2)
            directory, at = Tree(values).pack(Layout("<"), 8 + len(body))
            file = b"II*\0" + struct.pack("<I", at) + body + directory
            try:
                return _load(file).tobytes()
            except OSError:
                return b""
        opened: Any = lzma.LZMADecompressor() if self._compression == _LZMA else zlib.decompressobj()
        made = bytearray()
        try:
            for at in range(0, len(packed), 1 << 12):
                made += opened.decompress(packed[at : at + (1 << 12)], max(1, wanted - len(made)))
                if len(made) >= wanted or opened.eof:
                    break
        except (zlib.error, lzma.LZMAError):
            pass
        return bytes(made)

    def _numbers(self, block: Array, width: int, each: int, bits: list[int]) -> Array:
        """Makes numbers of a segment's bytes: [rows, bytes] -> [rows, width, each], the prediction undone."""
        rows, depth = len(block), bits[0]
        shape = rows, width, each
        if set(bits) <= {8, 16, 24, 32, 64} and len(set(bits)) == 1:
            size = depth // 8
            if self._predictor == 3:
                summed = block.reshape(rows, width * size, each).cumsum(axis=1, dtype=np.uint8)
                planes = np.ascontiguousarray(summed.reshape(rows, size, width * each).transpose(0, 2, 1))
                order = ">"
            else:
                planes, order = block.reshape(rows, width * each, size), self.layout.order
            if depth == 24:
                parts = [planes[..., at].astype(np.uint32) for at in range(3)]
                high, middle, low = parts if order == ">" else parts[::-1]
                return self._typed((high << 16 | middle << 8 | low).reshape(shape), depth)
            numbers = planes.reshape(rows, -1).view(f"{order}u{size}").astype(f"u{size}").reshape(shape)
            if self._predictor == 2:
                numbers = numbers.cumsum(axis=1, dtype=numbers.dtype)
            return self._typed(numbers, depth)
        made = np.empty(shape, np.uint64)
        step = max(1, (1 << 20) // (width * sum(bits)))  # rows at a time: a bit takes a byte here
        for top in range(0, rows, step):
            loose = np.unpackbits(block[top : top + step], axis=1, count=width * sum(bits))
            loose = loose.reshape(-1, width, sum(bits))
            at = 0
            for sample, depth in enumerate(bits):
                packed = np.packbits(loose[..., at : at + depth], axis=2).astype(np.uint64)
                number = np.zeros(packed.shape[:2], np.uint64)
                for byte in range(packed.shape[2]):
                    number = number << np.uint64(8) | packed[..., byte]
                made[top : top + step, :, sample] = number >> np.uint64(-depth % 8)
                at += depth
        return self._typed(made, bits[0])

    def _typed(self, numbers: Array, depth: int) -> Array:
        """Takes the bits of unsigned numbers for what they are."""
        if self._kind == _INT:
            wide = numbers.astype(np.int64)
            return np.where(wide >> (depth - 1) & 1, wide - (1 << depth), wide) if depth < 64 else wide
        if self._kind == _FLOAT and depth == 24:  # a sign, 7 bits of exponent, 16 of fraction (DNG)
            power, fraction = (numbers >> 16 & 127).astype(int), (numbers & 0xFFFF) / 65536
            size = np.where(power > 0, np.ldexp(1 + fraction, power - 63), np.ldexp(fraction, -62))
            size = np.where(power == 127, np.where(fraction > 0, np.nan, np.inf), size)
            return np.where(numbers >> 23 & 1, -size, size)
        return numbers.view(f"f{depth // 8}") if self._kind == _FLOAT else numbers

    # What they mean

    @cached_property
    def _whole(self) -> float:
        """What is white in floating point, by the largest value there is."""
        largest = 0.0
        for _, samples in self._rows():
            colors = samples[..., : _CHANNELS[self._meaning]]
            if not np.isfinite(colors).all():
                raise ImpastoError(f"cannot read {self.name}: it holds values that are not numbers")
            largest = max(largest, float(colors.max()))
        return float_white(largest)

    def strips(self) -> Iterator[tuple[slice, Array, Array | None]]:
        """Gives colours, uint8 [h, W, 1, 3 or 4] as `mode` says, and alpha, uint8 [h, W], some rows at a time."""
        step = max(1, (1 << 20) // self.width)
        if self._is_picture:
            image, alpha = self._decode()
            whole, opacity = np.asarray(image), None if alpha is None else np.asarray(alpha)
            for top in range(0, self.height, step):
                rows = slice(top, min(top + step, self.height))
                colors = whole[rows].reshape(rows.stop - top, self.width, -1)
                yield rows, colors, None if opacity is None else opacity[rows]
            return
        for rows, samples in self._rows():
            for top in range(0, len(samples), step):
                part = samples[top : top + step]
                with np.errstate(all="ignore"):  # of floating point anything may come
                    made = self._to_eight_bit(part)
                yield slice(rows.start + top, rows.start + top + len(part)), *made

    def _to_eight_bit(self, samples: Array) -> tuple[Array, Array | None]:
        channels, color = _CHANNELS[self._meaning], samples[..., : _CHANNELS[self._meaning]]
        alpha = None
        if self._alpha is not None:
            at, multiplied = self._alpha
            share = self._unit(samples[..., at : at + 1], at)
            alpha = _levels(share)[..., 0]
        if self._meaning == _PALETTE:
            return self._palette[np.minimum(color[..., 0], len(self._palette) - 1).astype(int)], alpha
        if self._meaning in (_CIELAB, _ICCLAB, _ITULAB):
            return _levels(lab_to_srgb(self._lab(color))), alpha
        if color.dtype == np.uint8 and (self._alpha is None or not multiplied):
            return (255 - color if self._meaning == _WHITE_IS_ZERO else color), alpha
        unit = np.concatenate([self._unit(color[..., at : at + 1], at) for at in range(channels)], axis=2)
        if self._meaning == _WHITE_IS_ZERO:
            unit = 1 - unit
        if self._alpha is not None and multiplied:
            unit = np.divide(unit, share, out=np.zeros_like(unit), where=share > 0)
        return _levels(unit), alpha

    def _unit(self, samples: Array, at: int) -> Array:
        """Brings a sample to 0..1. Of signed numbers what is below zero counts as zero."""
        bits = self._bits[at]
        if self._kind == _FLOAT:
            return samples / (self._whole if at < _CHANNELS[self._meaning] else 1.0)
        most = 2.0 ** (bits - (self._kind == _INT)) - 1
        return samples.astype(np.float32) / np.float32(most) if bits <= 16 else samples.astype(np.float64) / most

    @cached_property
    def _palette(self) -> Array:
        size = 1 << self._bits[0]
        colors = self._all(_COLOR_MAP)[: 3 * size].astype(np.int64)
        colors = np.pad(colors, (0, 3 * size - len(colors))).reshape(3, size).T
        return (colors >> 8 if colors.max() > 255 else colors).astype(np.uint8)  # some writers give bytes

    def _lab(self, color: Array) -> Array:
        """Makes L*a*b* of samples: each kind of Lab writes a and b in its own way."""
        bits = self._bits[0]
        if self._kind == _FLOAT:
            return color.astype(np.float64)
        values = color.astype(np.float64)
        step = 1 << (bits - 8)  # levels to one of 8 bit
        if self._meaning == _CIELAB:
            signed = np.where(values >= 128 * step, values - 256 * step, values) / step
            return np.concatenate([values[..., :1] * 100 / (256 * step - 1), signed[..., 1:]], axis=-1)
        if self._meaning == _ICCLAB:
            return np.concatenate([values[..., :1] * 100 / (255 * step), values[..., 1:] / step - 128], axis=-1)
        entry = self._entries.get(_DECODE)
        told = entry.numbers(self.data, self.layout) if entry else ()
        low, high = np.reshape(told if len(told) == 6 else (0, 100, -85, 85, -75, 125), (3, 2)).astype(float).T
        if len(told) != 6:  # as ITU-T T.42 has it, where zero is a whole number
            low = -np.array([0, 128, 96]) * step * np.array([100, 170, 200]) / (256 * step - 1)
            high = low + np.array([100, 170, 200])
        lab: Array = low + values * (high - low) / (256 * step - 1)
        return lab

    # All of it

    def read(self) -> tuple[Image.Image, Image.Image | None]:
        """Reads colours, in `mode` L, RGB or CMYK, and alpha."""
        if self._is_picture:
            return self._decode()
        channels = len(self.mode)
        color = np.empty((self.height, self.width, channels), np.uint8)
        opacity = np.empty((self.height, self.width), np.uint8) if self.has_alpha else None
        for rows, part, share in self.strips():
            color[rows] = part
            if opacity is not None and share is not None:
                opacity[rows] = share
        return to_pil(color, self.mode), None if opacity is None else Image.fromarray(opacity)

    @property
    def missing(self) -> float:
        """How much of it was not there, or damaged, 0..1, once it has been read."""
        return 0.0 if self._is_picture else self.lost / max(1, self.seen)

    def _decode(self) -> tuple[Image.Image, Image.Image | None]:
        """Has Pillow decode it, with no tag but those that say how."""
        wanted = frozenset([_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _OFFSETS, _SAMPLES, _ROWS,
                            _BYTES, _PLANAR, 292, 293, _PREDICTOR, _COLOR_MAP, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS,
                            _TILE_BYTES, _EXTRA, _FORMAT, _JPEG_TABLES, *_YCBCR_TAGS])  # fmt: skip
        tree = read_tree(self.data, self._start, self.layout)
        values = {tag: value for tag, value in tree.values.items() if tag in wanted}
        end = len(self.data) + -len(self.data) % 8
        body = b""
        if self._compression == _RAW:  # YCbCr, which only libtiff puts together, and only if it is packed
            _, _, places = self._segments()
            strips = [zlib.compress(self.data[start : start + size], 1) for start, size in places]
            ends = np.cumsum([0, *map(len, strips)]) + end
            body = b"".join(strips)
            tags = (_TILE_OFFSETS, _TILE_BYTES) if _TILE_WIDTH in self._entries else (_OFFSETS, _BYTES)
            for tag, numbers in zip(tags, (ends[:-1], np.diff(ends)), strict=True):
                values[tag] = 4, len(strips), numbers.astype(self.layout.order + "u4").tobytes()
            values[_COMPRESSION] = 3, 1, struct.pack(self.layout.order + "H", _DEFLATE[0])
        packed, at = Tree(values).pack(self.layout, end + len(body))
        start = 8 if self.layout.big else 4
        head = bytes(self.data[:start]) + self.layout.pointer.pack(at)
        image = _load(head + bytes(self.data[len(head) :]).ljust(end - len(head), b"\0") + body + packed)
        alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
        return image if image.mode == self.mode else image.convert(self.mode), alpha


def float_white(largest: float) -> float:
    """What is white where samples are floating point: 1; or 255, or 65535, where the largest value is clearly beyond.

    A picture in 0..1 may go beyond 1 by a little, which is clipped: up to twice as much is still taken for one.
    """
    return next((white for white in (1.0, 255.0, 65535.0) if largest < 2 * white), 65535.0)


def to_pil(color: Array, mode: str) -> Image.Image:
    """Makes a Pillow image of uint8 [H, W, S], of which `mode` says what the samples are: L, RGB or CMYK."""
    return Image.frombuffer(mode, color.shape[1::-1], np.ascontiguousarray(color), "raw", mode, 0, 1)


def _levels(unit: Array) -> Array:
    levels: Array = np.rint(np.clip(unit, 0, 1) * unit.dtype.type(255)).astype(np.uint8)
    return levels


_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _load(file: bytes) -> Image.Image:
    """Decodes a TIFF by Pillow."""
    image: Image.Image = Image.OPEN["TIFF"][0](io.BytesIO(file), "")
    image.load()
    return image
