"""Keeps the files of visits to the page in one folder of the server's own, and takes none from any other."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from impasto.app.studio import encode, read_chosen
from impasto.image import ENDINGS, Picture


class Visits:
    """A temporary folder, which its user alone may read; Gradio puts uploads there, and serves files from there.

    What is too old is removed. Gradio does so with the files that it was told of, and never hears of those that were
    made for somebody who had gone, or waited no longer.

    Args:
        kept_for: seconds that a file is kept.
    """

    def __init__(self, kept_for: float) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="impasto-")).resolve()
        os.environ["GRADIO_TEMP_DIR"] = str(self.folder)
        self._kept_for = kept_for
        self._closed = threading.Event()
        threading.Thread(target=self._tidy, name="impasto-tidy", daemon=True).start()

    def close(self) -> None:
        """Removes the folder."""
        self._closed.set()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tidy(self) -> None:
        while not self._closed.wait(min(self._kept_for, 60)):
            with contextlib.suppress(OSError):  # somebody else has removed it
                for entry in self.folder.iterdir():
                    # Of a folder its newest file counts, so that a clip in the making stays.
                    changed = max(path.lstat().st_ctime for path in (entry, *entry.rglob("*")))
                    if time.time() - changed <= self._kept_for:
                        continue
                    if entry.is_dir():
                        shutil.rmtree(entry)
                    else:
                        entry.unlink()

    def new_path(self, name: str) -> Path:
        """Makes a new path of that name, which nobody can guess."""
        folder = self.folder / secrets.token_hex(16)
        folder.mkdir()
        return folder / name

    def keep(self, image: Picture, photo: Path | None = None) -> str:
        """Writes a picture and gives its path; given the photo, in its format and named after it, for download."""
        file = self.folder / f"{secrets.token_hex(16)}.jpg"
        if photo is not None:
            ending = photo.suffix[1:].lower()
            file = self.new_path(f"{photo.stem}-painted.{ending if ending in ENDINGS and ending != 'gif' else 'png'}")
        file.write_bytes(encode(image, file.suffix[1:]))
        return str(file)

    def check(self, sent: Any) -> None:
        """Refuses what a browser sent if it names a file anywhere else, or an address to fetch one from."""
        for path in _find_paths(sent):
            if not Path(path).resolve().is_relative_to(self.folder):
                raise gr.Error("That file was not uploaded here.", print_exception=False)


def _find_paths(sent: Any) -> Iterator[str]:
    """Finds everything in nested lists and objects that is called a path."""
    if isinstance(sent, dict):
        if "path" in sent:
            yield str(sent["path"] or "")
        for value in sent.values():
            yield from _find_paths(value)
    elif isinstance(sent, list | tuple):
        for value in sent:
            yield from _find_paths(value)


class TidyBlocks(gr.Blocks):
    """Gradio blocks that take no file but those of visits; Gradio checks that itself only where it runs the server."""

    visits: Visits

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], state: Any, *rest: Any, **more: Any) -> Any:
        """Checks the inputs, then does what :meth:`gradio.Blocks.preprocess_data` does."""
        self.visits.check(inputs)
        for part in block_fn.inputs:
            if "preprocess" in vars(part):  # our way of reading, which Gradio forgets when it has updated the part
                state[part._id] = part
        try:
            if block_fn.fn is None or len(inputs) != len(block_fn.inputs):
                raise ValueError("the page does not ask for this")
            for part, value in zip(block_fn.inputs, inputs, strict=True):
                _check_value(part, value)
            return await super().preprocess_data(block_fn, inputs, state, *rest, **more)
        except gr.Error:
            raise
        except Exception:  # it comes from the browser, so it may be anything
            raise gr.Error("That is not what this page sends: reload it.", print_exception=False) from None


def _check_value(part: Any, value: Any) -> None:
    """Checks what Gradio hands on as it comes."""
    if isinstance(part, gr.Slider) and not (isinstance(value, int | float) and math.isfinite(value)):
        raise ValueError("a slider has a number")
    if isinstance(part, gr.HTML):
        read_chosen(value)
