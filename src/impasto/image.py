"""Pictures as people have them, in and out.

Inside the library an image is a uint8 array [H, W, 3] in sRGB, and a picture that goes through it a :class:`Picture`.
Everything else a file can hold (a turn in EXIF, another colour space, alpha, palettes, 16 bit, CMYK) is settled on
reading (:mod:`impasto.formats`), and what can be given back is given back on writing.
"""

from __future__ import annotations

import math
import os
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from impasto.checks import is_whole, plain, read_whole, require_between
from impasto.errors import ImpastoError
from impasto.files import reason, write_file
from impasto.formats.exif import STORAGE_TAGS as STORAGE_TAGS
from impasto.formats.read import FORMATS as FORMATS
from impasto.formats.read import TURNS as TURNS
from impasto.formats.read import decode, decode_pil, describe, read_file, tell
from impasto.formats.write import JPEG_EXIF_BYTES as JPEG_EXIF_BYTES
from impasto.formats.write import WITH_ALPHA as WITH_ALPHA
from impasto.formats.write import WITH_EXIF as WITH_EXIF
from impasto.formats.write import encode

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 200_000_000  # the largest phone camera makes 16320 x 12240

ENDINGS = {
    "jpg": "JPEG",
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "avif": "AVIF",
    "tif": "TIFF",
    "tiff": "TIFF",
    "bmp": "BMP",
    "gif": "GIF",
}
#: Pixels that a side can have where encoders and decoders set a limit; PNG, TIFF and BMP have none to speak of.
LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 32_768, "GIF": 65_535}
_BAND = 1 << 18  # pixels that are computed at a time where no pixel depends on another


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and what has to travel with it.

    `pixels`: uint8 [H, W, 3], sRGB, upright. `alpha`: uint8 [H, W], 255 = opaque, or None.
    `exif`: EXIF block without orientation, or None. `dpi`: resolution across and down, or None. To keep all of that on
    new pixels of the same size use `dataclasses.replace(picture, pixels=new)`.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        pixels, alpha = self.pixels, self.alpha
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise ImpastoError(f"pixels must be uint8 [H, W, 3], not {pixels.dtype} {list(pixels.shape)}")
        if alpha is not None and (alpha.dtype != np.uint8 or alpha.shape != pixels.shape[:2]):
            size = list(pixels.shape[:2])
            raise ImpastoError(f"alpha must be uint8 {size} like the pixels, not {alpha.dtype} {list(alpha.shape)}")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as Pillow has them."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def to_pil(self) -> Image.Image:
        """Makes a Pillow image, RGB or RGBA, EXIF and resolution in its `info`, which `read_image` turns back."""
        image = Image.fromarray(np.ascontiguousarray(self.pixels))
        if self.alpha is not None:
            image.putalpha(Image.fromarray(np.ascontiguousarray(self.alpha)))
        if self.exif is not None:
            image.info["exif"] = self.exif
        if self.dpi is not None:
            image.info["dpi"] = self.dpi
        return image

    def limit_size(self, size: int) -> Picture:
        """Scales the picture down so that its long side is at most `size` pixels; one that already is stays itself."""
        size = plain(size)
        if not is_whole(size) or size < 1:
            raise ImpastoError(f"the maximal size must be a whole number of pixels, 1 or more, not {size}")
        if max(self.pixels.shape[:2]) <= size:
            return self
        return self.change(lambda pixels: limit_long_side(pixels, size))

    def change(self, change: Callable[[Pixels], Pixels]) -> Picture:
        """Scales or cuts the picture by what does that to uint8 [H, W, 3], or with alpha [H, W, 4]."""
        if self.alpha is None:
            return replace(self, pixels=change(self.pixels))
        # With its alpha, as Pillow does it: colours that cannot be seen must not run into those that can.
        changed = change(np.dstack([self.pixels, self.alpha]))
        pixels, alpha = (np.ascontiguousarray(part) for part in (changed[..., :3], changed[..., 3]))
        return replace(self, pixels=pixels, alpha=alpha)

    def resize(self, height: int, width: int) -> Picture:
        """Scales the picture to another size by bilinear interpolation, as masks are; one of that size stays itself."""
        if self.pixels.shape[:2] == (height, width):
            return self
        return read_image(self.to_pil().resize((width, height), Image.Resampling.BILINEAR))


#: Whatever :func:`read_image` reads.
ImageSource = Picture | str | os.PathLike[str] | bytes | BinaryIO | Image.Image | npt.NDArray[Any]


