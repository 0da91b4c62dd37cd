"""Reads picture files: from bytes to upright 8 bit sRGB."""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from impasto.errors import ImpastoError, IncompleteWarning, TooLargeError
from impasto.formats import space
from impasto.formats.container import (
    Contents,
    Png,
    read_avif,
    read_gif,
    read_jpeg,
    read_png,
    read_webp,
)
from impasto.formats.exif import ORIENTATION, Data, Exif, read_exif
from impasto.formats.tiff import Tiff, float_white, to_pil

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF")
_READERS: dict[str, Callable[[Data], Contents]] = {
    "JPEG": read_jpeg,
    "PNG": read_png,
    "WEBP": read_webp,
    "AVIF": read_avif,
    "GIF": read_gif,
    "BMP": lambda data: Contents((0, 0), bytes(data)),
}
_PREFIX = 16  # bytes by which a format is known
_MOST_MISSING = 0.25  # of a picture that is still one
_PILLOW_LIMIT_LOCK = threading.Lock()

# EXIF orientation -> what makes the picture upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Decoded(NamedTuple):
    """What a file holds: `pixels`, uint8 [H, W, 3], sRGB, upright; `alpha`, uint8 [H, W]; EXIF block; `dpi`."""

    pixels: Pixels
    alpha: Pixels | None
    exif: bytes | None
    dpi: tuple[float, float] | None


class Told(NamedTuple):
    """What a file tells of its pixels: EXIF, the ICC profile that they are in, and `dpi`, as they lie."""

    exif: Exif
    profile: bytes | None
    dpi: tuple[float, float] | None

    @property
    def upright_dpi(self) -> tuple[float, float] | None:
        """Across and down, the picture upright."""
        return self.dpi[::-1] if self.dpi and self.exif.orientation >= 5 else self.dpi


def decode(data: Data, name: str, max_pixels: int) -> Decoded:
    """Decodes a file, which errors call `name`.

    Warns (`IncompleteWarning`) if it ends too early, and not much of the picture is missing.

    Raises:
        TooLargeError: it has more than `max_pixels` pixels.
        ImpastoError: it cannot be read.
    """
    kind = find_kind(data, name)
    with explain_damage(name):
        if kind == "TIFF":
            tiff = Tiff(data, name)
            check_size(tiff.size, name, max_pixels)
            tiff.check()
            told = read_told(tiff)
            with _lift_pillow_limit(tiff.size):
                image, alpha = tiff.read()
            check_whole(name, tiff.missing, tiff.missing > 0)
        else:
            contents = _READERS[kind](data)
            check_size(contents.size, name, max_pixels)
            opened = _open(kind, contents.data)
            check_size(opened.size, name, max_pixels)
            if kind == "AVIF":  # how it is turned is no matter of EXIF there
                turned = read_exif(opened.info.get("exif")).orientation
                told = read_told(contents)
                told = told._replace(exif=Exif(turned, told.exif.adobe_rgb, told.exif.block))
            else:
                told = read_told(contents)
            image, alpha = _load(kind, contents, opened, name)
            check_whole(name, contents.missing, contents.cut or contents.missing > 0)
        return _finish(image, alpha, told)


def find_kind(data: Data, name: str) -> str:
    """Finds which format a file has; raises `ImpastoError` if it is none of ours.

    No format is tried that is not ours: EPS, for one, would start Ghostscript.
    """
    Image.init()
    prefix = bytes(data[:_PREFIX])
    if not prefix:
        raise ImpastoError(f"cannot read {name}: it is empty")
    for kind in FORMATS:
        accept = Image.OPEN[kind][1]
        if accept is not None and accept(prefix) is True:
            return kind
    raise ImpastoError(f"cannot read {name}: it is not a picture of a known kind ({', '.join(FORMATS)})")


def read_file(path: str, name: str, *, mapped: int = 1 << 28) -> Data:
    """Reads a file, or a pipe to its end. Of more than `mapped` bytes it is mapped: of a TIFF little may be needed.

    Raises `ImpastoError` for what is not there, cannot be read, or is no picture.
    """
    try:
        with open(path, "rb") as stream:
            if os.fstat(stream.fileno()).st_size > mapped:
                return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            prefix = stream.read(_PREFIX)
            find_kind(prefix, name)  # there are files and pipes without an end
            return prefix + stream.read()
    except FileNotFoundError:
        raise ImpastoError(f"cannot read {name}: there is no such file") from None
    except IsADirectoryError:
        raise ImpastoError(f"cannot read {name}: it is a folder; name one picture in it") from None
    except (OSError, ValueError) as error:
        raise ImpastoError(f"cannot read {name}: {tell(error)}") from None


