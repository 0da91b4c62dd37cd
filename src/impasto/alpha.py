"""Transparency: pixels count by how much is seen of them.

Which colours lie where nothing is seen is an accident of the program that saved the picture. But a network looks at all
that is within its reach, and its statistics at the whole picture. So before anything looks at a picture, what cannot be
seen in it is continued from what can, and from then on statistics and palettes weigh each pixel by its alpha. Pictures
that look alike are painted alike, and a cut-out is painted as if its ground were not there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from impasto.errors import ImpastoError
from impasto.image import Picture, Pixels, bands
from impasto.octaves import Source, resize, resize_part

#: Alpha below which colours are continued: they hardly show, and files that store alpha with losses do not keep them.
FAINT = 8
#: Weight of what is not seen at all: statistics stay defined, and do not notice.
_FLOOR = 1e-6
_SIDE = 1024  # the longest short side in pixels that colours are continued at: finer ones are never painted
_FAR = np.iinfo(np.int32).max


def has_alpha(picture: Picture) -> bool:
    """Whether a picture is anywhere less than opaque."""
    return picture.alpha is not None and bool(picture.alpha.min() < 255)


def fill(picture: Picture) -> Pixels:
    """Gives the pixels of a picture with colours continued to where they are hardly seen; an opaque one's are its own.

    >>> half = Picture(np.full((1, 4, 3), 90, np.uint8), np.array([[255, 255, 0, 0]], np.uint8))
    >>> half.pixels[0, 2:] = 0, 255, 0
    >>> fill(half)[0].tolist()
    [[90, 90, 90], [90, 90, 90], [90, 90, 90], [90, 90, 90]]
    """
    return Filled.of(picture).everything() if has_alpha(picture) else picture.pixels


def crop_to_visible(picture: Picture, name: str) -> Picture:
    """Cuts out of a picture the smallest rectangle that holds all that is seen; errors call it `name`."""
    if picture.alpha is None or not has_alpha(picture):
        return picture
    seen = picture.alpha >= min(FAINT, max(1, int(picture.alpha.max())))
    if not seen.any():
        raise ImpastoError(f"{name} is wholly transparent: there is nothing in it to take a style from")
    rows, columns = (slice(found[0], found[-1] + 1) for found in (np.flatnonzero(seen.any(side)) for side in (1, 0)))
    return picture.change(lambda pixels: pixels[rows, columns])


def weigh(alpha: Pixels) -> npt.NDArray[np.float32]:
    """Makes of alpha, uint8 [H, W], the mask that weighs pixels in statistics: float32 [1, 1, H, W], above 0."""
    return np.maximum(alpha.astype(np.float32) / 255, np.float32(_FLOOR))[None, None]


def lay_on_white(pixels: Pixels, alpha: Pixels | None) -> Pixels:
    """Shows pixels, uint8 [H, W, 3], on white by their alpha, uint8 [H, W], where there is any."""
    if alpha is None:
        return pixels
    share = alpha[..., None].astype(np.uint16)
    return ((pixels * share + (255 - share) * 255 + 127) // 255).astype(np.uint8)


@dataclass(frozen=True)
class Filled:
    """A picture, a :class:`impasto.octaves.Source` of RGB, whose colours are continued when a part is asked for.

    Attributes:
        picture: [H, W, 4], with alpha.
        ground: its colours as they are continued, of its shape, perhaps smaller.
        below: what has an alpha less than this shows the ground.
    """

    picture: Source
    ground: Pixels
    below: int

    @classmethod
    def of(cls, picture: Picture | Source) -> Filled:
        """Continues the colours of a picture, or of a source [H, W, 4]."""
        if isinstance(picture, Picture):
            assert picture.alpha is not None
            picture = np.dstack([picture.pixels, picture.alpha])
        height, width = picture.shape[:2]
        scale = min(1.0, _SIDE / min(height, width))
        # With its alpha, as Pillow scales it: what is not seen must not run into what is.
        small = resize(picture, (max(1, round(height * scale)), max(1, round(width * scale))))
        below = min(FAINT, max(1, int(small[..., 3].max())))
        return cls(picture, continue_colors(small[..., :3], small[..., 3] >= below), below)

    def invisible(self) -> Filled:
        """The same where nothing at all is seen, and only there."""
        return replace(self, below=1)

    @property
    def shape(self) -> tuple[int, ...]:
        return *self.picture.shape[:2], 3

    def __getitem__(self, part: tuple[slice, slice], /) -> Pixels:
        pixels = self.picture[part]
        colors, hidden = np.ascontiguousarray(pixels[..., :3]), pixels[..., 3] < self.below
        if hidden.any():
            colors[hidden] = resize_part(self.ground, self.shape[:2], *part)[hidden]
        return colors

    def everything(self) -> Pixels:
        """All of it."""
        made = np.empty(self.shape, np.uint8)
        for rows in bands(*self.shape[:2]):
            made[rows] = self[rows, slice(0, self.shape[1])]
        return made


def continue_colors(pixels: Pixels, seen: npt.NDArray[np.bool_]) -> Pixels:
    """Continues what is seen of a picture to the rest of it by mirroring, as it is done at the border of a picture.

    Each pixel looks along its row and its column for the nearest one that is seen, and takes what lies as far behind
    it. A rectangle is continued as ``np.pad`` does it in its mode "symmetric". Where nothing is seen at all the
    picture becomes grey.

    Args:
        pixels: uint8 [H, W, 3].
        seen: [H, W].

    Returns:
        uint8 [H, W, 3].
    """
    if not seen.any():
        return np.full_like(pixels, 128)
    number = np.arange(seen.size, dtype=np.int32).reshape(seen.shape)
    while not seen.all():  # twice at most: then there is a full row or column that all others can see
        nearest, chosen = np.full(seen.shape, _FAR, np.int32), number
        for turns in range(4):
            source, distance = _look_left(np.rot90(seen, turns))
            found = np.take_along_axis(np.rot90(number, turns), source, 1)
            found, distance = np.rot90(found, -turns), np.rot90(distance, -turns)
            chosen = np.where(distance < nearest, found, chosen)
            nearest = np.minimum(distance, nearest)
        pixels, seen = pixels.reshape(-1, 3)[chosen], nearest < _FAR
    return pixels


def _look_left(seen: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Finds the mirror image of each pixel in what is seen to its left: its column, and how far the edge is.

    Behind the edge there is a run of pixels that are seen; what is further away than its length is mirrored again.
    """
    columns = np.arange(seen.shape[1], dtype=np.int32)
    begins = seen.copy()
    begins[:, 1:] &= ~seen[:, :-1]
    edge = np.maximum.accumulate(np.where(seen, columns, np.int32(-1)), axis=1)
    length = edge - np.maximum.accumulate(np.where(begins, columns, np.int32(-1)), axis=1) + 1
    step = (columns - edge - 1) % (2 * length)
    distance = np.where(edge < 0, np.int32(_FAR), columns - edge)
    return edge - np.minimum(step, 2 * length - 1 - step), distance
