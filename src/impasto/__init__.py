"""Any picture in any style, at once."""

__version__ = "0.1.0"
