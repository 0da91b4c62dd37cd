"""Ctrl-C as a request: long work ends at a place where what is done can be kept."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any


class StopRequest:
    """Turns signals, while the context lasts, into a request to stop; Ctrl-C once more ends the run at once.

    So nothing is raised in the middle of what computes. Outside the main thread, where Python lets no signal be
    handled, nobody is ever asked.

    Args:
        numbers: which signals.

    Attributes:
        asked: whether one of them came.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self.asked = False
        self._asked_at = float("inf")
        self._numbers = numbers
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._ask) for number in self._numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        # Launchers of several processes hand on what the terminal has sent to each already: that is no second Ctrl-C.
        if number == signal.SIGINT and time.monotonic() - self._asked_at > 1:
            raise KeyboardInterrupt
        self._asked_at = min(self._asked_at, time.monotonic())
        self.asked = True
