"""Any picture in any style, at once.

import impasto
model = impasto.load()
impasto.write_image("painted.jpg", model.stylize("photo.jpg", "painting.jpg"))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from impasto import telemetry

telemetry.switch_off()

if TYPE_CHECKING:
    from impasto.errors import ImpastoError
    from impasto.image import read_image, write_image
    from impasto.loader import load
    from impasto.style import Style, blend
    from impasto.stylizer import Stylizer

__version__ = "0.1.0"
__all__ = ["ImpastoError", "Style", "Stylizer", "blend", "load", "read_image", "write_image"]

_HOMES = {
    "ImpastoError": "errors",
    "Style": "style",
    "Stylizer": "stylizer",
    "blend": "style",
    "load": "loader",
    "read_image": "image",
    "write_image": "image",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `import impasto` and `impasto --version` are instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'impasto' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"impasto.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
