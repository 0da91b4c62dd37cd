"""Follows people through the frames of a clip, so that what is kept of them does not flicker."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from impasto.image import Pixels
from impasto.people import People, find_people
from impasto.video.flow import Motion, enlarge, positions

_NEW = 0.3  # share of what is found in a frame; the rest is what was found before


class PeopleTrack:
    """People or faces over a shot: a running mean of what is found in its frames, which moves along with them.

    What is found in single frames flickers at the edges, and is lost now and then.
    """

    def __init__(self) -> None:
        self._found: npt.NDArray[np.float32] | None = None

    def follow(self, frame: Pixels, keep: People, motion: Motion | None = None) -> npt.NDArray[np.float32]:
        """Finds them in the next frame.

        Args:
            frame: uint8 [H, W, 3], all of one size.
            keep: what to look for.
            motion: since the frame before, of a frame of any size; None where nothing moves.

        Returns:
            float32 [H, W] in 0..1.
        """
        found, before = find_people(frame, keep, thorough=False), self._found
        if before is not None:
            if motion is not None:
                there = positions(enlarge(motion, *found.shape).flow)
                moved = cv2.remap(before, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
                before = np.asarray(moved, np.float32)
            found = before + np.float32(_NEW) * (found - before)
        self._found = found
        return found
