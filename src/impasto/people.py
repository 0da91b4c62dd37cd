"""Finds people and faces in a picture, so that less can be painted there.

Two small networks of MediaPipe look at it: BlazeFace (Bazarevsky et al., 2019), in its version for faces up to five
metres away, and the segmentation of selfies. The latter takes cats and cups for people, too, so it is heeded only where
the first has found a face; and it knows people who fill the picture, so it also looks at what surrounds each face
alone. Who turns away from the camera is therefore not found. ``weights/people`` says where the networks come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from impasto.image import Pixels, limit_long_side

#: Long side in pixels at which people are looked for.
LOOK_AT = 1024
#: What can be found.
People = Literal["person", "face"]

_WEIGHTS = Path(__file__).parent / "weights" / "people"
_FACE_SIDE, _CELLS, _PERSON_SIDE = 192, 48, 256  # what the networks take, and for how many places the first answers
_SURE = 0.6  # score from which on a face counts, as in MediaPipe
_SAME = 0.3  # intersection over union from which on two faces are one
_HEADS = 8  # sides of its face that a figure is high
_FADE = 0.1  # share of a view over which it fades out where the picture goes on


class Face(NamedTuple):
    """Where a face is, from the brows to the chin: its centre and size in pixels, and how sure that is, 0..1."""

    x: float
    y: float
    width: float
    height: float
    score: float


class _View(NamedTuple):
    """A square part of a picture: its first column and row, which may lie outside, and its side."""

    left: int
    top: int
    side: int

    def cut(self, pixels: Pixels) -> Pixels:
        """Cuts it out; what lies outside is black."""
        return np.asarray(
            Image.fromarray(pixels).crop((self.left, self.top, self.left + self.side, self.top + self.side))
        )


def find_people(pixels: Pixels, what: People, thorough: bool = True) -> npt.NDArray[np.float32]:
    """Finds how far each pixel belongs to a person, or to a face.

    Args:
        pixels: uint8 [H, W, 3], sRGB, upright.
        what: to look for.
        thorough: look for small faces, too: down to a fortieth of the long side, else to a twentieth.

    Returns:
        float32 [H, W] in 0..1, soft at the edges; 0 all over where no face is found.

    >>> find_people(np.full((64, 80, 3), 128, np.uint8), "face").max()
    0.0
    """
    small = limit_long_side(pixels, LOOK_AT)
    faces = find_faces(small, thorough)
    found = np.zeros(small.shape[:2], np.float32)
    whole = _segment(small) if faces else found
    for face in faces:
        figure = np.maximum(whole, _find_figure(small, face))
        found = np.maximum(found, figure if what == "person" else _draw_face(face, figure))
    size = pixels.shape[1], pixels.shape[0]
    return np.asarray(Image.fromarray(found).resize(size, Image.Resampling.BILINEAR)).clip(0, 1)


def find_faces(pixels: Pixels, thorough: bool = True) -> list[Face]:
    """Finds the faces in a picture, uint8 [H, W, 3], the surest first; `thorough` as for :func:`find_people`."""
    height, width = pixels.shape[:2]
    views = [_View(0, 0, max(height, width))]
    if thorough:
        side = max(1, -(-max(height, width) // 2))
        views += [_View(left, top, side) for top in _steps(height, side) for left in _steps(width, side)]
    faces: list[Face] = []
    for face in sorted((face for view in views for face in _detect(pixels, view)), key=lambda face: -face.score):
        if all(_overlap(face, other) < _SAME for other in faces):
            faces.append(face)
    return faces


def _steps(length: int, side: int) -> list[int]:
    """Where views begin along a side, each half a view from the next."""
    return [*range(0, max(1, length - side), max(1, side // 2)), max(0, length - side)]


def _detect(pixels: Pixels, view: _View) -> Iterator[Face]:
    """Finds the faces in a view."""
    image = Image.fromarray(view.cut(pixels)).resize(
        (_FACE_SIDE, _FACE_SIDE), Image.Resampling.BILINEAR, reducing_gap=2
    )
    inputs = (np.asarray(image, np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
    boxes, scores = _open("face").run(["boxes", "scores"], {"image": inputs})
    scale = view.side / _FACE_SIDE
    for cell in np.flatnonzero(scores[0, :, 0] >= np.log(_SURE / (1 - _SURE))):
        row, column = divmod(int(cell), _CELLS)
        x, y, width, height = boxes[0, cell, :4].tolist()  # from the middle of the cell
        x += (column + 0.5) * _FACE_SIDE / _CELLS
        y += (row + 0.5) * _FACE_SIDE / _CELLS
        score = float(1 / (1 + np.exp(-scores[0, cell, 0])))
        yield Face(view.left + x * scale, view.top + y * scale, width * scale, height * scale, score)


def _overlap(one: Face, other: Face) -> float:
    """Intersection over union of two faces."""
    width = min(one.x + one.width / 2, other.x + other.width / 2) - max(
        one.x - one.width / 2, other.x - other.width / 2
    )
    height = min(one.y + one.height / 2, other.y + other.height / 2) - max(
        one.y - one.height / 2, other.y - other.height / 2
    )
    shared = max(0.0, width) * max(0.0, height)
    return shared / (one.width * one.height + other.width * other.height - shared)


def _draw_face(face: Face, figure: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Draws the ellipse of a face from the hair to under the chin, fading out: float32 [H, W].

    Only what belongs to the `figure`, float32 [H, W], counts, so that there is no halo, unless that misses the face.
    """
    y, x = np.ogrid[: figure.shape[0], : figure.shape[1]]
    across, down = (x - face.x) / (0.85 * face.width), (y - face.y + 0.1 * face.height) / (1.05 * face.height)
    inside = np.clip(2.5 * (1 - np.hypot(across, down)), 0, 1)  # full up to three fifths of the radius
    ellipse = np.asarray(inside * inside * (3 - 2 * inside), np.float32)
    is_seen = (ellipse * figure).sum() > 0.5 * ellipse.sum()
    return ellipse * figure if is_seen else ellipse


