"""Reads masks over the time of a clip: from clips, whose frames move, or from pictures, which stay."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from impasto.image import ENDINGS, Pixels, read_image
from impasto.video.clip import Clip, Frame
from impasto.video.timing import add_durations

#: The path of a clip or a picture, or an array as :meth:`Stylizer.stylize` takes it.
MaskSource = str | os.PathLike[str] | npt.NDArray[Any]


class MaskTrack:
    """One mask over the time of a clip, for one pass through it.

    Args:
        source: a clip, whose frame on show at the same time counts (the last one stays), or what is the same in all
            frames. Files are scaled to the frames.
        height, width: of the frames.
    """

    def __init__(self, source: MaskSource, height: int, width: int) -> None:
        self._size = width, height
        self._frames: Iterator[Frame] = iter(())
        self._stop: Fraction | None = None  # when the mask at hand is over; None if it stays
        if not isinstance(source, (str, os.PathLike)):
            self._mask: npt.NDArray[Any] = source
        elif Path(source).suffix[1:].lower() in ENDINGS.keys() - {"gif"}:
            self._mask = self._scale(np.asarray(read_image(source).to_pil()))
        else:
            clip = Clip(source)
            self._time_base, self._frames = clip.time_base, add_durations(clip.frames(), 1)
            self._advance()

    def at(self, time: Fraction) -> npt.NDArray[Any]:
        """Finds the mask at a time, in seconds since the clip began; times must not go back."""
        while self._stop is not None and time >= self._stop:
            self._advance()
        return self._mask

    def _advance(self) -> None:
        frame = next(self._frames, None)
        if frame is None:
            self._stop = None
            return
        self._mask = self._scale(frame.pixels if frame.alpha is None else np.dstack([frame.pixels, frame.alpha]))
        self._stop = frame.time + frame.duration * self._time_base

    def _scale(self, pixels: Pixels) -> Pixels:
        return np.asarray(Image.fromarray(pixels).resize(self._size, Image.Resampling.BILINEAR))
