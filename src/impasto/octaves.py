"""Painting coarse to fine, so that strokes have a size in the picture and not in pixels.

A network's strokes are so and so many pixels wide, people's pictures are not. So a picture is painted small, where
strokes are bold. The painting is enlarged, the photo's own detail of that octave is put back (a step of the Laplacian
pyramid, Burt and Adelson 1983), and it is painted again, with less strength, for the texture of the finer scale. What
is coarser than that stays as it was first painted, so that the look of a picture is the same at every size::

    P[0] = paint(photo[0])
    x[1] = up(P[0]) + photo[1] - up(photo[0])
    Q[1] = paint(x[1])
    P[1] = up(P[0]) + Q[1] - up(down(Q[1]))

At its full size the photo's own detail alone is put back: paintings beyond would hardly be seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from impasto.checks import SMALLEST
from impasto.color import ColorMap, map_colors
from impasto.image import Pixels, bands, map_bands

#: Short side in pixels that strokes of size 1 are painted at, for pictures that have as much: networks learn them so.
BASE = 512
#: Strength of the second painting, of that of the first: with more, forms get lost in texture.
FINER = 0.3
_LEAST_STEP = 1.5  # what a picture must be of the first octave for a second one: else that would paint nothing new
_READ = 16_000_000  # pixels that are read at a time of a picture that is scaled
#: Pixels of the first octave, which is painted in one piece.
LARGEST_BASE = 8_000_000


def choose_sizes(shape: tuple[int, ...], stroke_size: float = 1.0, once: bool = False) -> list[tuple[int, int]]:
    """Chooses the sizes that a picture is painted at, one after the other.

    Args:
        shape: height and width of the picture, in pixels.
        stroke_size: of the strokes in proportion to the picture: 1 as usual, 2 twice as large, 0.5 half as large.
        once: paint it a single time, for the frames of a clip.

    Returns:
        (height, width) of one octave or two. The last is smaller than the picture where the photo's own detail is to do
        for the rest, and larger where strokes are finer than its pixels allow for.

    >>> choose_sizes((3456, 5184)), choose_sizes((600, 800))
    ([(512, 768), (1024, 1536)], [(512, 683)])
    >>> choose_sizes((512, 512)), choose_sizes((512, 512), 2), choose_sizes((512, 512), 0.5)
    ([(512, 512)], [(256, 256), (512, 512)], [(1024, 1024)])
    """
    height, width = shape
    short = min(shape)
    first = max(min(short, BASE) / stroke_size, min(short, SMALLEST))
    scales = [min(first / short, math.sqrt(LARGEST_BASE / (height * width)))]
    if not once and scales[0] * _LEAST_STEP <= 1:
        scales.append(min(1.0, 2 * scales[0]))
    return [(max(1, round(height * scale)), max(1, round(width * scale))) for scale in scales]


class Source(Protocol):
    """A picture [H, W, 3] of which any part can be had; an array is one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, part: tuple[slice, slice], /) -> Pixels: ...


def recolor(pixels: Pixels, maps: Sequence[ColorMap], mask: np.ndarray | None) -> Pixels:
    """Moves the colours of pixels, uint8 [h, w, 3].

    Args:
        pixels: of a photo or a part of it.
        maps: one for all pixels, or one for each region; none leaves the colours as they are.
        mask: float32 [K, 1, h, w], the regions' weights at each pixel, where there are such.
    """
    if mask is None or len(maps) < 2:
        return map_colors(pixels, *maps[0]) if maps else pixels
    shares = mask[:, 0, :, :, None] / mask.sum(0)[0, :, :, None]
    moved = [share * map_colors(pixels, *one) for share, one in zip(shares, maps, strict=True)]
    return np.asarray(np.rint(np.sum(moved, 0)), np.uint8)


@dataclass(frozen=True)
class Recolored:
    """A picture whose colours are moved when a part of it is asked for, see :func:`recolor`.

    Attributes:
        photo: the picture.
        maps: see :func:`recolor`.
        regions: gives the mask of a part, see :meth:`Octave.regions`.
    """

    photo: Source
    maps: Sequence[ColorMap]
    regions: Callable[[slice, slice], np.ndarray | None]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.photo.shape

    def __getitem__(self, part: tuple[slice, slice], /) -> Pixels:
        return recolor(self.photo[part], self.maps, self.regions(*part) if self.maps else None)


class Painted(NamedTuple):
    """An octave that is painted: the painting, and the photo it was made of, of the same size."""

    painting: Source
    photo: Source


