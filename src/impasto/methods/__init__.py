"""Systems that optimise or match while they paint: no training, any style, seconds to minutes a picture.

Each is a :class:`impasto.stylizer.Stylizer` whose styles are the pictures themselves, and whose options are the fields
of a dataclass. They need PyTorch and VGG-19.
"""

from __future__ import annotations

import importlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from impasto.errors import ImpastoError

if TYPE_CHECKING:
    from impasto.stylizer import Stylizer

#: Module and class of each method.
METHODS = {
    "gatys": ("gatys", "Gatys"),
    "mrf": ("mrf", "MRF"),
    "style-swap": ("swap", "StyleSwap"),
}


def open_method(name: str, threads: int | None, options: dict[str, Any]) -> Stylizer:
    """A method by its name in `METHODS`.

    Args:
        threads: processor threads; None leaves one for each physical core.
        options: fields of the method's `Options`.
    """
    module, kind = METHODS[name]
    method = getattr(importlib.import_module(f"impasto.methods.{module}"), kind)
    known = [field.name for field in fields(method.Options)]
    if unknown := [option for option in options if option not in known]:
        raise ImpastoError(f"{name} has no option {unknown[0]}: it has {', '.join(known)}")
    stylizer: Stylizer = method(method.Options(**options), threads)
    return stylizer
