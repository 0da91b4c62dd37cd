"""Estimates the motion between two frames, and where it can be relied on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from impasto.image import Pixels

#: The long side in pixels at which motion is looked for: enough for smooth motion, at a small part of a frame's cost.
FLOW_SIZE = 288
_UNEXPLAINED = 24.0  # of 255: luma that motion leaves unexplained halves the trust


class Motion(NamedTuple):
    """The motion from one frame to the next, and how far it can be trusted.

    Attributes:
        flow: float32 [h, w, 2], for each pixel (x, y) of this frame how far away it was in the frame before, in pixels.
        trust: float32 [h, w] in 0..1: 0 where something came into view or the motion is in doubt.
    """

    flow: npt.NDArray[np.float32]
    trust: npt.NDArray[np.float32]


@contextlib.contextmanager
def use_one_thread() -> Iterator[None]:
    """Keeps OpenCV to the threads that call it, where those already have all cores at work: a tenth less time."""
    kept = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(kept)


def to_grey(frame: Pixels, size: int = FLOW_SIZE) -> Pixels:
    """Turns a frame [H, W, 3] into luma, scaled down so that its long side is at most `size`: uint8 [h, w]."""
    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, size / max(luma.shape))
    width, height = (max(16, round(side * scale)) for side in luma.shape[::-1])
    return np.asarray(cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


class FlowEstimator:
    """Estimates motion by dense inverse search (Kroeger et al., ECCV 2016) in both directions. For one thread.

    Args:
        thorough: search to whole pixels and with all that the preset spends, instead of for speed.
    """

    def __init__(self, thorough: bool = False) -> None:
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        if thorough:
            self._search.setFinestScale(0)
        else:  # three quarters of what the preset takes, for a flow that is as good
            self._search.setGradientDescentIterations(16)
            self._search.setPatchStride(4)

    def __call__(self, before: Pixels, now: Pixels) -> Motion:
        """Estimates the motion from one luma picture, uint8 [h, w], to the next."""
        back, forth = self.estimate_both_ways(before, now)
        trust = find_consistent(back, forth)
        # What consistent flow does not explain either: reflections, light that changes, flow that is wrong both ways.
        left = cv2.GaussianBlur(cv2.absdiff(warp(before, back), now).astype(np.float32), (0, 0), 1.5)
        return Motion(back, np.asarray(trust / (1 + (left / _UNEXPLAINED) ** 2), np.float32))

    def estimate_both_ways(
        self, before: Pixels, now: Pixels
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Estimates the flow from now back to before, and from before to now: float32 [h, w, 2] each."""
        back: Any = self._search.calc(now, before, None)  # type: ignore[call-overload]
        forth: Any = self._search.calc(before, now, None)  # type: ignore[call-overload]
        return back, forth


def find_consistent(back: npt.NDArray[np.float32], forth: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Finds where flow back to the frame before and forth again ends where it began: there 1, else 0, float32 [h, w].

    With w the flow back, v the flow forth at the place that w leads to: a pixel has come into view where
    |w + v|^2 > 0.01 (|w|^2 + |v|^2) + 0.5, and is at the edge of something that moves where
    |grad w_x|^2 + |grad w_y|^2 > 0.01 |w|^2 + 0.002 (Sundaram et al., ECCV 2010; Ruder et al., GCPR 2016). What comes
    from outside the frame has come into view as well.

    Args:
        back, forth: float32 [h, w, 2].
    """
    there = positions(back)
    forth = cv2.remap(forth, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    length = _square(back)
    appeared = _square(back + forth) > 0.01 * (length + _square(forth)) + 0.5
    slopes = (cv2.Sobel(back, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    edge = sum(map(_square, slopes)) > 0.01 * length + 0.002
    height, width = length.shape
    x, y = there[..., 0], there[..., 1]
    outside = (np.abs(x - (width - 1) / 2) > width / 2) | (np.abs(y - (height - 1) / 2) > height / 2)
    return np.asarray(~(appeared | edge | outside), np.float32)


def _square(vectors: Any) -> npt.NDArray[np.float32]:
    """Squares the lengths of vectors [h, w, 2]: float32 [h, w]."""
    return np.asarray(vectors[..., 0] ** 2 + vectors[..., 1] ** 2, np.float32)


def positions(flow: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Gives the place (x, y) that each pixel came from: float32 [h, w, 2]."""
    return flow + grid(*flow.shape[:2])


@lru_cache(maxsize=4)
def grid(height: int, width: int) -> npt.NDArray[np.float32]:
    """Gives the place (x, y) of each pixel: float32 [h, w, 2]."""
    return np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), 2)


def warp(picture: Pixels, flow: npt.NDArray[np.float32]) -> Pixels:
    """Moves a picture along a flow of its size (bicubic, which blurs little when it is done again and again)."""
    moved: Any = cv2.remap(picture, positions(flow), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(moved, np.uint8)


def enlarge(motion: Motion, height: int, width: int) -> Motion:
    """Scales motion up to a larger frame of these sides."""
    if motion.trust.shape == (height, width):
        return motion
    scale = np.array([width / motion.trust.shape[1], height / motion.trust.shape[0]], np.float32)
    flow = cv2.resize(motion.flow * scale, (width, height), interpolation=cv2.INTER_LINEAR)
    trust = cv2.resize(motion.trust, (width, height), interpolation=cv2.INTER_LINEAR)
    return Motion(np.asarray(flow, np.float32), np.asarray(trust, np.float32))