@dataclass(frozen=True)
class Octave:
    """What is painted in one octave, any part of it.

    Attributes:
        photo: the photo at the octave's size.
        coarser: the octave before; None for the first.
        mask: float32 [K, 1, H, W], the regions of the styles; None where they are mixed everywhere.
    """

    photo: Source
    coarser: Painted | None = None
    mask: np.ndarray | None = None

    @property
    def height(self) -> int:
        return int(self.photo.shape[0])

    @property
    def width(self) -> int:
        return int(self.photo.shape[1])

    def pixels(self, rows: slice, columns: slice) -> Pixels:
        """A part of the picture, uint8 [h, w, 3]: x[k], or for the first octave the photo."""
        if self.coarser is None:
            return self.photo[rows, columns]
        size = self.height, self.width
        painting = resize_part(self.coarser.painting, size, rows, columns)
        if self.coarser.photo.shape[0] >= self.height:  # no detail was lost
            return painting
        return add_detail(self.photo[rows, columns], painting, resize_part(self.coarser.photo, size, rows, columns))

    def everything(self) -> Pixels:
        """All of it."""
        made = np.empty((self.height, self.width, 3), np.uint8)
        for rows in bands(self.height, self.width):
            made[rows] = self.pixels(rows, slice(0, self.width))
        return made

    def regions(self, rows: slice, columns: slice) -> np.ndarray | None:
        """That part of the regions, float32 [K, 1, h, w]."""
        return None if self.mask is None else self.mask[:, :, rows, columns]


def add_detail(photo: Pixels, painting: Pixels, blurred: Pixels) -> Pixels:
    """Puts the detail of a photo that was lost when it was made small back into its painting, enlarged likewise.

    All uint8 [h, w, 3].

    >>> add_detail(*(np.full((1, 1, 3), value, np.uint8) for value in (120, 200, 100))).tolist()
    [[[220, 220, 220]]]
    """
    found = painting.astype(np.int16)
    found += photo
    found -= blurred
    return found.clip(0, 255, out=found).astype(np.uint8)


def keep_coarse(finer: Pixels, coarser: Source) -> Pixels:
    """Takes out of a finer painting what it has changed of a coarser one: Q - up(down(Q) - P), uint8 [H, W, 3]."""
    height, width = size = coarser.shape[:2]
    changed = resize(finer, size).astype(np.int16) - coarser[slice(0, height), slice(0, width)]
    # Changes are small, so they are enlarged in eight bits, around the middle.
    enlarged = resize(np.clip(changed + 128, 0, 255).astype(np.uint8), finer.shape[:2])
    return map_bands(lambda q, e: np.clip(q.astype(np.int16) + 128 - e, 0, 255).astype(np.uint8), finer, enlarged)


def resize_part(picture: Source, size: tuple[int, ...], rows: slice, columns: slice) -> Pixels:
    """Makes a part of what a picture is when it is scaled to a size (bicubic, and without aliasing where it shrinks).

    Args:
        picture: [H, W, 3].
        size: (height, width) that all of it is scaled to.
        rows, columns: the part, in pixels of that size.

    Returns:
        uint8 [h, w, 3], what cutting it out afterwards would give, up to rounding.
    """
    if picture.shape[:2] == size:
        return picture[rows, columns]
    (top, bottom, above, below), (left, right, before, behind) = (
        _reach(length, new, span) for length, new, span in zip(picture.shape[:2], size, (rows, columns), strict=True)
    )
    part = Image.fromarray(picture[slice(top, bottom), slice(left, right)])
    shape = columns.stop - columns.start, rows.stop - rows.start
    return np.asarray(part.resize(shape, Image.Resampling.BICUBIC, (before, above, behind, below)))


def _reach(length: int, new: int, span: slice) -> tuple[int, int, float, float]:
    """Which stretch of a side counts for a part of it, and where in that the part begins and ends."""
    step = length / new
    begin, end = span.start * step, span.stop * step
    margin = 2 * max(1.0, step) + 1  # what the cubic kernel reaches
    first, last = max(0, math.floor(begin - margin)), min(length, math.ceil(end + margin))
    return first, last, begin - first, min(end - first, last - first)


def resize(picture: Source, size: tuple[int, ...]) -> Pixels:
    """Scales all of a picture to (height, width), see :func:`resize_part`; reads it by strips."""
    if picture.shape[:2] == size:
        return picture[slice(0, size[0]), slice(0, size[1])]
    height, width = picture.shape[:2]
    step = max(4, round(_READ / width * size[0] / height))
    tops = range(0, size[0], step)
    return np.concatenate(
        [resize_part(picture, size, slice(top, min(top + step, size[0])), slice(0, size[1])) for top in tops]
    )


def shrink(photo: Source, sizes: Sequence[tuple[int, int]]) -> list[Pixels]:
    """Makes a photo [H, W, 3] at each of the sizes, coarse to fine; each smaller one from the next."""
    found: list[Pixels] = []
    for size in reversed(sizes):
        found.append(resize(found[-1] if found and size[0] <= photo.shape[0] else photo, size))
    return found[::-1]
