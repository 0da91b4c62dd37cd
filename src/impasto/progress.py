"""Shows progress with a rate and the time left: by a bar on a terminal, by a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
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
    with meter(label, total) as show:
        for done, item in enumerate(items, 1):
            yield item
            show(done, total)


@contextlib.contextmanager
def meter(label: str | Callable[[], str], total: int | None = None) -> Iterator[Callable[[int, int | None], None]]:
    """Shows the progress of work that is no sequence: gives a function to call with (done, total) after each piece.

    What was done before the first call does not count for the rate. A total of None is not known.
    """
    told = partial(str, label) if isinstance(label, str) else label
    with _bar(told, total) if sys.stderr.isatty() else contextlib.nullcontext(_lines(told)) as show:
        start, first = time.monotonic(), None

        def tell(done: int, total: int | None) -> None:
            nonlocal first
            first = done - 1 if first is None else first
            show(done, total, done - first, time.monotonic() - start)

        yield tell


#: (done, total, how many of them in the seconds that follow, seconds)
_Show = Callable[[int, "int | None", int, float], None]


def _lines(label: Callable[[], str]) -> _Show:
    shown = 0.0

    def show(done: int, total: int | None, since: int, seconds: float) -> None:
        nonlocal shown
        if seconds - shown >= _PLAIN_EVERY:
            shown = seconds
            of = "" if total is None else f"/{total}"
            print(
                f"{label()}: {done}{of}, {pace(since, _total_since(done, total, since), seconds)}",
                file=sys.stderr,
                flush=True,
            )

    return show


@contextlib.contextmanager
def _bar(label: Callable[[], str], total: int | None) -> Iterator[_Show]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"))
    console = Console(stderr=True)
    # Where stdout goes to a file, what is printed there must stay there.
    redirect = sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, redirect_stdout=redirect) as progress:
        bar = progress.add_task(label(), total=total, pace="")

        def show(done: int, total: int | None, since: int, seconds: float) -> None:
            text = pace(since, _total_since(done, total, since), seconds)
            progress.update(bar, completed=done, total=total, pace=text, description=label())

        yield show


def _total_since(done: int, total: int | None, since: int) -> int | None:
    """Counts the total from where `since` began to count."""
    return None if total is None else total - done + since


def pace(done: int, total: int | None, seconds: float) -> str:
    """Writes rate and time left as text, e.g. ``12.3/s, 0:04:10 left``; the rate alone if the total is not known."""
    rate = done / max(seconds, 1e-9)
    if total is None:
        return f"{rate:.2f}/s"
    left = round((total - done) / max(rate, 1e-9))
    return f"{rate:.2f}/s, {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
