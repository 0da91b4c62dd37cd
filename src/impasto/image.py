"""Pictures as people have them, in and out.

Inside the library an image is a uint8 array [H, W, 3] in sRGB, and a picture that goes through it a :class:`Picture`.
Everything else a file can hold (a turn in EXIF, another colour space, alpha, palettes, 16 bit, CMYK) is settled here
on reading, and what can be given back is given back on writing. Pillow is met here and nowhere between.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms

from impasto.errors import ImpastoError, TooLargeError
from impasto.files import reason, write_file

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 200_000_000  # the largest phone camera makes 16320 x 12240

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF")
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
WITH_ALPHA = {"PNG", "WEBP", "AVIF", "TIFF"}
WITH_EXIF = {"JPEG", "PNG", "WEBP", "AVIF", "TIFF"}
JPEG_EXIF_BYTES = 65533  # a JPEG segment holds no more
_BAND = 1 << 18  # pixels that are computed at a time where no pixel depends on another
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
# Tags that say how the file they came from stored its pixels (a TIFF keeps them beside the real EXIF), or that hold a
# second copy of it (XMP, IPTC, Photoshop, ICC). In another file they would be wrong.
# fmt: off
STORAGE_TAGS = frozenset([
    254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 301, 317, 318, 319, 320, 322, 323, 324, 325,
    330, 338, 339, 340, 341, 347, 513, 514, 529, 530, 531, 532, 700, 33723, 34377, 34675,
])
# fmt: on


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and what has to travel with it.

    `pixels`: uint8 [H, W, 3], sRGB, upright. `alpha`: uint8 [H, W], 255 = opaque, or None.
    `exif`: EXIF block without orientation, or None. To keep alpha and EXIF on new pixels of the same size use
    `dataclasses.replace(picture, pixels=new)`.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    exif: bytes | None = None

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
        """Makes a Pillow image, RGB or RGBA, EXIF in `info["exif"]`; `read_image` turns it back into this picture."""
        image = Image.fromarray(np.ascontiguousarray(self.pixels))
        if self.alpha is not None:
            image.putalpha(Image.fromarray(np.ascontiguousarray(self.alpha)))
        if self.exif is not None:
            image.info["exif"] = self.exif
        return image

    def limit_size(self, size: int) -> Picture:
        """Scales the picture down so that its long side is at most `size` pixels; one that already is stays itself."""
        if not isinstance(size, int) or size < 1:
            raise ImpastoError(f"the maximal size must be a whole number of pixels, 1 or more, not {size}")
        if max(self.pixels.shape[:2]) <= size:
            return self
        return self.change(lambda pixels: limit_long_side(pixels, size))

    def change(self, change: Callable[[Pixels], Pixels]) -> Picture:
        """Scales or cuts the picture by what does that to uint8 [H, W, 3], or with alpha [H, W, 4]."""
        if self.alpha is None:
            return Picture(change(self.pixels), None, self.exif)
        # With its alpha, as Pillow does it: colours that cannot be seen must not run into those that can.
        changed = change(np.dstack([self.pixels, self.alpha]))
        return Picture(np.ascontiguousarray(changed[..., :3]), np.ascontiguousarray(changed[..., 3]), self.exif)

    def resize(self, height: int, width: int) -> Picture:
        """Scales the picture to another size by bilinear interpolation, as masks are; one of that size stays itself."""
        if self.pixels.shape[:2] == (height, width):
            return self
        return read_image(self.to_pil().resize((width, height), Image.Resampling.BILINEAR))


#: Whatever :func:`read_image` reads.
ImageSource = Picture | str | os.PathLike[str] | bytes | BinaryIO | Image.Image | npt.NDArray[Any]


def read_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS, name: str | None = None) -> Picture:
    """Read a picture from a path, the bytes of a file, a binary stream, a Pillow image or an array.

    Files: JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF (of several frames the first). The result is upright (EXIF
    orientation applied) and sRGB (another ICC profile is converted, a broken one ignored; CMYK and grey become RGB);
    16 bit becomes 8. Floating point (TIFF or Pillow mode F) is read as 0..1, or as 0..255 if it goes beyond 1.

    Arrays: uint8, or floating point in 0..1, of shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (the last with alpha).
    A `Picture` is handed back as it is.

    Errors call the picture `name`: left out, a path by itself and all else "the picture".

    Raises `ImpastoError` for whatever cannot be read, and for a file or Pillow image of more than `max_pixels` pixels,
    which is found from the header, before anything is decoded.

    >>> import numpy as np
    >>> read_image(np.zeros((32, 48, 4))).alpha.shape
    (32, 48)
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, np.ndarray):
        return _read_array(source)
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        name = name or path
        try:
            stream = open(path, "rb")  # noqa: SIM115 (closed below; errors of opening and of decoding must not mix)
        except FileNotFoundError:
            raise ImpastoError(f"cannot read {name}: there is no such file") from None
        except IsADirectoryError:
            raise ImpastoError(f"cannot read {name}: it is a folder; name one picture in it") from None
        except (OSError, ValueError) as error:
            raise ImpastoError(f"cannot read {name}: {_reason(error)}") from None
        with stream:
            return _read_stream(stream, name, max_pixels)
    name = name or "the picture"
    if isinstance(source, Image.Image):
        _check_size(source, name, max_pixels)
        return _read_pil(source, name)
    if isinstance(source, bytes):
        return _read_stream(io.BytesIO(source), name, max_pixels)
    if hasattr(source, "read"):
        try:
            data = source.read()
        except OSError as error:
            raise ImpastoError(f"cannot read the stream: {_reason(error)}") from None
        if not isinstance(data, bytes):
            raise ImpastoError("cannot read the stream: it gives text; open it in binary mode")
        return _read_stream(io.BytesIO(data), name, max_pixels)
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
    which always halves it except at 100, which is lossless. TIFF is lossless (with EXIF it is not compressed); GIF
    has 256 colours.

    Alpha is kept in PNG, WebP, AVIF and TIFF; in the others the picture is laid on white. EXIF is given back in JPEG,
    PNG, WebP, AVIF and TIFF. A file appears complete or not at all: it is written beside its place and moved there.

    Raises `ImpastoError` for a format that is not written, a missing folder, no permission or a full disk.

    >>> write_image("grey.png", np.full((32, 48, 3), 128, np.uint8))
    >>> read_image("grey.png").size
    (48, 32)
    """
    path = os.fspath(target) if isinstance(target, (str, os.PathLike)) else None
    name = path or "the picture"
    kind = _find_format(name, format or (os.path.splitext(path)[1] if path is not None else "png"))
    if not 1 <= quality <= 100:
        raise ImpastoError(f"quality must be from 1 to 100, not {quality}")
    picture = read_image(image, max_pixels=sys.maxsize)  # what is there may be written
    try:
        data = _encode(picture, kind, quality)
    except (OSError, ValueError, RuntimeError) as error:  # for example: a side longer than the format can tell
        raise ImpastoError(f"cannot write {name} as {kind}: {_reason(error)}") from None
    if isinstance(target, (str, os.PathLike)):
        write_file(target, data)
        return
    try:
        target.write(data)
    except (OSError, ValueError) as error:
        raise ImpastoError(f"cannot write {name}: {reason(error, name)}") from None


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
    return np.ascontiguousarray(np.clip(levels, 0, 255, out=levels).astype(np.uint8).transpose(1, 2, 0))


def _scale(pixels: Pixels, size: int, side: int) -> Pixels:
    """Scale by size / side; no side becomes shorter than a pixel."""
    if size < 1:
        raise ImpastoError(f"a picture cannot be scaled to {size} pixels; give 1 or more")
    if size == side:
        return pixels
    height, width = (max(1, round(length * size / side)) for length in pixels.shape[:2])
    scaled = Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), Image.Resampling.LANCZOS)
    return np.array(scaled)


# Reading


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


def _read_stream(stream: BinaryIO, name: str, max_pixels: int) -> Picture:
    with _explain_damage(name):
        image = _open(stream, name)
        _check_size(image, name, max_pixels)
        return _read_pil(image, name)


def _open(stream: BinaryIO, name: str) -> Image.Image:
    """Read the header of a file.

    This is `Image.open` without its own limit on pixels: that one is a global of the host program and only warns at
    first, ours is an argument. It also tries no format that is not ours (EPS, for one, would start Ghostscript).
    """
    Image.init()
    prefix = stream.read(16)
    if not prefix:
        raise ImpastoError(f"cannot read {name}: it is empty")
    for kind in FORMATS:
        factory, accept = Image.OPEN[kind]
        if accept is not None and accept(prefix) is True:
            stream.seek(0)
            try:
                return factory(stream, "")
            except Image.DecompressionBombError:  # WebP asks Pillow's limit by itself
                stream.seek(0)
                with _lift_pillow_limit():
                    return factory(stream, "")
    raise ImpastoError(f"cannot read {name}: it is not a picture of a known kind ({', '.join(FORMATS)})")


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise TooLargeError(
            f"cannot read {name}: {image.width} x {image.height} pixels are more than the limit of {max_pixels}; "
            "paint it from file to file (--huge, impasto.huge), or if you trust it, raise max_pixels (--max-pixels)"
        )


@contextlib.contextmanager
def _lift_pillow_limit() -> Iterator[None]:
    """Lift Pillow's own limit on pixels for a moment.

    It is a global, so this is for pictures beyond it only, whose size is checked against ours.
    """
    with _PILLOW_LIMIT_LOCK:
        kept = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = kept


@contextlib.contextmanager
def _explain_damage(name: str) -> Iterator[None]:
    """Turn whatever goes wrong while decoding into one line."""
    try:
        yield
    except ImpastoError:
        raise
    except MemoryError:
        raise ImpastoError(f"cannot read {name}: it does not fit into memory") from None
    except Exception as error:  # on damaged files Pillow's decoders raise nearly anything
        raise ImpastoError(f"cannot read {name}: the file is damaged or incomplete ({_reason(error)})") from None


def _read_pil(image: Image.Image, name: str) -> Picture:
    with _explain_damage(name):
        beyond = image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf"))
        with _lift_pillow_limit() if beyond else contextlib.nullcontext():  # TIFF asks it again
            image.load()
        orientation, exif = _read_exif_block(image)
        profile = image.info.get("icc_profile")
        if image.mode == "F" or image.mode.startswith("I"):
            image = _to_eight_bit(image, name)
        elif image.has_transparency_data and image.mode not in ("L", "LA"):
            image = image.convert("LA" if image.mode == "La" else "RGBA")
        alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
        color = _to_srgb(image, profile)
        if orientation in TURNS:
            color = color.transpose(TURNS[orientation])
            alpha = alpha.transpose(TURNS[orientation]) if alpha else None
        return Picture(np.array(color), np.array(alpha) if alpha else None, exif)


def read_exif(path: str | os.PathLike[str]) -> bytes | None:
    """Read the EXIF block of a file as it may go into another, without orientation; the pixels are not read."""
    try:
        with open(path, "rb") as stream:
            return _read_exif_block(_open(stream, os.fspath(path)))[1]
    except Exception:  # what cannot be read has none
        return None


def _read_exif_block(image: Image.Image) -> tuple[int, bytes | None]:
    """Read the orientation, and the EXIF block for another file; damaged EXIF must not cost the picture."""
    try:
        exif = Image.Exif()
        exif.load(image.getexif().tobytes())  # a copy: the caller's image keeps its own
        orientation = exif.get(ExifTags.Base.Orientation, 1)
        for tag in STORAGE_TAGS & set(exif):
            del exif[tag]
        if ExifTags.IFD.Exif in exif:
            details = exif.get_ifd(ExifTags.IFD.Exif)
            details.pop(ExifTags.Base.ExifImageWidth, None)  # the result may have another size
            details.pop(ExifTags.Base.ExifImageHeight, None)
            if ExifTags.Base.ColorSpace in details:
                details[ExifTags.Base.ColorSpace] = 1  # sRGB, as the pixels are now
        return orientation, exif.tobytes() if len(exif) else None
    except Exception:  # the parser, too, raises nearly anything
        return 1, None


def _to_eight_bit(image: Image.Image, name: str) -> Image.Image:
    """Convert 16 bit grey (I;16 and its kin, I) and floating point (F) to 8 bit grey; Pillow would only clip."""
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise ImpastoError(f"cannot read {name}: it holds values that are not numbers")
    if image.mode == "F":
        values *= 255 if values.max() <= 1 else 1
    else:
        values /= 257
    return Image.fromarray(np.rint(np.clip(values, 0, 255)).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert any 8 bit mode to RGB in sRGB, alpha left out."""
    if profile is None:
        return image.convert("RGB")
    device = image
    if image.mode != "CMYK":
        device = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            device.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError):  # broken, or for another kind of pixels
        return image.convert("RGB")
    if device.mode == "RGB" and _keeps_colors(transform):
        return device
    converted = ImageCms.applyTransform(device, transform)
    assert converted is not None  # only in-place conversion gives None
    return converted


