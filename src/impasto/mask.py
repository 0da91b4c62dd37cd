"""Masks: which style goes where, and what of a picture a style is taken from. Soft, of the size of the picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt
from PIL import Image

from impasto.checks import is_whole, plain
from impasto.color import luma
from impasto.errors import ImpastoError
from impasto.image import MAX_PIXELS, ImageSource, Picture, read_image

#: Left, top, right and bottom of a part of a picture in pixels, as Pillow has them: the last two are outside.
Box = tuple[int, int, int, int]
_FLOOR = 1e-6  # weight where no mask is: shares stay defined, and statistics do not notice


class Regions(NamedTuple):
    """Where the styles of a mix go, in a whole picture or a part of it.

    Attributes:
        weights: float32 [K, 1, H, W], non-negative: as they are they weigh the statistics of the regions, and
            `weights / weights.sum(0)` are the shares of the styles at each pixel.
        coverage: float32 [H, W] in 0..1, how much of the pixel is painted at all: min(1, sum of the masks).
    """

    weights: npt.NDArray[np.float32]
    coverage: npt.NDArray[np.float32]


def read_masks(
    masks: Sequence[ImageSource],
    shape: tuple[int, ...],
    region_weights: npt.NDArray[np.float32],
    *,
    scaled: tuple[int, ...] | None = None,
    may_be_empty: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Regions:
    """Reads one mask for each style of a mix, for a photo of `shape` = (H, W).

    A mask is whatever `read_image` reads, or an array [H, W]: bool, uint8 0..255 or floating point 0..1. White (1)
    selects, black (0) does not, grey is in between; colours count by their luma, transparent parts as black. Where the
    photo was `scaled` from `shape` to that (H, W), so are the masks, unless they have that size.

    Args:
        region_weights: [K, 1, 1, 1], by what the region of each style counts, see :class:`impasto.controls.Mix`.
        may_be_empty: whether a mask may select nothing, as in a clip.

    Raises `ImpastoError` for a wrong number of masks, a mask of another size than the photo or of more than
    `max_pixels`, one that selects nothing (unless it may), and floating point values that are not in 0..1.

    >>> left = np.array([[1.0, 0.5, 0.0]])
    >>> read_masks([left], (1, 3), np.ones((1, 1, 1, 1), np.float32)).coverage.tolist()
    [[1.0, 0.5, 0.0]]
    """
    if len(masks) != len(region_weights):
        raise count_error(len(masks), len(region_weights))
    read = np.stack(
        [_read_mask(mask, shape, scaled or shape, f"mask {number}", max_pixels) for number, mask in enumerate(masks, 1)]
    )
    empty: npt.NDArray[np.bool_] = np.asarray(~read.any((1, 2)))
    if empty.any() and not may_be_empty:
        raise empty_mask_error(int(empty.argmax()) + 1)
    return share_pixels(read, region_weights, empty)


def share_pixels(
    masks: npt.NDArray[np.float32], region_weights: npt.NDArray[np.float32], empty: npt.NDArray[np.bool_] | None = None
) -> Regions:
    """Makes regions of masks, float32 [K, H, W] in 0..1, for a picture or a part of it.

    Where masks overlap beyond 1 they share the pixel in proportion; where none is, all have a tiny equal weight, and so
    has a mask that is `empty` ([K]) everywhere.
    """
    total = masks.sum(axis=0)
    shared = masks / np.maximum(total, 1)
    shared[:, total < _FLOOR] = _FLOOR
    if empty is not None:
        shared[empty] = _FLOOR
    return Regions(shared[:, None] * region_weights, np.minimum(total, 1))


def resize_regions(regions: npt.NDArray[np.float32], size: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Scales the weights of regions, float32 [K, 1, H, W], to (height, width)."""
    if regions.shape[2:] == size:
        return regions
    scaled = [Image.fromarray(layer).resize((size[1], size[0]), Image.Resampling.BILINEAR) for layer in regions[:, 0]]
    return np.stack([np.asarray(layer) for layer in scaled])[:, None]


