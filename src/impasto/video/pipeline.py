"""Does work in threads ahead of and behind the one that paints, with little in between."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")
#: Frames that wait between two threads at most.
DEPTH = 4
_WAIT = 0.1  # seconds between looks whether the other side has gone


def make_ahead(items: Iterable[T], depth: int = DEPTH) -> Generator[T, None, None]:
    """Makes `items` in a thread of its own, at most `depth` in advance, and hands them on. Errors come through."""
    waiting: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(depth)
    gone = threading.Event()

    def offer(item: tuple[T] | BaseException | None) -> bool:
        while not gone.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=_WAIT)
                return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not offer((item,)):
                    return
            offer(None)
        except BaseException as error:  # raised again below, in the thread that reads
            offer(error)

    thread = threading.Thread(target=work, name="decode", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        gone.set()
        thread.join()


class BackgroundWorker(Generic[T]):
    """Does work in a thread of its own, at most `depth` pieces late; a context manager.

    Args:
        work: what to do with each item that is given to :meth:`put`.
        depth: how many may wait.
    """

    def __init__(self, work: Callable[[T], None], depth: int = DEPTH) -> None:
        self._work = work
        self._waiting: queue.Queue[tuple[T] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="encode", daemon=True)

    def put(self, item: T) -> None:
        """Hands over a piece of work; raises what earlier work raised."""
        if self._error is not None:
            raise self._error
        self._waiting.put((item,))

    def __enter__(self) -> BackgroundWorker[T]:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._waiting.put(None)
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._error is None:  # after an error the queue is only emptied, so that nobody waits for room
                try:
                    self._work(item[0])
                except BaseException as error:  # raised again in the thread that gives the work
                    self._error = error