def _keeps_colors(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a profile is sRGB under whatever name: then pixels are left alone, not rounded once more."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(64, 64, 3)
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(cube), transform))
    return bool(np.abs(moved.astype(int) - cube).max() <= 1)


# Writing


def _find_format(name: str, ending: str) -> str:
    kind = ENDINGS.get(ending.lower().removeprefix("."))
    if kind is None:
        problem = f"unknown picture format '{ending}'" if ending else "the name has no ending that tells the format"
        raise ImpastoError(f"cannot write {name}: {problem}; use one of {', '.join(ENDINGS)}")
    return kind


def _encode(picture: Picture, kind: str, quality: int) -> bytes:
    """Make the bytes of the file: in memory first, so that what the encoder refuses never touches the disk."""
    image = picture.to_pil()
    if picture.alpha is not None and kind not in WITH_ALPHA:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    options: dict[str, Any] = {}
    match kind:
        case "JPEG" | "AVIF":
            options = {"quality": quality, "subsampling": "4:4:4"}
        case "WEBP":
            options = {"quality": quality, "lossless": quality == 100, "exact": True}
        case "TIFF" if picture.exif is None:  # Pillow's compressing writer fails on nested EXIF
            options = {"compression": "tiff_adobe_deflate"}
    exif = picture.exif
    if exif is not None and kind in WITH_EXIF and not (kind == "JPEG" and len(exif) > JPEG_EXIF_BYTES):
        options["exif"] = exif
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _reason(error: Exception) -> str:
    """Tell the reason that an exception gives, on one line."""
    text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()
    return text.splitlines()[0] if text else type(error).__name__