def _find_figure(pixels: Pixels, face: Face) -> npt.NDArray[np.float32]:
    """Finds the person that a face belongs to by a look at its surroundings: float32 [H, W]; 0 where they are all."""
    height, width = pixels.shape[:2]
    side = round(_HEADS * max(face.width, face.height))
    found = np.zeros((height, width), np.float32)
    if side >= max(height, width):
        return found
    top = min(max(0, round(face.y - 1.5 * face.height)), max(0, height - side))
    left = min(max(0, round(face.x - side / 2)), max(0, width - side))
    rows, columns = slice(top, min(height, top + side)), slice(left, min(width, left + side))
    fades = np.ix_(_fade(rows, height), _fade(columns, width))
    found[rows, columns] = _segment(pixels[rows, columns]) * np.minimum(*fades)
    return found


def _fade(span: slice, length: int) -> npt.NDArray[np.float32]:
    """Weights of a stretch of a side: 1, and going down to 0 at the ends that are not the side's own."""
    count = span.stop - span.start
    ramp = np.arange(1, count + 1) / max(1, _FADE * count)
    ones = np.ones(count)
    weights = np.minimum(ramp if span.start else ones, ramp[::-1] if span.stop < length else ones)
    return np.minimum(weights, 1).astype(np.float32)


def _segment(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Tells people from what is behind them: float32 [H, W] in 0..1."""
    size = _PERSON_SIDE, _PERSON_SIDE
    image = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
    inputs = (np.asarray(image, np.float32) / 255).transpose(2, 0, 1)[None]
    [mask] = _open("person").run(["mask"], {"image": inputs})
    soft = Image.fromarray(mask[0, 0]).reduce(2)
    return np.asarray(soft.resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.BILINEAR))


@cache
def _open(name: str) -> Any:
    from impasto.session import open_session  # here: most pictures are painted without

    return open_session(_WEIGHTS / f"{name}.onnx", f"the network that finds a {name}")
