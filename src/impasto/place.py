"""Reads and writes folders and tar shards, here or anywhere that fsspec reaches: s3://, gs://, file:// and so on."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import IO

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from impasto.errors import ImpastoError, UnreadableError
from impasto.files import HIDDEN, explain_write, is_special, is_temporary, refuses_name, temporary_name, write_file
from impasto.image import ENDINGS

#: Endings of pictures.
PICTURES = frozenset(ENDINGS)
_SHARD = re.compile(r"\.(tar|tar\.(gz|bz2|xz|zst|lz4)|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)


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
        """Reads its bytes; raises `UnreadableError` if they cannot be read."""
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
        except Exception as error:  # remote systems raise errors of their own
            raise ImpastoError(f"cannot reach {url}: {_reason(error)}") from None
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

    @property
    def is_private(self) -> bool:
        """Whether no other process can see what is in it."""
        return isinstance(self._system, MemoryFileSystem)

    def find(self, endings: frozenset[str]) -> list[str]:
        """Finds all files in the folder and below that have one of these endings: names relative to it, sorted.

        "tar" stands for tar shards, compressed ones too. Links are followed, those to folders too: what has two names
        is found by both; but no link is followed to a folder that the link itself lies in. What cannot be looked into,
        like a folder without permission or a link to nothing, stands among the files, and reading it says why.

        Raises:
            ImpastoError: there is no such place, or it cannot be read.
        """
        try:
            if self._folder != self._root:
                name = posixpath.basename(self._root)
                return [name] if _ending(name) in endings else []
            if not self._system.isdir(self._root):
                there = self._system.exists(self._root)
                raise ImpastoError(
                    f"{self.url} is no file but a pipe or a device: name a folder, a picture or a tar shard"
                    if there
                    else f"there is no folder or file {self.url}"
                )
            if isinstance(self._system, LocalFileSystem):
                found = _find_local(self._root, endings)
            else:
                paths = (path[len(self._root) :].lstrip("/") for path in self._system.find(self._root))
                found = {name for name in paths if _ending(name) in endings}
        except ImpastoError:
            raise
        except Exception as error:  # remote systems raise errors of their own
            raise ImpastoError(f"cannot read {self.url}: {_reason(error)}") from None
        wanted = [name for name in found if not posixpath.basename(name).startswith(HIDDEN)]
        return sorted(wanted, key=lambda name: name.split("/"))

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """Reads the bytes of a file, or those from `start` to before `end`.

        Raises:
            UnreadableError: it is not there, no file, or cannot be read.
        """
        try:
            return self._read(name, start, end)
        except Exception as error:  # remote systems raise errors of their own
            raise UnreadableError(f"cannot read the file: {_reason(error)}") from None

    def _read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        data: bytes = self._system.cat_file(self._require_file(name), start=start, end=end)
        return data

    def _require_file(self, name: str) -> str:
        """Gives the path of a file; raises `OSError` for a pipe, where reading would wait, a socket or a device."""
        path = f"{self._folder}/{name}"
        if isinstance(self._system, LocalFileSystem) and is_special(path):
            raise OSError(errno.EINVAL, "it is a pipe, a socket or a device")
        return path

    def pictures(self) -> list[StoredPicture]:
        """Lists every picture in the folder and below, those in tar shards included, in a fixed order.

        Of a sample in a shard these are its photos, see :func:`find_photos`.

        Raises:
            ImpastoError: there is no such place, it cannot be read, or a shard in it is damaged.
        """
        entries: list[StoredPicture] = []
        for name in self.find(PICTURES | {"tar"}):
            if not is_shard(name):
                entries.append(StoredPicture(self, name, name))
                continue
            try:
                with self._system.open(self._require_file(name), "rb") as stream:
                    members = {member: (start, end) for member, start, end in list_tar_members(stream)}
            except Exception as error:  # remote systems raise errors of their own
                raise ImpastoError(f"cannot read {name} in {self.url}: {_reason(error)}") from None
            entries += [StoredPicture(self, name, member, *members[member]) for member in find_photos(members)]
        return entries

    def read_if_there(self, name: str) -> bytes | None:
        """Reads the bytes of a file; gives None if there is no such file, nor can be.

        Raises:
            UnreadableError: it is there and cannot be read.
        """
        try:
            return self._read(name)
        except FileNotFoundError:
            return None
        except Exception as error:
            if refuses_name(error):
                return None
            raise UnreadableError(f"cannot read {self._root}/{name}: {_reason(error)}") from None

    def write(self, name: str, data: bytes) -> None:
        """Writes a file under a temporary name and moves it to its place; folders are made.

        Raises:
            UnusableNameError: no file can be called so there.
            ImpastoError: it cannot be written.
        """
        path = f"{self._root}/{name}"
        try:
            self._system.makedirs(posixpath.dirname(path), exist_ok=True)
        except Exception as error:  # remote systems raise errors of their own
            raise explain_write(error, path) from None
        if isinstance(self._system, LocalFileSystem):
            write_file(path, data)
            return
        temporary = f"{posixpath.dirname(path)}/{temporary_name()}"
        try:
            self._system.pipe_file(temporary, data)
            self._system.mv(temporary, path)
        except Exception as error:
            with contextlib.suppress(Exception):
                self._system.rm_file(temporary)
            raise explain_write(error, path) from None

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


def is_shard(name: str) -> bool:
    """Tells whether a file is a tar shard by its name, be it a compressed one."""
    return _ending(name) == "tar"


def split_sample_name(name: str) -> tuple[str, str]:
    """Splits the name of a WebDataset member into its key, up to the first dot of the file name, and the rest.

    A name that begins with a dot has no key: it is all there is.

    >>> split_sample_name("train/0001.seg.png")
    ('train/0001', '.seg.png')
    """
    folder, slash, file = name.rpartition("/")
    stem, dot, ending = file.partition(".")
    return (f"{folder}{slash}{stem}", f"{dot}{ending}") if stem else (name, "")


def find_photos(members: Iterable[str], pattern: str | None = None) -> list[str]:
    """Finds the members of a shard that are photos, by their names, in their order.

    Args:
        members: names of files.
        pattern: pictures whose names it matches are photos, capitals and small letters apart: ``*.jpg``, as
            :mod:`fnmatch` has it. None goes by samples: a sample's photo is its picture whose ending follows the key,
            ``0001.jpg`` before ``0001.png``, in the order of `ENDINGS`; any other, like ``0001.seg.png``, is a label. A
            sample without such a picture, ``0002.left.jpg`` and ``0002.right.jpg``, has photos only.

    >>> find_photos(["1.jpg", "1.seg.png", "1.png", "2.left.jpg", "2.right.jpg", "2.txt"])
    ['1.jpg', '2.left.jpg', '2.right.jpg']
    >>> find_photos(["1.jpg", "1.seg.png"], "*.seg.png")
    ['1.seg.png']
    """
    pictures = [name for name in members if _ending(name) in PICTURES and split_sample_name(name)[1]]
    if pattern is not None:
        return [name for name in pictures if fnmatchcase(name, pattern)]
    order = list(ENDINGS)
    plain: dict[str, list[str]] = {}
    for name in pictures:
        key, ending = split_sample_name(name)
        if ending.count(".") == 1:
            plain.setdefault(key, []).append(name)
    photos = {key: min(names, key=lambda name: order.index(_ending(name))) for key, names in plain.items()}
    return [name for name in pictures if photos.get(split_sample_name(name)[0], name) == name]


def list_tar_members(stream: IO[bytes]) -> list[tuple[str, int, int]]:
    """Lists name, start and end of every file in an uncompressed tar shard, in its order, and reads no contents.

    Links are the files that they lead to. A picture that is no file, like a device or a link to nothing in the shard,
    is empty.

    Raises:
        ImpastoError: it is something else, or damaged.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            members = tar.getmembers()
            stream.seek(tar.offset)
            if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):  # where tarfile itself would see the end
                raise tarfile.ReadError(f"no member where one should be, after {len(members)} of them")
            if any(member.issparse() for member in members):
                raise tarfile.ReadError("it holds sparse files")
    except Exception as error:  # on damaged files tarfile raises nearly anything
        raise ImpastoError(
            f"not an uncompressed tar file, or a damaged one ({_reason(error)}): unpack a compressed one first"
        ) from None
    named = {posixpath.normpath(member.name): member for member in members}
    found = []
    for member in members:
        file = _follow_links(member, named)
        if file is not None:
            found.append((member.name, file.offset_data, file.offset_data + file.size))
        elif not member.isdir() and _ending(member.name) in PICTURES:
            found.append((member.name, 0, 0))
    return found


