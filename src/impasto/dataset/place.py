"""Folders, here or anywhere that fsspec reaches: s3://, gs://, file:// and so on."""

from __future__ import annotations

import contextlib
import posixpath
import secrets
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from impasto.errors import ImpastoError
from impasto.files import reason, write_file
from impasto.image import ENDINGS

#: Names that begin so are our own: temporary files and the rows of a run that is not over.
HIDDEN = ".impasto"


class Place:
    """A folder by its path or URL, or a single file in one.

    Args:
        url: what fsspec understands.

    Attributes:
        url: as given.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._system, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ImpastoError(f"cannot reach {url}: {error}") from None
        self._root = str(root).rstrip("/")

    def exists(self) -> bool:
        """Whether there is such a folder or file."""
        return bool(self._system.exists(self._root))

    def find(self, endings: frozenset[str]) -> list[str]:
        """Names, relative to the folder, of all files in it and below that have one of these endings, sorted."""
        try:
            if self._system.isfile(self._root):
                self._root, name = posixpath.split(self._root)
                return [name] if _ending(name) in endings else []
            if not self._system.isdir(self._root):
                raise ImpastoError(f"there is no folder {self.url}")
            names = [path[len(self._root) + 1 :] for path in self._system.find(self._root)]
        except OSError as error:
            raise ImpastoError(f"cannot read {self.url}: {error.strerror or error}") from None
        return sorted(
            name for name in names if _ending(name) in endings and not posixpath.basename(name).startswith(HIDDEN)
        )

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            OSError: it is not there or cannot be read.
        """
        data: bytes = self._system.cat_file(f"{self._root}/{name}")
        return data

    def read_if_there(self, name: str) -> bytes | None:
        """The bytes of a file, None if there is no such file."""
        try:
            return self.read(name)
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Writes a file under a temporary name and moves it to its place; folders are made.

        Raises:
            ImpastoError: it cannot be written.
        """
        path = f"{self._root}/{name}"
        try:
            self._system.makedirs(posixpath.dirname(path), exist_ok=True)
        except OSError as error:
            raise ImpastoError(f"cannot write {path}: {reason(error, path)}") from None
        if isinstance(self._system, LocalFileSystem):
            write_file(path, data)
            return
        temporary = f"{posixpath.dirname(path)}/{HIDDEN}-{secrets.token_hex(8)}.tmp"
        try:
            self._system.pipe_file(temporary, data)
            self._system.mv(temporary, path)
        except Exception as error:  # remote systems raise errors of their own
            with contextlib.suppress(Exception):
                self._system.rm_file(temporary)
            raise ImpastoError(f"cannot write {path}: {str(error) or type(error).__name__}") from None

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._system.rm_file(f"{self._root}/{name}")

    def holds(self, other: Place) -> bool:
        """Whether another folder is this one, or lies in it."""
        mine, its = (Path(place._root).resolve().as_posix() for place in (self, other))
        return type(self._system) is type(other._system) and f"{its}/".startswith(f"{mine}/")


def _ending(name: str) -> str:
    return posixpath.splitext(name)[1].lower().removeprefix(".")


PICTURES = frozenset(ENDINGS)
