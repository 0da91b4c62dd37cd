"""What a user may get wrong, found out before the work begins and said in a line."""

from __future__ import annotations

import math
import os
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