def _follow_links(member: tarfile.TarInfo, named: Mapping[str, tarfile.TarInfo]) -> tarfile.TarInfo | None:
    """The file of a shard that a member is, or leads to; None if there is none."""
    passed = set()
    while not member.isfile():
        passed.add(member.name)
        target = member.linkname if member.islnk() else posixpath.join(posixpath.dirname(member.name), member.linkname)
        following = named.get(posixpath.normpath(target)) if member.islnk() or member.issym() else None
        if following is None or following.name in passed:
            return None
        member = following
    return member


def _find_local(root: str, endings: frozenset[str]) -> set[str]:
    """Finds files in a folder of this machine and below, as :meth:`Place.find` says, in any order."""
    found: set[str] = set()
    folders: list[str] = []  # that are called like files
    ahead: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(root),))]  # with the folders it lies in
    while ahead:
        folder, within = ahead.pop()
        try:
            with os.scandir(f"{root}/{folder}") as entries:
                inside = list(entries)
        except OSError:
            if not folder:
                raise
            found.add(folder)
            continue
        for entry in inside:
            name = f"{folder}/{entry.name}" if folder else entry.name
            wanted = _ending(name) in endings
            if entry.is_symlink() and os.path.isdir(entry.path):
                real = os.path.realpath(entry.path)
                if not any(f"{outer}/".startswith(f"{real.rstrip('/')}/") for outer in within):
                    ahead.append((name, (*within, real)))
            elif entry.is_dir(follow_symlinks=False):
                ahead.append((name, (*within[:-1], f"{within[-1]}/{entry.name}")))
                folders += [name] if wanted else []
            elif wanted or (not os.path.splitext(name)[1] and entry.is_symlink() and not os.path.exists(entry.path)):
                found.add(name)
    found.update(folder for folder in folders if not any(name.startswith(f"{folder}/") for name in found))
    return found


def _reason(error: Exception) -> str:
    """Tells the reason that an exception gives, on one line."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())


def _ending(name: str) -> str:
    """The ending of a file's name in small letters; of a tar shard, compressed or not, it is "tar"."""
    return "tar" if _SHARD.search(name) else posixpath.splitext(name)[1].lower().removeprefix(".")


#: A folder or tar shard of pictures (as WebDataset has them), here or by URL, or several of these.
Sources = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def find_pictures(sources: Sources) -> list[StoredPicture]:
    """Finds every picture in folders and in tar shards, in a fixed order."""
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    entries = [entry for source in sources for entry in Place(os.fspath(source)).pictures()]
    if not entries:
        raise ImpastoError(
            f"no pictures in {', '.join(map(str, sources))} (looked for {' '.join(sorted(PICTURES))}, and tar shards)"
        )
    return entries