def read_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS, name: str | None = None) -> Picture:
    """Read a picture from a path, the bytes of a file, a binary stream, a Pillow image or an array.

    Files: JPEG, PNG, WebP, AVIF, TIFF and BigTIFF, BMP, GIF; of several frames the first. The result is upright (EXIF
    orientation, which in AVIF is not EXIF's) and sRGB: an ICC profile is converted (a broken one ignored), or else what
    cICP, gAMA and cHRM of a PNG, nclx of an AVIF, or EXIF of a camera's Adobe RGB tell; HDR (PQ, HLG) with white at
    203 cd/m2, where what is brighter is white. CMYK and grey become RGB.

    Samples of any depth become 8 bit: 0 and the largest number are black and white (in a TIFF that says so, white and
    black), of signed numbers what is below 0 is black. Floating point is read as 0..1, from a largest value of 2 on as
    0..255, from 510 on as 0..65535; what is beyond is clipped. A TIFF of a kind that is not read (complex numbers, raw
    sensor data, LogLuv, inks that are not CMYK, JPEG 2000 and other rare compressions) is refused by its name.

    EXIF is handed on byte for byte, but for orientation, preview, size in pixels and colour space, which would be
    untrue.

    A file that ends too early or is damaged is read with an `IncompleteWarning`, as far as no more than a quarter of
    the picture is missing: JPEG, PNG, WebP and TIFF. What is missing is grey in a JPEG, like the row above it in a PNG,
    and black in a TIFF; a WebP is decoded as if nothing but zeros followed.

    Arrays: uint8, or floating point in 0..1, of shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (the last with alpha).
    A `Picture` is handed back as it is.

    Errors call the picture `name`: left out, a path by itself and all else "the picture".

    Raises `ImpastoError` for whatever cannot be read, and for a file or Pillow image of more than `max_pixels` pixels,
    which is found from the header, before anything is decoded.

    >>> import numpy as np
    >>> read_image(np.zeros((32, 48, 4))).alpha.shape
    (32, 48)
    """
    require_between(0, math.inf, max_pixels=max_pixels)
    if isinstance(source, Picture):
        return source
    if isinstance(source, np.ndarray):
        return _read_array(source)
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        name = name or path
        return Picture(*decode(read_file(path, name), name, max_pixels))
    name = name or "the picture"
    if isinstance(source, Image.Image):
        return Picture(*decode_pil(source, name, max_pixels))
    if hasattr(source, "read"):
        try:
            source = source.read()
        except OSError as error:
            raise ImpastoError(f"cannot read the stream: {tell(error)}") from None
        if not isinstance(source, bytes):
            raise ImpastoError("cannot read the stream: it gives text; open it in binary mode")
    if isinstance(source, bytes):
        return Picture(*decode(source, name, max_pixels))
    raise ImpastoError(
        f"cannot read a picture from {type(source).__name__}: give a path, bytes, a binary stream, "
        "a Pillow image or a NumPy array"
    )


def write_image(
    target: str | os.PathLike[str] | BinaryIO,
    image: Picture | Image.Image | npt.NDArray[Any],
    *,
    format: str | None = None,
    quality: int = 95,
) -> None:
    """Write a picture, to the pixel as large as it is, as sRGB.

    The format comes from the ending of a path unless `format` ("png", "jpg", ...) names it; a stream is PNG unless it
    does. `quality` (1 to 100) is for JPEG and AVIF, both written without halving the chroma (4:4:4), and for WebP,
    which always halves it except at 100, which is lossless. TIFF is lossless; GIF has 256 colours.

    Alpha is kept in PNG, WebP, AVIF and TIFF; in the others the picture is laid on white. EXIF is given back in JPEG,
    PNG, WebP, AVIF and TIFF, resolution in JPEG, PNG, TIFF and BMP. A file appears complete or not at all: it is
    written beside its place and moved there.

    Raises `ImpastoError` for a format that is not written, a missing folder, no permission or a full disk.

    >>> write_image("grey.png", np.full((32, 48, 3), 128, np.uint8))
    >>> read_image("grey.png").size
    (48, 32)
    """
    path = os.fspath(target) if isinstance(target, (str, os.PathLike)) else None
    name = path or "the picture"
    kind = _find_format(name, format or (os.path.splitext(path)[1] if path is not None else "png"))
    quality = read_whole(1, 100, quality=quality)
    picture = read_image(image, max_pixels=sys.maxsize)  # what is there may be written
    width, height = picture.size
    if max(width, height) > LONGEST_SIDE.get(kind, sys.maxsize):
        limit = f"a side has at most {LONGEST_SIDE[kind]} pixels, not {width} x {height}"
        raise ImpastoError(f"cannot write {name} as {kind}: {limit}; choose png or tiff")
    try:
        data = encode(picture.to_pil(), kind, quality, picture.exif, picture.dpi)
    except (
        OSError,
        ValueError,
        RuntimeError,
        struct.error,
    ) as error:  # for example: a side longer than the format can tell
        raise ImpastoError(f"cannot write {name} as {kind}: {tell(error)}") from None
    if isinstance(target, (str, os.PathLike)):
        write_file(target, data)
        return
    try:
        target.write(data)
    except (OSError, ValueError) as error:
        raise ImpastoError(f"cannot write {name}: {reason(error, name)}") from None


