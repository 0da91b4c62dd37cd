"""Progress with a rate and the time left: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

T = TypeVar("T")
_PLAIN_EVERY = 10.0  # seconds between lines where there is no terminal


def track(items: Iterable[T], label: str | Callable[[], str], total: int) -> Iterator[T]:
    """Hands on `items`, showing on stderr how many are done, how many a second, and how long the rest will take.

    A label that is a function is asked anew each time something is shown.
    """
    if isinstance(label, str):
        label = partial(str, label)
    if sys.stderr.isatty():
        yield from _track_bar(items, label, total)
        return
    start = shown = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - shown >= _PLAIN_EVERY:
            shown = now
            print(f"{label()}: {done}/{total}, {pace(done, total, now - start)}", file=sys.stderr, flush=True)


def _track_bar(items: Iterable[T], label: Callable[[], str], total: int) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
               TimeRemainingColumn())  # fmt: skip
    start = time.monotonic()
    console = Console(stderr=True)
    # Where stdout goes to a file, what is printed there must stay there.
    redirect = sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, redirect_stdout=redirect) as progress:
        bar = progress.add_task(label(), total=total, rate="")
        for done, item in enumerate(items, 1):
            yield item
            rate = f"{done / max(1e-9, time.monotonic() - start):.1f}/s"
            progress.update(bar, completed=done, rate=rate, description=label())


def pace(done: int, total: int, seconds: float) -> str:
    """Rate and time left as text, e.g. ``12.3/s, 0:04:10 left``."""
    rate = done / max(seconds, 1e-9)
    left = round((total - done) / max(rate, 1e-9))
    return f"{rate:.2f}/s, {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
