"""Reads and writes pictures by strips, through libvips."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from impasto.color import LUMA_WEIGHTS
from impasto.errors import ImpastoError, UnreadableError
from impasto.files import reason, replace_file
from impasto.formats.container import Contents, chunk, read_jpeg, read_png
from impasto.formats.read import Told, explain_damage, find_kind, read_file, read_told
from impasto.formats.space import to_srgb
from impasto.formats.tiff import Tiff, to_pil
from impasto.formats.write import add_to_file
from impasto.image import Pixels
from impasto.progress import meter

_MILLIMETRES = 25.4  # in an inch; libvips counts pixels to a millimetre
STRIP = 1 << 20  # pixels that are read at a time where the whole picture goes through


@dataclass(frozen=True)
class RawPicture:
    """A picture, uint8 [height, width, bands], that lies in a file as bare pixels.

    It is a :class:`impasto.octaves.Source`.
    """

    path: Path
    height: int
    width: int
    bands: int

    def part(self, rows: slice, columns: slice) -> Pixels:
        """Copies a part. The file is mapped for the moment only: what was read must not pile up in memory."""
        mapped = np.memmap(self.path, np.uint8, "r", shape=(self.height, self.width, self.bands))
        return np.array(mapped[rows, columns])

    @property
    def shape(self) -> tuple[int, ...]:
        return self.height, self.width, self.bands

    def __getitem__(self, part: tuple[slice, slice], /) -> Pixels:
        return self.part(*part)

    def rows(self) -> Iterator[slice]:
        """Gives all of its rows as slices, some at a time, from top to bottom."""
        step = max(1, STRIP // self.width)
        return (slice(top, min(top + step, self.height)) for top in range(0, self.height, step))

    def strips(self) -> Iterator[Pixels]:
        """Reads all of it, from top to bottom."""
        return (self.part(rows, slice(None)) for rows in self.rows())

    def fill(self, image: pyvips.Image, label: str) -> None:
        """Writes a picture of this size to the file, all of it or nothing."""
        with replace_file(self.path) as temporary:
            size = self.height * self.width * self.bands
            _watch(image, temporary, label, size, lambda: image.rawsave(str(temporary)))


def describe(path: Path) -> Told:
    """Reads what a picture file tells of its pixels: EXIF, ICC profile, resolution."""
    return read_told(_open(path))


def _open(path: Path) -> Tiff | Contents:
    """Reads a picture file but for its pixels; UnreadableError for another kind."""
    name = str(path)
    if path.exists() and not path.is_file():
        raise UnreadableError(f"cannot read {path}: huge pictures are painted from file to file")
    try:
        data = read_file(name, name, mapped=0)
        kind = find_kind(data, name)
        if kind not in ("TIFF", "PNG", "JPEG"):
            raise UnreadableError(f"cannot read {path}: huge pictures are read from TIFF, PNG and JPEG")
        with explain_damage(name):
            if kind != "TIFF":
                return read_png(data, pixels=False) if kind == "PNG" else read_jpeg(data, pixels=False)
            tiff = Tiff(data, name)
            tiff.check()
            return tiff
    except ImpastoError as error:
        raise UnreadableError(str(error)) from None


def open_picture(path: Path) -> pyvips.Image:
    """Opens a picture upright, in 8 bit sRGB, of 3 bands or with alpha 4; its pixels are read when they are needed."""
    source = _open(path)
    told = read_told(source)
    # To be turned, it has to lie where any part can be read: libvips unpacks it to a temporary file.
    access = "sequential" if told.exif.orientation == 1 else "random"
    with explain_unreadable(path):
        if isinstance(source, Tiff) and not source.is_plain:
            image = _pipe(_convert(source, told), (source.height, source.width, 4 if source.has_alpha else 3), access)
            return _turn(image, told.exif.orientation)
        image = pyvips.Image.new_from_file(str(path), access=access, fail_on="error")
        image = _turn(image, told.exif.orientation)
        if image.format == "ushort":
            inks = image.interpretation == "cmyk"
            depth = "cmyk" if inks else "b-w" if image.bands < 3 else "srgb"
            image = (image / 257).rint().cast("uchar").copy(interpretation=depth)
        alpha = image[image.bands - 1] if image.hasalpha() else None
        color = image if alpha is None else image[: image.bands - 1]
        color = _to_srgb(color, told.profile)
        return color if alpha is None else color.bandjoin(alpha)


def _turn(image: pyvips.Image, orientation: int) -> pyvips.Image:
    """Makes a picture upright that lies as EXIF says."""
    image = image.copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return image.autorot()


def _convert(tiff: Tiff, told: Told) -> Iterator[Pixels]:
    """Reads a TIFF that libvips does not read right, as it is read into memory, strip by strip."""
    for _, colors, alpha in tiff.strips():
        if tiff.lost:
            raise ValueError("some of it is missing")
        pixels = np.asarray(to_srgb(to_pil(colors, tiff.mode), told.profile))
        yield pixels if alpha is None else np.dstack([pixels, alpha])


def _to_srgb(color: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    """Converts grey, RGB or inks; a profile that is broken or of other pixels is ignored."""
    if profile is not None:
        grey = color.interpretation == "b-w" and profile[16:20] == b"GRAY"
        told = color.copy() if grey or color.interpretation == "cmyk" else color.colourspace("srgb").copy()
        told.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
        with contextlib.suppress(pyvips.Error):
            moved = told.icc_transform("srgb", embedded=True, intent="relative", black_point_compensation=True)
            return moved.colourspace("srgb")
    if color.interpretation == "cmyk":  # as Pillow does it
        paper = (255 - color[:3]) * (255 - color[3]) / 255
        color = paper.rint().cast("uchar").copy(interpretation="srgb")
    return color.colourspace("srgb")


def open_mask(path: Path) -> pyvips.Image:
    """Opens a mask as 8 bit luma, one band, in which transparent parts are black."""
    image = open_picture(path)
    weight = image[:3].recomb([list(LUMA_WEIGHTS)])
    if image.bands == 4:
        weight = weight * image[3] / 255
    return weight.rint().cast("uchar").copy(interpretation="b-w")


@contextlib.contextmanager
def explain_unreadable(path: Path) -> Iterator[None]:
    """Has libvips' own errors say in one line that a file cannot be read."""
    try:
        yield
    except pyvips.Error as error:
        raise UnreadableError(
            f"cannot read {path}: the file is damaged or incomplete ({tell_why(error, path)})"
        ) from None


