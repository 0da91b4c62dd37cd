"""Large octaves, tile by tile: in bounded memory and without seams.

What a network makes of a pixel depends on what lies within its reach, and on the content statistics of the picture.
So each tile is run with a halo as wide as the reach, and all tiles with the same statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from impasto.image import Pixels, to_uint8
from impasto.model import Model
from impasto.octaves import Octave

WHOLE = np.ones((1, 1, 1, 1), np.float32)  # the mask of one style for the whole picture
_NOWHERE = 1e-12  # weight of a region in a tile where it is not: its statistics stay defined, though they do not count


class Span(NamedTuple):
    """A stretch of one side of the picture: what a tile shows, and what of it counts."""

    outer: slice
    inner: slice

    @property
    def within(self) -> slice:
        """The stretch that counts, in pixels from the beginning of `outer`."""
        return slice(self.inner.start - self.outer.start, self.inner.stop - self.outer.start)


class Tile(NamedTuple):
    """One of the parts that a picture is cut to."""

    rows: Span
    columns: Span


def cut_side(length: int, window: int, halo: int, stride: int) -> list[Span]:
    """Cuts a side to stretches of up to `window` pixels, whose inner parts cover it once.

    All begin at multiples of `stride`, as the features do, and are of one length but for the last, which may be up to
    a stride shorter: engines prepare themselves for every new size.

    Args:
        length: of the side in pixels.
        window, halo: multiples of `stride`; an inner part keeps `halo` away from where the picture is cut.
        stride: pixels.

    >>> [(span.inner.start, span.inner.stop) for span in cut_side(96, 64, 16, 4)]
    [(0, 48), (48, 96)]
    """
    if length <= window:
        return [Span(slice(0, length), slice(0, length))]
    last = -(-(length - window) // stride) * stride
    starts = [*range(0, last, window - 2 * halo), last]
    cuts = [0, *(start + halo for start in starts[1:]), length]
    return [
        Span(slice(start, min(start + window, length)), slice(*cut))
        for start, cut in zip(starts, pairwise(cuts), strict=True)
    ]


def cut_octave(octave: Octave, model: Model, window: int) -> list[Tile]:
    """Cuts an octave to tiles, row by row, with halos as wide as a model's reach.

    Args:
        octave: what is painted.
        model: what paints it; its card knows reach and strides.
        window: side of a tile with its halo, in pixels.
    """
    stride = max(model.strides)
    halo = -(-model.reach // stride) * stride
    window = max(window // stride * stride, 2 * halo + stride)
    rows, columns = (cut_side(length, window, halo, stride) for length in (octave.height, octave.width))
    return [Tile(*tile) for tile in product(rows, columns)]


def paint_tiles(
    octave: Octave, tiles: list[Tile], run: Callable[[Pixels, np.ndarray], np.ndarray]
) -> Iterator[tuple[Tile, Pixels]]:
    """Paints tiles by a network that `run` gives pixels and mask, [K, 1, h, w]; gives their inner parts."""
    for tile in tiles:
        rows, columns = tile.rows.outer, tile.columns.outer
        regions = octave.regions(rows, columns)
        mask = WHOLE if regions is None else np.maximum(regions, np.float32(_NOWHERE))
        image = run(octave.pixels(rows, columns), mask)
        yield tile, to_uint8(image[:, :, tile.rows.within, tile.columns.within])


def align_mask(mask: np.ndarray, stride: int) -> np.ndarray:
    """Continues a mask [K, 1, h, w] at its far ends to multiples of `stride`, as the features are continued.

    Then its pixels lie under the features in the same way whatever the size, and that of a part of a picture is the
    part of its mask.
    """
    height, width = mask.shape[2:]
    beyond = [(0, 0), (0, 0), (0, -height % stride), (0, -width % stride)]
    return np.pad(mask, beyond, mode="edge") if height % stride or width % stride else mask