def read_told(source: Tiff | Contents) -> Told:
    """Settles what a file tells of its pixels."""
    exif = source.exif if isinstance(source, Tiff) else read_exif(source.exif)
    profile = source.profile
    if profile is None and exif.adobe_rgb and not (isinstance(source, Contents) and source.srgb):
        profile = space.adobe_profile()
    return Told(exif, profile, source.dpi)


def describe(data: Data, name: str) -> Told:
    """Reads what a file tells of its pixels, and decodes none."""
    kind = find_kind(data, name)
    with explain_damage(name):
        return read_told(Tiff(data, name) if kind == "TIFF" else _READERS[kind](data))


def decode_pil(image: Image.Image, name: str, max_pixels: int) -> Decoded:
    """Makes the same of an image that Pillow has opened, which stays as it is."""
    check_size(image.size, name, max_pixels)
    with explain_damage(name):
        with _lift_pillow_limit(image.size):
            image.load()
        block = image.info.get("exif")
        orientation = None
        if not isinstance(block, bytes):  # a TIFF has its tags beside its pixels
            exif = image.getexif()
            orientation = exif.get(ORIENTATION, 1)
            with contextlib.suppress(Exception):  # what Pillow cannot write again
                block = exif.tobytes()
        told = read_exif(block)
        profile = image.info.get("icc_profile")
        if profile is None and told.adobe_rgb:
            profile = space.adobe_profile()
        dpi = image.info.get("dpi")
        given = (float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None
        return _finish(
            *_split(image, name), Told(Exif(orientation or told.orientation, block=told.block), profile, given)
        )


def check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    """Raises `TooLargeError` for more pixels than that."""
    if size[0] * size[1] > max_pixels:
        raise TooLargeError(
            f"cannot read {name}: {size[0]} x {size[1]} pixels are more than the limit of {max_pixels}; "
            "paint it from file to file (--huge, impasto.huge), or if you trust it, raise max_pixels (--max-pixels)"
        )


def check_whole(name: str, missing: float, cut: bool) -> None:
    """Warns of a file that ends too early or is damaged; raises `ImpastoError` if much of the picture is missing."""
    if missing > _MOST_MISSING:
        raise ImpastoError(
            f"cannot read {name}: the file is damaged or incomplete ({missing:.0%} of the picture is missing)"
        )
    if cut:
        part = f"{max(missing, 0.01):.0%} of the picture is missing" if missing else "its end is missing"
        warnings.warn(f"{name} is damaged or incomplete: {part}", IncompleteWarning, stacklevel=2)


@contextlib.contextmanager
def _lift_pillow_limit(size: tuple[int, int]) -> Iterator[None]:
    """Lifts Pillow's own limit on pixels for a moment, if a picture is beyond it.

    It is a global of the host program, and only warns at first; the size has been checked against ours.
    """
    if size[0] * size[1] <= (Image.MAX_IMAGE_PIXELS or float("inf")):
        yield
        return
    with _PILLOW_LIMIT_LOCK:
        kept = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = kept


@contextlib.contextmanager
def explain_damage(name: str) -> Iterator[None]:
    """Turns whatever goes wrong while decoding into one line."""
    try:
        yield
    except (ImpastoError, IncompleteWarning):
        raise
    except MemoryError:
        raise ImpastoError(f"cannot read {name}: it does not fit into memory") from None
    except Exception as error:  # on damaged files Pillow's decoders raise nearly anything
        raise ImpastoError(f"cannot read {name}: the file is damaged or incomplete ({tell(error)})") from None


def tell(error: Exception) -> str:
    """Tells the reason that an exception gives, on one line."""
    text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _open(kind: str, file: bytes) -> Image.Image:
    """Reads the header: `Image.open` without its own limit on pixels, which is a global of the host program."""
    factory = Image.OPEN[kind][0]
    try:
        return factory(io.BytesIO(file), "")
    except Image.DecompressionBombError:  # some ask the limit by themselves
        with _lift_pillow_limit((1 << 32, 1 << 32)):
            return factory(io.BytesIO(file), "")


def _load(kind: str, contents: Contents, opened: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Decodes what lies in a container: colours in mode L, RGB or CMYK, and alpha."""
    with _lift_pillow_limit(opened.size):
        if isinstance(contents, Png):
            try:
                return _load_png(contents, name)
            except Exception:
                contents.mend()
                contents.cut = True
                check_whole(name, contents.missing, False)
                return _load_png(contents, name)
        opened.load()
        if kind == "JPEG" and contents.cut:
            contents.missing = _count_grey_rows(opened) / opened.height
        return _split(opened, name)


def _count_grey_rows(image: Image.Image) -> int:
    """Counts the rows at the end that libjpeg has made up, which it makes plain grey."""
    rows = np.asarray(image).reshape(image.height, -1)
    plain = np.all((rows >= 127) & (rows <= 128), axis=1)
    return image.height if plain.all() else int(np.argmin(plain[::-1]))


def _load_png(png: Png, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Decodes a PNG: all of its 16 bits, where it has that many, and the colour that is transparent."""
    if png.depth == 16 and png.color:
        deep = _load_deep(png)
        levels = np.rint(deep / np.float32(257)).astype(np.uint8)
        if png.key is not None:
            return to_pil(levels, "RGB"), _key_alpha(deep, png.key)
        color, opacity = (levels[..., :-1], levels[..., -1:]) if png.color in (4, 6) else (levels, None)
        image = to_pil(color, "L" if color.shape[2] == 1 else "RGB")
        return image, None if opacity is None else to_pil(opacity, "L")
    image = _open("PNG", png.data)
    image.load()
    if png.key is None:
        return _split(image, name)
    samples: npt.NDArray[Any] = np.asarray(image)
    key = png.key if png.depth >= 8 else tuple(round(level * 255 / ((1 << png.depth) - 1)) for level in png.key)
    if image.mode == "1":
        samples = samples.astype(np.uint8) * 255
    alpha = _key_alpha(samples.reshape(*samples.shape[:2], -1), key)
    return _split(image, name)[0], alpha


def _load_deep(png: Png) -> npt.NDArray[np.uint16]:
    """Decodes 16 bit samples, [H, W, S], of which Pillow keeps the high bytes only: the low ones are had by a second
    look at the file. Grey with alpha it reads as four bytes a pixel, as it lies there."""
    if png.color == 4:
        image = _open("PNG", png.build(depth=8, color=6))
        image.load()
        return np.asarray(image).view(">u2").astype(np.uint16)
    halves = []
    for order in "BL":
        image = _open("PNG", png.data)
        assert isinstance(image, ImageFile.ImageFile)
        image.tile = [tile._replace(args=f"{image.mode};16{order}") for tile in image.tile]
        image.load()
        halves.append(np.asarray(image).astype(np.uint16))
    return halves[0] << np.uint16(8) | halves[1]


def _key_alpha(samples: npt.NDArray[Any], key: tuple[int, ...]) -> Image.Image:
    """Makes the alpha of one colour that is transparent."""
    clear = (samples == np.array(key)).all(axis=-1)
    return Image.fromarray(np.where(clear, 0, 255).astype(np.uint8))


def _split(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Makes 8 bit colours and alpha of whatever Pillow has read."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _to_eight_bit(image, name), None
    if image.has_transparency_data and image.mode not in ("L", "LA"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    return image, alpha


def _to_eight_bit(image: Image.Image, name: str) -> Image.Image:
    """Converts 16 bit grey (I;16 and its kin, I) and floating point (F) to 8 bit grey; Pillow would only clip."""
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise ImpastoError(f"cannot read {name}: it holds values that are not numbers")
    values *= 255 / float_white(float(values.max())) if image.mode == "F" else np.float32(1 / 257)
    return Image.fromarray(np.rint(np.clip(values, 0, 255)).astype(np.uint8))


def _finish(image: Image.Image, alpha: Image.Image | None, told: Told) -> Decoded:
    """Converts colours and turns the picture as the file tells."""
    color = space.to_srgb(image, told.profile)
    if told.exif.orientation in TURNS:
        turn = TURNS[told.exif.orientation]
        color, alpha = color.transpose(turn), alpha.transpose(turn) if alpha else None
    return Decoded(np.array(color), np.array(alpha) if alpha else None, told.exif.block, told.upright_dpi)
