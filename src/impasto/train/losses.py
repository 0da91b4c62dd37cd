"""The style losses by name, where documents of earlier versions have them; their home is :mod:`impasto.losses`."""

from impasto.losses import STYLE_LOSSES

__all__ = ["STYLE_LOSSES"]
