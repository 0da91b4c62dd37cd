"""Key frames: controls that change over a clip."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from typing import Generic, TypeVar

from impasto.checks import is_number, plain
from impasto.errors import ImpastoError

T = TypeVar("T")


class KeyFrames(Generic[T]):
    """Values at certain times. Between two of them counts a linear mix of both; before the first and after the last
    nothing changes.

    Args:
        keys: values by time, in seconds since the clip began.
    """

    def __init__(self, keys: Mapping[float, T]) -> None:
        if not keys:
            raise ImpastoError("no key frame given")
        keys = {plain(time): plain(value) for time, value in keys.items()}
        if wrong := [time for time in keys if not is_number(time) or not 0 <= time < float("inf")]:
            raise ImpastoError(f"a key frame's time must be a number of seconds, 0 or more, not {wrong[0]}")
        self.times = sorted(keys)
        self.values = [keys[time] for time in self.times]

    def at(self, time: float) -> list[tuple[T, float]]:
        """Finds the values that count at a time, each with its share; the shares sum to 1."""
        after = bisect.bisect_right(self.times, time)
        before = max(0, after - 1)
        if after in (0, len(self.times)) or time == self.times[before]:
            return [(self.values[before], 1.0)]
        share = (time - self.times[before]) / (self.times[after] - self.times[before])
        return [(self.values[before], 1 - share), (self.values[after], share)]


def number_at(value: float | KeyFrames[float], time: float) -> float:
    """Finds what a number that may change over the clip is at a time."""
    if not isinstance(value, KeyFrames):
        return value
    return sum(number * share for number, share in value.at(time))
