"""Reads and writes folders and tar shards, here or anywhere that fsspec reaches: s3://, gs://, file:// and so on."""

from __future__ import annotations

import contextlib
import os
import posixpath
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from impasto.errors import ImpastoError
from impasto.files import HIDDEN, is_temporary, reason, temporary_name, write_file
from impasto.image import ENDINGS

#: Endings of pictures.
PICTURES = frozenset(ENDINGS)


@dataclass(frozen=True)
class StoredPicture:
    """One encoded picture where it is stored: in a file of its own, or in a stretch of a tar shard.

    Attributes:
        place, file: the file is in this place.
        name: the picture's own, relative to the place or as the shard has it.
        start, end: of the stretch; None for the whole file.
    """

    place: Place
    file: str
    name: str
    start: int | None = None
    end: int | None = None

    def read(self) -> bytes:
        """Reads its bytes; raises `OSError` if they cannot be read."""
        return self.place.read(self.file, self.start, self.end)


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

    def __str__(self) -> str:
        return self.url

    @property
    def absolute_url(self) -> str:
        """The URL for another process, whose working folder may be another one."""
        return str(self._system.unstrip_protocol(self._root))

    def exists(self) -> bool:
        """Tells whether there is such a folder or file."""
        return bool(self._system.exists(self._root))

    @cached_property
    def _folder(self) -> str:
        """The folder that names are relative to: this one, or that of the single file."""
        return posixpath.dirname(self._root) if self._system.isfile(self._root) else self._root

    def find(self, endings: frozenset[str]) -> list[str]:
        """Finds all files in the folder and below that have one of these endings: names relative to it, sorted."""
        try:
            if self._folder != self._root:
                name = posixpath.basename(self._root)
                return [name] if _ending(name) in endings else []
            if not self._system.isdir(self._root):
                raise ImpastoError(f"there is no folder or file {self.url}")
            names = [path[len(self._root) + 1 :] for path in self._system.find(self._root)]
        except OSError as error:
            raise ImpastoError(f"cannot read {self.url}: {error.strerror or error}") from None
        wanted = [
            name for name in names if _ending(name) in endings and not posixpath.basename(name).startswith(HIDDEN)
        ]
        return sorted(wanted, key=lambda name: name.split("/"))

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """Reads the bytes of a file, or those from `start` to before `end`.

        Raises:
            OSError: it is not there or cannot be read.
        """
        data: bytes = self._system.cat_file(f"{self._folder}/{name}", start=start, end=end)
        return data

    def pictures(self) -> list[StoredPicture]:
        """Lists every picture in the folder and below, those in tar shards included, in a fixed order.

        Raises:
            ImpastoError: there is no such place, it cannot be read, or a shard in it is damaged.
        """
        entries: list[StoredPicture] = []
        for name in self.find(PICTURES | {"tar"}):
            if _ending(name) != "tar":
                entries.append(StoredPicture(self, name, name))
                continue
            try:
                with self._system.open(f"{self._folder}/{name}", "rb") as stream:
                    members = list_tar_members(stream)
            except OSError as error:
                raise ImpastoError(f"cannot read {name} in {self.url}: {error}") from None
            except ImpastoError as error:
                raise ImpastoError(f"{name} in {self.url}: {error}") from None
            entries += [StoredPicture(self, name, *member) for member in members if _ending(member[0]) in PICTURES]
        return entries

    def read_if_there(self, name: str) -> bytes | None:
        """Reads the bytes of a file; gives None if there is no such file."""
        try:
            return self.read(name)
        except (FileNotFoundError, NotADirectoryError):
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
        temporary = f"{posixpath.dirname(path)}/{temporary_name()}"
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

    def sweep(self) -> None:
        """Removes what killed writers have left under temporary names, where it may; nobody may be writing here."""
        with contextlib.suppress(OSError):
            for path in self._system.find(self._root):
                if is_temporary(posixpath.basename(path)):
                    self._system.rm_file(path)

    def holds(self, other: Place) -> bool:
        """Tells whether another folder is this one, or lies in it."""
        mine, its = (Path(place._root).resolve().as_posix() for place in (self, other))
        return type(self._system) is type(other._system) and f"{its}/".startswith(f"{mine}/")


def list_tar_members(stream: IO[bytes]) -> list[tuple[str, int, int]]:
    """Lists name, start and end of every file in an uncompressed tar shard, in its order, and reads no contents.

    Raises:
        ImpastoError: it is something else, or damaged.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            return [(one.name, one.offset_data, one.offset_data + one.size) for one in tar if one.isfile()]
    except tarfile.TarError as error:
        raise ImpastoError(f"not an uncompressed tar file, or a damaged one: {error}") from None


def _ending(name: str) -> str:
    return posixpath.splitext(name)[1].lower().removeprefix(".")


def find_pictures(sources: Sequence[str | os.PathLike[str]]) -> list[StoredPicture]:
    """Finds every picture in folders and in tar shards (as WebDataset has them), here or by URL, in a fixed order."""
    entries = [entry for source in sources for entry in Place(os.fspath(source)).pictures()]
    if not entries:
        raise ImpastoError(
            f"no pictures in {', '.join(map(str, sources))} (looked for {' '.join(sorted(PICTURES))}, and tar shards)"
        )
    return entries