def _watch(image: pyvips.Image, path: Path, label: str, total: int | None, action: Callable[[], None]) -> None:
    """Runs an action that computes an image and writes it; shows how the file grows, and ends the action on Ctrl-C.

    libvips could tell of its progress itself, by calling back. But it keeps images in a cache, with what they call, and
    when one is met again the Python side of that may be gone.

    Args:
        total: bytes that there will be, if that is known.
    """
    megabytes = None if total is None else -(-total // 1_000_000)
    # In a thread of its own, since no signal arrives while libvips computes.
    with ThreadPoolExecutor(1) as pool, meter(f"{label} (MB)", megabytes) as show:
        running = pool.submit(action)
        try:
            while wait([running], timeout=0.5).not_done:
                done = path.stat().st_size // 1_000_000 if path.exists() else 0
                if done:
                    show(done, megabytes)
        except BaseException:
            image.set_kill(True)
            wait([running])
            image.set_kill(False)  # it may be met again in the cache, too
            raise
    running.result()


def write_strips(
    path: Path,
    strips: Iterable[Pixels],
    shape: tuple[int, int, int],
    kind: str,
    exif: bytes | None,
    dpi: tuple[float, float] | None,
    options: Mapping[str, Any],
) -> None:
    """Writes a picture that comes from top to bottom, uint8 [h, W, B]; shows progress.

    Args:
        path: of the file.
        shape: of the whole, [H, W, B]; B is 3, or 4 with alpha.
        kind: "tiff", "png" or "jpeg", which lays the picture on white.
        exif: EXIF block.
        dpi: resolution across and down.
        options: of the kind's writer in libvips.
    """
    image = _pipe(strips, shape)
    if shape[2] == 4 and kind == "jpeg":
        image = image.flatten(background=255)
    resolution = {} if dpi is None else dict(zip(("xres", "yres"), np.divide(dpi, _MILLIMETRES), strict=True))
    image = image.copy(interpretation="srgb", **resolution)
    save: Callable[..., None] = getattr(image, f"{kind}save")
    _watch(image, path, "Writing", None, lambda: save(str(path), keep="none", **options))
    add_to_file(path, kind.upper(), exif, dpi)


def _pipe(strips: Iterable[Pixels], shape: tuple[int, int, int], access: str = "sequential") -> pyvips.Image:
    """Lets libvips read a picture from a pipe, since bare pixels in a file it would map into memory, all of them.

    What goes through is PNG without compression, which every build of libvips reads.
    """
    height, width, bands = shape
    outlet, inlet = os.pipe()

    def feed() -> None:
        # If libvips stops reading, or what it reads ends too early, for what reason ever, it is libvips that tells it.
        with contextlib.suppress(Exception), open(inlet, "wb") as pipe:
            pipe.write(b"\x89PNG\r\n\x1a\n")
            pipe.write(chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, {3: 2, 4: 6}[bands], 0, 0, 0)))
            packer = zlib.compressobj(0)
            for strip in strips:
                rows = np.zeros((len(strip), 1 + width * bands), np.uint8)  # each begins with 0: no filter
                rows[:, 1:] = strip.reshape(len(strip), -1)
                pipe.write(chunk(b"IDAT", packer.compress(rows.data)))
            pipe.write(chunk(b"IDAT", packer.flush()) + chunk(b"IEND", b""))

    threading.Thread(target=feed, daemon=True).start()
    source = pyvips.Source.new_from_descriptor(outlet)  # which it duplicates
    os.close(outlet)
    return pyvips.Image.new_from_source(source, "", access=access, fail_on="error", unlimited=True)


def tell_why(error: Exception, path: Path) -> str:
    """Says on one line what reason the system or libvips gives."""
    if isinstance(error, pyvips.Error):
        lines = str(error.detail or error.message).strip().splitlines()
        return lines[0] if lines else "libvips does not say why"
    return reason(error, str(path))