def read_exif(path: str | os.PathLike[str]) -> bytes | None:
    """Read the EXIF block of a file as it may go into another, without orientation; the pixels are not decoded."""
    name = os.fspath(path)
    try:
        return describe(read_file(name, name), name).exif.block
    except ImpastoError:  # what cannot be read has none
        return None


def resize_short_side(pixels: Pixels, size: int) -> Pixels:
    """Scale uint8 [H, W, 3 or 4] so that its short side is `size` pixels, aspect kept (Lanczos, anti-aliased)."""
    return _scale(pixels, size, min(pixels.shape[:2]))


def limit_long_side(pixels: Pixels, size: int) -> Pixels:
    """Scale uint8 [H, W, 3 or 4] down so that its long side is at most `size` pixels; a smaller one stays as it is."""
    return _scale(pixels, min(size, max(pixels.shape[:2])), max(pixels.shape[:2]))


def center_crop(pixels: Pixels, size: int) -> Pixels:
    """Scale uint8 [H, W, 3] to short side `size` and take the centre square: uint8 [size, size, 3]."""
    return center_square(resize_short_side(pixels, size), size)


def center_square(pixels: Pixels, size: int) -> Pixels:
    """Cut out the square of `size` pixels in the middle of uint8 [H, W, 3 or 4], neither side of which is shorter."""
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]


def map_bands(work: Callable[..., Pixels], *pictures: npt.NDArray[Any]) -> Pixels:
    """Apply `work` to pictures of one size, [H, W, ...], where no pixel depends on another: uint8 [H, W, 3].

    It is given some rows at a time, so that what it computes in floating point stays small whatever the picture.
    """
    height, width = pictures[0].shape[:2]
    made = np.empty((height, width, 3), np.uint8)
    for rows in bands(height, width):
        made[rows] = work(*(picture[rows] for picture in pictures))
    return made


def bands(height: int, width: int) -> Iterator[slice]:
    """Give the rows of a picture as slices, some at a time."""
    step = max(1, _BAND // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def to_float(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Convert uint8 [H, W, 3] to float32 [1, 3, H, W] in 0..1, contiguous."""
    image = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)
    image /= 255
    return image


def to_uint8(image: npt.NDArray[np.floating[Any]]) -> Pixels:
    """Convert float [1, 3, H, W] in 0..1 to uint8 [H, W, 3], rounded, clipped, contiguous."""
    levels = image[0] * 255
    np.rint(levels, out=levels)
    planes = np.clip(levels, 0, 255, out=levels).astype(np.uint8)
    # Pillow puts planes together in a fraction of the time that NumPy's transposed copy takes.
    return np.array(Image.merge("RGB", [Image.fromarray(plane) for plane in planes]))


def _scale(pixels: Pixels, size: int, side: int) -> Pixels:
    """Scale by size / side; no side becomes shorter than a pixel."""
    if size < 1:
        raise ImpastoError(f"a picture cannot be scaled to {size} pixels; give 1 or more")
    if size == side:
        return pixels
    height, width = (max(1, round(length * size / side)) for length in pixels.shape[:2])
    scaled = Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), Image.Resampling.LANCZOS)
    return np.array(scaled)


def _read_array(array: npt.NDArray[Any]) -> Picture:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ImpastoError(f"an array must be [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], not {list(array.shape)}")
    if np.issubdtype(array.dtype, np.floating):
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):  # so written that NaN fails too
            raise ImpastoError(f"a floating point array must hold values from 0 to 1, not from {low:g} to {high:g}")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImpastoError(f"an array must be uint8, or floating point from 0 to 1, not {array.dtype}")
    color = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3].copy()
    return Picture(color, array[..., 3].copy() if array.shape[2] == 4 else None)


def _find_format(name: str, ending: str) -> str:
    kind = ENDINGS.get(ending.lower().removeprefix("."))
    if kind is None:
        problem = f"unknown picture format '{ending}'" if ending else "the name has no ending that tells the format"
        raise ImpastoError(f"cannot write {name}: {problem}; use one of {', '.join(ENDINGS)}")
    return kind
