"""The files of visits to the page: one folder of the server's own, and no other."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from impasto.app.studio import encoded
from impasto.image import ENDINGS


class Visits:
    """A temporary folder, which its user alone may read; Gradio puts uploads there, and serves files from there."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="impasto-")).resolve()
        os.environ["GRADIO_TEMP_DIR"] = str(self.folder)

    def close(self) -> None:
        """Removes it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def place(self, name: str) -> Path:
        """A new path of that name, which nobody can guess."""
        folder = self.folder / secrets.token_hex(16)
        folder.mkdir()
        return folder / name

    def keep(self, image: Image.Image, photo: Path | None = None) -> str:
        """Writes a picture; one to download in the photo's format, with a name after it."""
        file = self.folder / f"{secrets.token_hex(16)}.jpg"
        if photo is not None:
            ending = photo.suffix[1:].lower()
            file = self.place(f"{photo.stem}-painted.{ending if ending in ENDINGS and ending != 'gif' else 'png'}")
        file.write_bytes(encoded(image, file.suffix[1:]))
        return str(file)

    def check(self, sent: Any) -> None:
        """Refuses what a browser sent if it names a file anywhere else, or an address to fetch one from."""
        for path in _paths(sent):
            if not Path(path).resolve().is_relative_to(self.folder):
                raise gr.Error("That file was not uploaded here.", print_exception=False)


def _paths(sent: Any) -> Iterator[str]:
    """Everything in nested lists and objects that is called a path."""
    if isinstance(sent, dict):
        if "path" in sent:
            yield str(sent["path"] or "")
        for value in sent.values():
            yield from _paths(value)
    elif isinstance(sent, list | tuple):
        for value in sent:
            yield from _paths(value)


class Page(gr.Blocks):
    """Blocks that take no file but those of visits. Gradio checks that itself only where it runs the server."""

    visits: Visits

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *rest: Any, **more: Any) -> Any:
        """See :meth:`gradio.Blocks.preprocess_data`."""
        self.visits.check(inputs)
        return await super().preprocess_data(block_fn, inputs, *rest, **more)
