"""What a user may get wrong, found out before the work begins and said in a line."""

from __future__ import annotations

import difflib
import math
import numbers
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from impasto.errors import ImpastoError
from impasto.files import reason

#: Side in pixels below which reflection padding at an eighth of the size has no room, in our networks and in VGG-19.
SMALLEST = 16

T = TypeVar("T")


def plain(value: Any) -> Any:
    """Makes a number of NumPy, or an array [] of one, Python's own; all else stays what it is.

    >>> import numpy as np
    >>> plain(np.int64(3)), plain(np.array(0.5)), plain("3")
    (3, 0.5, '3')
    """
    numpy = sys.modules.get("numpy")  # it takes a while to import, and until it is there are no numbers of it
    if numpy is None or not isinstance(value, numpy.generic | numpy.ndarray) or value.ndim:
        return value
    return value.item()


def make_plain(record: Any) -> None:
    """Makes the numbers in the fields of a dataclass, frozen or not, Python's own, those in plain tuples too."""
    for field in fields(record):
        value = getattr(record, field.name)
        value = tuple(map(plain, value)) if type(value) is tuple else plain(value)
        object.__setattr__(record, field.name, value)


def one_for_each(option: str, values: Sequence[T], count: int) -> Sequence[T | None]:
    """Gives each of so many styles its value of an option that was given once for all of them, or for each, or not."""
    if len(values) not in (0, 1, count):
        raise ImpastoError(f"{len(values)} times {option} for {count} styles: give it once for all, or for each")
    return values if len(values) == count else [values[0] if values else None] * count


def is_number(value: object) -> bool:
    """Tells whether something is a real number: neither True or False nor NaN."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value)


def is_whole(value: object) -> bool:
    """Tells whether something is a whole number, neither True nor False."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def read_whole(lowest: float, highest: float = math.inf, **option: Any) -> int:
    """Gives the one option that is named, a whole number of Python or NumPy, as an int; else raises `ImpastoError`."""
    [(name, value)] = option.items()
    whole = plain(value)
    if not is_whole(whole):
        raise ImpastoError(f"{name} must be a whole number, not {value}")
    require_between(lowest, highest, **{name: whole})
    return int(whole)


def require_at_least(lowest: float, **options: float) -> None:
    """Raises `ImpastoError` for the first option that is below, infinite or not a number."""
    for name, value in options.items():
        if not is_number(plain(value)) or not lowest <= value < math.inf:
            raise ImpastoError(f"{name} must be {show(lowest)} or more, not {show(value)}")


def require_between(lowest: float, highest: float, **options: float) -> None:
    """Raises `ImpastoError` for the first option that is below, above or not a number."""
    for name, value in options.items():
        if not is_number(plain(value)) or not lowest <= value <= highest:
            limits = f"{show(lowest)} or more" if highest == math.inf else f"from {show(lowest)} to {show(highest)}"
            raise ImpastoError(f"{name} must be {limits}, not {show(value)}")


def show(value: object) -> str:
    """Writes a number as people do, anything else as it is."""
    return f"{value:.10g}" if isinstance(value, float) else f"{value}"


def suggest(name: str, known: Iterable[str]) -> str:
    """Asks whether one of the known names was meant: those that it is a part of, else the one it is nearest to.

    >>> suggest("monet", ["monet-poppies", "klimt-kiss", "monet-haystacks"])
    'did you mean monet-poppies or monet-haystacks?'
    >>> suggest("klimt-kis", ["klimt-kiss"]), suggest("cat", ["klimt-kiss"])
    ('did you mean klimt-kiss?', '')
    """
    known = list(known)
    parts = set(name.lower().split("-"))
    near = [one for one in known if parts <= set(one.split("-"))] or difflib.get_close_matches(name, known, n=1)
    return f"did you mean {' or '.join(near)}?" if near else ""


def make_folder(folder: Path) -> None:
    """Makes a folder where there is none."""
    require_no_file(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImpastoError(f"cannot make the folder {folder}: {reason(error, os.fspath(folder))}") from None


def require_no_file(folder: Path) -> None:
    """Raises `ImpastoError` where a file stands in the place of a folder."""
    if folder.is_file():
        raise ImpastoError(f"{folder} is a file: name a folder")
