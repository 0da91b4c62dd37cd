"""The web page."""

from __future__ import annotations

from fastapi import FastAPI

from impasto.app.studio import Studio


def mount(app: FastAPI, studio: Studio) -> None:
    """Puts the page on the application."""
