"""What a user may get wrong, found out before the work begins and said in a line."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable
from pathlib import Path

from impasto.errors import ImpastoError
from impasto.files import reason

#: Side in pixels below which reflection padding at an eighth of the size has no room, in our networks and in VGG-19.
SMALLEST = 16


def require_at_least(lowest: float, **options: float) -> None:
    """Raises `ImpastoError` for the first option that is below, infinite or not a number."""
    for name, value in options.items():
        if not lowest <= value < math.inf:
            raise ImpastoError(f"{name} must be {lowest:.10g} or more, not {value:.10g}")


def require_between(lowest: float, highest: float, **options: float) -> None:
    """Raises `ImpastoError` for the first option that is below, above or not a number."""
    for name, value in options.items():
        if not lowest <= value <= highest:
            limits = f"{lowest:.10g} or more" if highest == math.inf else f"from {lowest:.10g} to {highest:.10g}"
            raise ImpastoError(f"{name} must be {limits}, not {value:.10g}")


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
