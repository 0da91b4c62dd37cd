"""A few workers with a short queue in front of them, so that a busy server stays up and says so."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from impasto.errors import ImpastoError

T = TypeVar("T")


class BusyError(ImpastoError):
    """The queue is full.

    Attributes:
        retry_after: seconds after which it is worth asking again.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the server is busy: try again in {retry_after} s")
        self.retry_after = retry_after


class LateError(ImpastoError):
    """Not done within the time limit."""


class Work:
    """Jobs, done in the order they came by a fixed number of threads.

    A network that runs cannot be interrupted. What the time limit does: the caller waits no longer than that; a job
    whose caller has gone is never begun; one that has begun runs to its end, its result is dropped, and until then it
    counts as one of the workers. So however many callers give up, no more than `workers` jobs ever run at a time.

    Args:
        workers: jobs that run at a time.
        waiting: jobs that may wait for a worker; one more is refused.
        timeout: seconds that a caller of `run` waits for its result, the time in the queue included.
        usual: seconds that a job takes, as far as is known before there was one.
    """

    def __init__(self, workers: int = 1, waiting: int = 32, timeout: float = 60.0, usual: float = 1.0) -> None:
        if workers < 1 or waiting < 0 or not timeout > 0:
            raise ImpastoError("workers must be 1 or more, the queue 0 or longer, and the time limit above 0 s")
        self.workers, self.waiting, self.timeout = workers, waiting, timeout
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="impasto-work")
        self._lock = threading.Lock()
        self._unfinished = 0
        self._seconds = usual  # what a job takes, a running mean

    @property
    def depth(self) -> int:
        """Jobs that wait."""
        return max(0, self._unfinished - self.workers)

    @property
    def running(self) -> int:
        """Jobs that run, those whose callers have gone included."""
        return min(self._unfinished, self.workers)

    async def run(self, job: Callable[[], T]) -> T:
        """Does a job in its turn and gives its result.

        Raises:
            BusyError: as many jobs wait as may.
            LateError: the time limit has passed.
        """
        future = self.submit(job)
        try:
            # When time is up, or the caller is cancelled, this cancels the future too: a job that waits is dropped.
            return await asyncio.wait_for(asyncio.wrap_future(future), self.timeout)
        except TimeoutError:
            raise LateError(
                f"not done within {self.timeout:g} s: send something smaller, or try again when there is less to do"
            ) from None

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Puts a job into the queue; a future that is cancelled before its turn drops it.

        Raises:
            BusyError: as many jobs wait as may.
        """
        with self._lock:
            self.check_room()
            self._unfinished += 1
        future = self._pool.submit(self._time_job, job)
        future.add_done_callback(self._note_finished)
        return future

    def check_room(self) -> None:
        """Raises `BusyError` if as many jobs wait as may."""
        if self._unfinished >= self.workers + self.waiting:
            raise BusyError(max(1, math.ceil(self._seconds * self._unfinished / self.workers)))

    def close(self, wait: bool = False) -> None:
        """Begins no further job; waits for those that run if told so."""
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def _time_job(self, job: Callable[[], T]) -> T:
        start = time.monotonic()
        try:
            return job()
        finally:
            self._seconds += 0.2 * (time.monotonic() - start - self._seconds)

    def _note_finished(self, _: Future[T]) -> None:
        with self._lock:
            self._unfinished -= 1
