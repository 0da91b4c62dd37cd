"""How what is exported gets to its place: complete, and over nothing but an older export."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from impasto.errors import ImpastoError
from impasto.files import reason

#: What lies in a folder that was exported, a model or a Core ML package: no other is ever replaced.
_MARKS = ("card.json", "Manifest.json")
#: Notes that people keep beside a model, like TRAINING.md: they go over to the new one.
_NOTES = ("*.md", "*.csv")


@contextlib.contextmanager
def make_beside(path: Path) -> Iterator[Path]:
    """Gives a path of the same name in a temporary folder; all that lies there moves to its place in the end.

    Raises:
        ImpastoError: it cannot be written; or, before anything is made, the path is a folder that no export has made.
    """
    try:
        if path.is_dir() and any(path.iterdir()) and not any((path / mark).is_file() for mark in _MARKS):
            raise ImpastoError(f"{path} holds something other than a model: name a new folder, or an empty one")
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-", ignore_cleanup_errors=True) as folder:
            yield Path(folder) / path.name
            for made in sorted(Path(folder).iterdir()):
                _put(made, path.with_name(made.name))
    except OSError as error:
        raise ImpastoError(f"cannot write {path}: {reason(error, os.fspath(path))}") from None


def _put(made: Path, target: Path) -> None:
    """Moves a file or folder to its place; a folder that is there goes aside first: one of the two always is whole."""
    aside = made.with_name(".before")
    if made.is_dir() and target.is_dir():
        for note in (file for pattern in _NOTES for file in target.glob(pattern) if file.is_file()):
            shutil.copy(note, made)
        os.replace(target, aside)
    try:
        os.replace(made, target)
    except BaseException:
        if aside.exists():
            os.replace(aside, target)
        raise
