"""The colours of photo and painting: pure functions on uint8 arrays [H, W, 3], sRGB."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from impasto.errors import ImpastoError
from impasto.image import Pixels, bands, map_bands

#: Shares of red, green and blue in the luma of ITU-R BT.601, Y' of Y'CbCr.
LUMA_WEIGHTS = (0.299, 0.587, 0.114)
LUMA = np.array(LUMA_WEIGHTS, dtype=np.float32)
_LEAST_ALPHA = 1e-4  # that a pixel counts by in a palette, of 255


def luma(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Takes the BT.601 luma of [..., 3], in the units of the input: float32 [...]."""
    return pixels.astype(np.float32, copy=False) @ LUMA


#: An affine map of RGB values 0..255, x -> A x + b: A float64 [3, 3], b float64 [3].
ColorMap = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


class Palette(NamedTuple):
    """The colours of a picture: mean float64 [3] and covariance float64 [3, 3] of its RGB values 0..255."""

    mean: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]

    def mix(self, other: Palette, share: float) -> Palette:
        """Goes a share, 0..1, of the way to another palette."""
        return Palette(*(own + share * (its - own) for own, its in zip(self, other, strict=True)))


def palette(parts: Iterable[Pixels]) -> Palette:
    """Measures the colours of a picture that comes in parts, uint8 [h, w, 3]; the sums are exact.

    Parts with alpha, [h, w, 4], count by it; a picture that is wholly transparent counts as if it were not.
    """
    count, total, products = 0.0, np.zeros(3), np.zeros((3, 3))
    for part in parts:
        colors = part[..., :3].reshape(-1, 3).astype(np.float64)
        if part.shape[2] == 3:
            count, total, products = count + len(colors), total + colors.sum(0), products + colors.T @ colors
            continue
        weights = np.maximum(part[..., 3].reshape(-1, 1), _LEAST_ALPHA)
        weighed = weights * colors
        count, total, products = count + weights.sum(), total + weighed.sum(0), products + weighed.T @ colors
    mean = total / count
    return Palette(mean, products / count - np.outer(mean, mean))


def palette_of(pixels: Pixels, alpha: Pixels | None = None) -> Palette:
    """Measures the colours of a picture, uint8 [H, W, 3], by its alpha, uint8 [H, W], if it has any."""
    parts = bands(*pixels.shape[:2])
    return palette(pixels[rows] if alpha is None else np.dstack([pixels[rows], alpha[rows]]) for rows in parts)


def match_color(style: Pixels, content: Pixels | Palette) -> Pixels:
    """Give the style picture the colours of the content, so that its strokes come without its palette.

    Both uint8 [H, W, 3], of any two sizes; the content's colours are enough. Returns the style picture,
    uint8 [H, W, 3], with the mean and covariance of the content's RGB values, up to rounding and clipping.

    Gatys et al., "Preserving Color in Neural Artistic Style Transfer" (2016), section 4, with the symmetric square
    roots of image analogies.

    >>> stark, pale = (np.array([[[low] * 3, [high] * 3]], np.uint8) for low, high in ((0, 100), (80, 120)))
    >>> match_color(stark, pale).tolist()
    [[[80, 80, 80], [120, 120, 120]]]
    """
    matrix, offset = color_map(style, content)
    return map_colors(style, matrix, offset)


def map_colors(pixels: Pixels, matrix: npt.NDArray[np.float64], offset: npt.NDArray[np.float64]) -> Pixels:
    """Takes uint8 [H, W, 3] through a :data:`ColorMap`, rounded and clipped."""
    return np.asarray(Image.fromarray(pixels).convert("RGB", tuple(np.column_stack([matrix, offset]).ravel().tolist())))


def color_map(style: Pixels | Palette, content: Pixels | Palette) -> ColorMap:
    """Finds the map of `match_color`.

    A = C^(1/2) S^(-1/2) with C and S the covariances of content and style.
    """
    style = style if isinstance(style, Palette) else palette_of(style)
    content = content if isinstance(content, Palette) else palette_of(content)
    # A direction in which the style varies by less than one level (grey pictures, flat ones) is not stretched.
    matrix = _root(content.covariance) @ _root(style.covariance, least=1, inverse=True)
    return matrix, content.mean - matrix @ style.mean


def optimal_map(photo: Palette, painting: Palette, share: float) -> ColorMap:
    """Finds the map that moves the colours of a photo to those of a painting, or a share (0..1) of the way.

    Of all linear maps to that mean and covariance it is the one that moves colours least (Monge and Kantorovitch;
    Pitie and Kokaram 2007): A = C^(-1/2) (C^(1/2) S C^(1/2))^(1/2) C^(-1/2), C and S the covariances of both. But in no
    direction are colours spread further than they are: the noise of a sky or of a grey photo would grow to strokes.

    >>> grey, bright = (Palette(np.full(3, mean), 400 * np.eye(3)) for mean in (100.0, 200.0))
    >>> matrix, offset = optimal_map(grey, bright, 0.5)
    >>> (matrix @ grey.mean + offset).round().tolist()
    [150.0, 150.0, 150.0]
    """
    root, inverse = _root(photo.covariance, least=1), _root(photo.covariance, least=1, inverse=True)
    gains, directions = np.linalg.eigh(inverse @ _root(root @ painting.covariance @ root) @ inverse)
    matrix = (directions * np.minimum(gains, 1)) @ directions.T
    offset = painting.mean - matrix @ photo.mean
    return (1 - share) * np.eye(3) + share * matrix, share * offset


def _root(covariance: npt.NDArray[np.float64], least: float = 0, inverse: bool = False) -> npt.NDArray[np.float64]:
    """The symmetric square root of a covariance, or its inverse; deviations count as `least` levels or more."""
    values, vectors = np.linalg.eigh(covariance)
    deviations = np.sqrt(np.maximum(values, least**2))
    root: npt.NDArray[np.float64] = (vectors * (1 / deviations if inverse else deviations)) @ vectors.T
    return root


def keep_chroma(stylized: Pixels, content: Pixels) -> Pixels:
    """Paint with the strokes of the stylized picture and the colours of the content.

    Both uint8 [H, W, 3], of one size; the result likewise: luma of the stylized picture, chroma (Cb, Cr of BT.601) of
    the content. Where the two together lie outside the cube of colours, chroma is scaled towards grey just so far
    that they fit, and luma is kept.

    Raises `ImpastoError` if the sizes differ.

    >>> grey, orange = np.full((1, 1, 3), 120, np.uint8), np.array([[[200, 120, 40]]], np.uint8)
    >>> keep_chroma(grey, orange).tolist()
    [[[185, 105, 25]]]
    """
    if stylized.shape != content.shape:
        raise ImpastoError(
            f"colours can only be kept between pictures of one size, not {list(stylized.shape)} and "
            f"{list(content.shape)}; scale one to the other"
        )
    return map_bands(_transplant_chroma, stylized, content)


def _transplant_chroma(stylized: Pixels, content: Pixels) -> Pixels:
    # Cb and Cr are multiples of B - Y' and R - Y', so keeping them is keeping the differences to luma: no conversion
    # to Y'CbCr and back, and one rounding at the end.
    target = luma(stylized)[..., None]
    difference = content - luma(content)[..., None]
    room = np.where(difference > 0, 255 - target, target)
    scale = np.min(room / np.maximum(np.abs(difference), 1e-3), axis=-1, keepdims=True)
    result: npt.NDArray[np.float32] = np.clip(target + np.minimum(scale, 1) * difference, 0, 255)
    return np.rint(result).astype(np.uint8)