def select_part(
    picture: Picture, name: str, mask: ImageSource | None = None, box: Box | None = None, max_pixels: int = MAX_PIXELS
) -> Picture:
    """Selects a part of a picture: by a mask, which becomes its alpha where it has none and weakens it where it has.

    Args:
        picture: of which part; errors call it `name`.
        mask: see :func:`read_masks`, of the size of the picture; of at most `max_pixels`.
        box: what is cut out then, pixels of the whole picture.

    Raises:
        ImpastoError: the box does not lie in the picture, or the mask cannot be read, is of another size or selects
            nothing.

    >>> grey = read_image(np.full((32, 48, 3), 128, np.uint8))
    >>> select_part(grey, "grey", mask=np.tri(32, 48), box=(8, 0, 40, 32)).size
    (32, 32)
    """
    if mask is not None:
        shape = picture.pixels.shape[:2]
        weights = _read_mask(mask, shape, shape, f"the mask of {name}", max_pixels, "picture")
        alpha = np.rint(weights * (255 if picture.alpha is None else picture.alpha)).astype(np.uint8)
        picture = replace(picture, alpha=alpha)
    if box is not None:
        left, top, right, bottom = _check_box(box, picture, name)
        picture = picture.change(lambda pixels: np.ascontiguousarray(pixels[top:bottom, left:right]))
    if mask is not None and not np.any(picture.alpha):
        within = "" if box is None else " within the box"
        raise ImpastoError(f"the mask of {name} selects nothing{within}: paint it white where the style is to be taken")
    return picture


def _check_box(box: Box, picture: Picture, name: str) -> Box:
    numbers = tuple(map(plain, box)) if isinstance(box, Iterable) else ()
    if not _is_box(numbers):
        raise ImpastoError(f"a box is four whole numbers, left, top, right and bottom, not {box}")
    left, top, right, bottom = numbers
    width, height = picture.size
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ImpastoError(
            f"the box {left},{top},{right},{bottom} does not lie in {name}, which is {width} x {height}: "
            "give left, top, right and bottom in pixels"
        )
    return numbers


def _is_box(numbers: tuple[Any, ...]) -> TypeGuard[Box]:
    return len(numbers) == 4 and all(map(is_whole, numbers))


def read_box(text: str) -> Box:
    """Reads a box from text like "0,0,200,300": left, top, right and bottom in pixels."""
    try:
        left, top, right, bottom = map(int, text.split(","))
    except ValueError:
        raise ImpastoError(f"a box is left, top, right and bottom in pixels, like 0,0,200,300, not {text}") from None
    return left, top, right, bottom


def _read_mask(
    mask: ImageSource,
    shape: tuple[int, ...],
    scaled: tuple[int, ...],
    name: str,
    max_pixels: int,
    whose: str = "photo",
) -> npt.NDArray[np.float32]:
    """Reads one mask as float32 [H, W] in 0..1, of the size `scaled`."""
    if isinstance(mask, np.ndarray) and mask.ndim == 2 and mask.dtype != np.uint8:
        weights = _read_numbers(mask, name)
    else:
        try:
            picture = read_image(mask, max_pixels=max_pixels)
        except ImpastoError as error:
            raise ImpastoError(f"{name}: {error}") from None
        weights = luma(picture.pixels) / np.float32(255)
        if picture.alpha is not None:
            weights *= picture.alpha.astype(np.float32) / 255
        weights = np.minimum(weights, 1)  # luma of white may round to a little more
    if weights.shape != scaled:
        check_size(weights.shape, shape, name, whose)
        weights = np.asarray(Image.fromarray(weights).resize((scaled[1], scaled[0]), Image.Resampling.BILINEAR))
    return weights


def _read_numbers(mask: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    """Reads bool or floating point [H, W] without rounding it to 8 bit."""
    if mask.dtype != np.bool_ and not np.issubdtype(mask.dtype, np.floating):
        raise ImpastoError(f"{name}: an array must be bool, uint8, or floating point from 0 to 1, not {mask.dtype}")
    if mask.size and not (mask.min() >= 0 and mask.max() <= 1):  # so written that NaN fails too
        raise ImpastoError(f"{name} must hold values from 0 to 1, not from {mask.min():g} to {mask.max():g}")
    return mask.astype(np.float32)


def check_size(shape: tuple[int, ...], photo: tuple[int, ...], name: str, whose: str = "photo") -> None:
    """Raises `ImpastoError` unless a mask has the photo's size, both (H, W); errors say `whose` mask it is."""
    if shape != photo:
        raise ImpastoError(
            f"{name} is {_size(shape)} but the {whose} is {_size(photo)} (width x height); "
            f"scale the mask to the {whose}"
        )


def count_error(masks: int, styles: int) -> ImpastoError:
    """The error where there is not one mask for each style."""
    return ImpastoError(f"{masks} masks for {styles} styles: give each style one mask")


def empty_mask_error(number: int) -> ImpastoError:
    """The error for a mask that is black all over."""
    return ImpastoError(f"mask {number} selects nothing: every pixel is 0; paint it white where its style should go")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
