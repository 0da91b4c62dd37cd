"""Chooses which frames of a clip are painted, and when they are shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

from impasto.video.clip import Frame


def add_durations(frames: Iterable[Frame], usual: int) -> Iterator[Frame]:
    """Gives frames durations: each lasts until the next, the last one as long as its file says, or `usual`."""
    before: Frame | None = None
    for frame in frames:
        if before is not None:
            yield replace(before, duration=frame.pts - before.pts)
        before = frame
    if before is not None:
        yield before if before.duration > 0 else replace(before, duration=usual)


def cut(frames: Iterable[Frame], start: Fraction, end: Fraction | None, time_base: Fraction) -> Iterator[Frame]:
    """Cuts frames to what is seen from `start` to `end`, in seconds, and counts time stamps from `start`.

    A frame that is on show at `start` begins there, and one that is at `end` ends there.
    """
    for frame in frames:
        stop = frame.time + frame.duration * time_base
        if end is not None and frame.time >= end:
            return
        if stop > start:
            first = round((max(frame.time, start) - start) / time_base)
            last = round(((stop if end is None else min(stop, end)) - start) / time_base)
            if last > first:
                yield replace(frame, pts=first, duration=last - first)


def change_rate(frames: Iterable[Frame], rate: Fraction, start: Fraction, time_base: Fraction) -> Iterator[Frame]:
    """Picks the frame on show at each tick of a steady rate, its new time stamp: some several times, some never."""
    for frame in frames:
        first = math.ceil(frame.pts * time_base * rate)
        last = math.ceil((frame.pts + frame.duration) * time_base * rate)
        for tick in range(first, last):
            yield replace(frame, pts=tick, duration=1, time=start + tick / rate)
