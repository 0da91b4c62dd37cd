"""Masks: which style goes where. Soft, one per style, each of the size of the photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from impasto.color import luma
from impasto.errors import ImpastoError
from impasto.image import MAX_PIXELS, ImageSource, read_image

FLOOR = 1e-6  # weight where no mask is: shares stay defined, and statistics do not notice


def prepare_masks(
    masks: Sequence[ImageSource],
    shape: tuple[int, ...],
    count: int,
    *,
    scaled: tuple[int, ...] | None = None,
    may_be_empty: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Read `count` masks for a photo of `shape` = (H, W).

    A mask is whatever `read_image` reads, or an array [H, W]: bool, uint8 0..255 or floating point 0..1. White (1)
    selects, black (0) does not, grey is in between; colours count by their luma, transparent parts as black. Where the
    photo was `scaled` from `shape` to that (H, W), so are the masks, unless they have that size.

    Returns `(mask, coverage)`. `mask`: float32 [K, 1, H, W], non-negative; as it is it weighs a region's statistics,
    and `mask / mask.sum(0)` are the shares of the styles at each pixel. `coverage`: float32 [H, W] in 0..1, how much
    of the pixel is painted at all: min(1, sum of the masks). Where masks overlap beyond 1 they share the pixel in
    proportion; where none is, `mask` holds a tiny equal weight.

    Raises `ImpastoError` for a wrong number of masks, a mask of another size than the photo or of more than
    `max_pixels`, one that selects nothing (unless it may), and floating point values that are not in 0..1.
    """
    if len(masks) != count:
        raise ImpastoError(f"{len(masks)} masks for {count} styles: give each style one mask")
    weights = np.stack(
        [_read_mask(mask, shape, scaled or shape, f"mask {number}", max_pixels) for number, mask in enumerate(masks, 1)]
    )
    empty = ~weights.any((1, 2))
    if empty.any() and not may_be_empty:
        raise selects_nothing(int(empty.argmax()) + 1)
    shared, coverage = share(weights)
    shared[empty] = FLOOR
    return shared, coverage


def share(weights: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What `prepare_masks` returns, from masks float32 [K, H, W] in 0..1, of a whole picture or a part of it."""
    total = weights.sum(axis=0)
    shared = weights / np.maximum(total, 1)
    shared[:, total < FLOOR] = FLOOR
    return shared[:, None], np.minimum(total, 1)


def _read_mask(
    mask: ImageSource, shape: tuple[int, ...], scaled: tuple[int, ...], name: str, max_pixels: int
) -> npt.NDArray[np.float32]:
    """One mask as float32 [H, W] in 0..1, of the size `scaled`."""
    if isinstance(mask, np.ndarray) and mask.ndim == 2 and mask.dtype != np.uint8:
        weights = _from_numbers(mask, name)
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
        check_size(weights.shape, shape, name)
        weights = np.asarray(Image.fromarray(weights).resize((scaled[1], scaled[0]), Image.Resampling.BILINEAR))
    return weights


def _from_numbers(mask: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    """bool or floating point [H, W], not rounded to 8 bit."""
    if mask.dtype != np.bool_ and not np.issubdtype(mask.dtype, np.floating):
        raise ImpastoError(f"{name}: an array must be bool, uint8, or floating point from 0 to 1, not {mask.dtype}")
    if mask.size and not (mask.min() >= 0 and mask.max() <= 1):  # so written that NaN fails too
        raise ImpastoError(f"{name} must hold values from 0 to 1, not from {mask.min():g} to {mask.max():g}")
    return mask.astype(np.float32)


def check_size(shape: tuple[int, ...], photo: tuple[int, ...], name: str) -> None:
    """Raises `ImpastoError` unless a mask has the photo's size, both (H, W)."""
    if shape != photo:
        raise ImpastoError(
            f"{name} is {_size(shape)} but the photo is {_size(photo)} (width x height); scale the mask to the photo"
        )


def selects_nothing(number: int) -> ImpastoError:
    """What is wrong with a mask that is black all over."""
    return ImpastoError(f"mask {number} selects nothing: every pixel is 0; paint it white where its style should go")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
