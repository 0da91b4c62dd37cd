"""Who does the work of a data set: this process as long as that is the quicker, workers on Ray where those pay."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from impasto.cluster import Pool
from impasto.errors import ImpastoError
from impasto.loader import load
from impasto.stylizer import Stylizer

Item = TypeVar("Item")
Made = TypeVar("Made")
#: What is made of an item with what opens the model; it goes to other processes, in another working folder maybe.
Job = Callable[[Callable[[], Stylizer], Item], Made]

#: Seconds of work from which on workers pay: on two cores this process alone does as much until they have started.
WORTH = 20.0
_TRIAL = 1.0  # seconds of work that tell how much more there is


@dataclass
class Crew:
    """Works through items, which all cost about as much.

    Attributes:
        loading: what :func:`impasto.load` loads the model with, wherever it works.
        workers: how many at a time; 1 is this process, more are workers; None begins in this process and takes as many
            as there is room for when they pay, if Ray starts here.
        threads: processor threads of each.
        address: of a running Ray cluster, whose workers do it all.
        at_once: whether workers pay whatever a beginning would show.
    """

    loading: dict[str, Any]
    workers: int | None = None
    threads: int = 1
    address: str | None = None
    at_once: bool = False

    def __post_init__(self) -> None:
        self._pool: Pool | None = None
        self._stylizer: Stylizer | None = None
        self._began = 0.0
        self._asked_for = self.address is not None or (self.workers or 1) > 1
        room = self.workers or (os.cpu_count() or 1) // self.threads
        self._alone = not self._asked_for and room < 2

    def _open_model(self) -> Stylizer:
        if self._stylizer is None:
            self._stylizer = load(**self.loading)
            self._began = time.monotonic()  # anew, for loading tells nothing of what an item costs
        return self._stylizer

    def work_through(self, job: Job[Item, Made], items: Sequence[Item]) -> Iterator[Made]:
        """Does the job with each item; gives what was made as it comes, workers' in any order.

        Raises:
            ImpastoError: the job raised it, the model cannot be loaded, or there is no room for workers asked for.
        """
        done = 0
        if self._pool is None and not ((self._asked_for or self.at_once) and self._hire()):
            self._began = time.monotonic()
            while done < len(items) and self._pool is None:
                yield job(self._open_model, items[done])
                done += 1
                seconds = time.monotonic() - self._began
                if seconds > _TRIAL and (len(items) - done) * seconds / done > WORTH:
                    self._hire()
        if self._pool is not None and done < len(items):
            from impasto.dataset.workers import work_through

            yield from work_through(job, items[done:], self.loading, self._pool)

    def _hire(self) -> bool:
        """Has workers from now on. Where none was asked for and none can be had, this process goes on alone."""
        if not self._alone:
            try:
                from impasto.dataset.workers import hire

                self._pool = hire(self.workers, self.threads, self.address)
            except ImpastoError:
                if self._asked_for:
                    raise
                self._alone = True
        return not self._alone
