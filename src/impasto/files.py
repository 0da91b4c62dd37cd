"""Writes files so that they appear complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from impasto.errors import ImpastoError, UnusableNameError

#: Names that begin so are our own: temporary files and the rows of a run that is not over.
HIDDEN = ".impasto"
_LONGEST_NAME = 255  # bytes
#: What a system says of names: too long, of letters it does not have, in the place of a folder or below a file.
_NAMES = frozenset(
    [errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP]
)


def temporary_name() -> str:
    """Makes a new name for a file that is not whole yet."""
    return f"{HIDDEN}-{secrets.token_hex(8)}.tmp"


def is_temporary(name: str) -> bool:
    """Tells whether :func:`temporary_name` gave this name."""
    return name.startswith(f"{HIDDEN}-") and name.endswith(".tmp")


def is_special(path: str | os.PathLike[str]) -> bool:
    """Tells whether a path is that of a pipe, a socket or a device."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file beside its place and moves it there, so that no reader ever sees half of it.

    Raises `ImpastoError` for a missing folder, no permission or a full disk, and of its kinds `UnusableNameError` for a
    name that no file can have there; then nothing is left behind.
    """
    try:
        # A pipe or a device is written to, never replaced. Its name may be a link that leads to none, as in /dev/fd.
        if is_special(path):
            Path(path).write_bytes(data)
        else:
            _write(Path(os.path.realpath(path)), data)  # a link stays a link
    except BrokenPipeError:
        raise ImpastoError(f"cannot write {os.fspath(path)}: its reader is gone") from None
    except (OSError, ValueError) as error:
        raise explain_write(error, os.fspath(path)) from None


def _write(path: Path, data: bytes) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file in it")
    with replace_file(path) as temporary, open(temporary, "xb") as stream:
        stream.write(data)


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside a file's place to write under, and moves it there at the end, unless that fails."""
    temporary = path.with_name(temporary_name())
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def open_work_folder(out: Path, settings: Mapping[str, Any], *, resume: bool) -> tuple[Path, bool]:
    """Opens the hidden folder beside `out` for work in progress; tells whether it is from an earlier run, or new.

    Args:
        out: the file to write in the end.
        settings: everything that the work depends on, ready for ``json.dumps``.
        resume: go on from what is there, if there is anything.

    Raises:
        ImpastoError: what is there was made with other settings.
        OSError: the folder cannot be made.
    """
    name = f".{out.name}.impasto"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(out.name)).hexdigest()}.impasto"
    folder = out.with_name(name)
    text = json.dumps(settings, indent=1, sort_keys=True).encode()
    if resume and (folder / "settings.json").is_file():
        if (folder / "settings.json").read_bytes() != text:
            raise ImpastoError(f"the run that was to write {out} had other settings: leave out --resume")
        return folder, True
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_file(folder / "settings.json", text)
    return folder, False


def explain_write(error: Exception, path: str) -> ImpastoError:
    """Makes the error to raise where writing to a path has failed."""
    kind = UnusableNameError if refuses_name(error) else ImpastoError
    return kind(f"cannot write {path}: {reason(error, path)}")


def refuses_name(error: Exception) -> bool:
    """Tells whether a system says by an error that no file can be called so there."""
    return isinstance(error, ValueError) or getattr(error, "errno", None) in _NAMES


def reason(error: Exception, name: str) -> str:
    """Says in words why writing failed, and what to do."""
    folder = os.path.dirname(name) or "."
    match getattr(error, "errno", None):
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return "the disk is full; free some space or write somewhere else"
        case errno.ENOENT:
            return f"there is no folder {folder}; create it first"
        case errno.ENOTDIR:
            return f"{folder} is not a folder"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"no permission to write in {folder}; choose another folder"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def escape_name(name: str) -> str:
    r"""Makes text of a file's name, which need not be any: a byte that is none as ``\xff``, a backslash twice.

    >>> escape_name(os.fsdecode(b"caf\xe9"))
    'caf\\xe9'
    >>> unescape_name(escape_name("a\\xe9")) == "a\\xe9"
    True
    """
    return name.replace("\\", r"\\").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def unescape_name(text: str) -> str:
    """Gives back the name that :func:`escape_name` was given."""
    data = re.sub(rb"\\(?:\\|x([0-9a-f]{2}))", lambda found: bytes.fromhex(found[1].decode()) if found[1] else b"\\",
                  text.encode("utf-8"))  # fmt: skip
    return data.decode("utf-8", "surrogateescape")
