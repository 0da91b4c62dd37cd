"""Opens clips, whatever they are called, and those that come through a pipe."""

from __future__ import annotations

import contextlib
import hashlib
import io
import mmap
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.stream import Disposition

from impasto.errors import ImpastoError
from impasto.files import reason
from impasto.image import ENDINGS

#: Pictures a second where they are numbered and nobody says.
USUAL_RATE = Fraction(25)
_NUMBER = re.compile(r"%0?\d*d")
#: Containers that hold their video themselves; FFmpeg also knows playlists and the like, which name other files.
_CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,gif,ogg,flv,asf,mxf,gxf,nut,ivf,rm,wtv,dv,nsv,apng,yuv4mpegpipe,"
    "h261,h263,h264,hevc,vvc,av1,obu,m4v,mpegvideo,mjpeg,dirac,vc1"
)
#: Pictures, which are opened only to be told so.
_PICTURES = "png_pipe,jpeg_pipe,webp_pipe,gif_pipe,bmp_pipe,tiff_pipe,jpegxl_pipe,psd_pipe,qoi_pipe"


def find_number(path: Path) -> re.Match[str] | None:
    """Finds where in a picture's name the number of the frame stands, ``frame-%05d.png``; None for other names."""
    if path.suffix[1:].lower() not in ENDINGS or path.name.count("%") != 1 or path.exists():
        return None
    return _NUMBER.search(path.name)


class ClipFile:
    """A clip's file, which is opened more than once: for its frames, and for its sound; or pictures that are numbered.

    What comes through a pipe is read once, to its end, into a temporary file that goes with this object.

    Args:
        path: of the file, or of all pictures, as ``frame-%05d.png``: those from the lowest number to the first gap.
        rate: pictures a second.

    Attributes:
        pictures: by number, in order; none where it is a file.

    Raises:
        ImpastoError: the pipe cannot be read, or there is no such picture.
    """

    def __init__(self, path: str | os.PathLike[str], rate: Fraction = USUAL_RATE) -> None:
        self.path, self._rate = Path(path), rate
        self.pictures = _list_pictures(self.path)
        self._piped = None if self.pictures else _read_pipe(self.path)

    @contextlib.contextmanager
    def open(self) -> Iterator[av.container.InputContainer]:
        """Opens the clip to be read, and no other file that it may name.

        FFmpeg never sees its name, in which it would take a colon for a protocol and ``%d`` for a row of files.

        Raises:
            ImpastoError: there is no such file, or it is none that holds a video.
        """
        if self.pictures:
            with self._open_pictures() as container:
                yield container
            return
        path, allowed = self.path, {"format_whitelist": f"{_CONTAINERS},{_PICTURES}"}
        if path.is_dir():
            raise ImpastoError(f"cannot read {path}: it is a folder; name one clip in it")
        with contextlib.ExitStack() as opened:
            try:
                file: Any = open(path, "rb") if self._piped is None else _Bytes(self._piped, str(path))  # noqa: SIM115
                opened.enter_context(file)
                if not file.read(1):
                    raise ImpastoError(f"cannot read {path}: it is empty")
                file.seek(0)
                container = opened.enter_context(av.open(file, "r", metadata_errors="replace", options=allowed))
            except FileNotFoundError:
                raise ImpastoError(f"cannot read {path}: there is no such file") from None
            except av.error.ArgumentError:  # the format is not among those allowed
                raise ImpastoError(
                    f"cannot read {path}: it does not hold a video itself, as mp4, mkv, webm, avi, ts and the like do; "
                    "playlists are not followed"
                ) from None
            except av.error.FFmpegError as error:
                raise ImpastoError(
                    f"cannot read {path}: it is no video that can be read here ({error.strerror or error})"
                ) from None
            except (OSError, ValueError) as error:  # ValueError: a name that no file can have
                raise ImpastoError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
            yield container

    def _open_pictures(self) -> av.container.InputContainer:
        """Opens numbered pictures by FFmpeg's own reader, to which a percent sign elsewhere must not say anything."""
        pattern = f"{str(self.path.parent).replace('%', '%%')}/{self.path.name}"
        options = {"framerate": str(self._rate), "start_number": str(min(self.pictures))}
        try:
            return av.open(file_url(Path(pattern)), "r", format="image2", options=options)
        except av.error.FFmpegError as error:
            raise ImpastoError(f"cannot read {self.path}: {error.strerror or error}") from None

    def identify(self) -> list[Any]:
        """Tells this clip from others, ready for ``json.dumps``."""
        if self.pictures:
            facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.pictures.values()]
            return [str(self.path.resolve()), str(self._rate), hashlib.sha256(repr(facts).encode()).hexdigest()]
        if self._piped is not None:
            return [len(self._piped), hashlib.sha256(self._piped).hexdigest()]
        found = self.path.stat()
        return [str(self.path.resolve()), found.st_size, found.st_mtime_ns]


def find_video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """Finds the stream of moving pictures in an open clip."""
    path = container.name
    if container.format.name.endswith("_pipe"):
        raise ImpastoError(f"{path} is a picture, not a clip: impasto stylize paints it")
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        raise ImpastoError(f"{path} holds no video")
    stream = streams[0]
    if stream.codec_context is None:
        raise ImpastoError(f"{path}: there is no decoder here for its video; convert it to H.264 first")
    return stream


def _list_pictures(path: Path) -> dict[int, Path]:
    """Lists pictures by number; none for the name of a file."""
    number = find_number(path)
    if number is None:
        return {}
    before, after = path.name[: number.start()], path.name[number.end() :]
    named = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    there = path.parent.iterdir() if path.parent.is_dir() else ()
    matches = [match for match in map(named.fullmatch, (one.name for one in there)) if match]
    numbers = sorted(int(match[1]) for match in matches if path.name % int(match[1]) == match[0])
    found = {number: path.with_name(path.name % number) for number in numbers}
    if not found:
        raise ImpastoError(f"cannot read {path}: there is no picture {path.name % 1}, nor one of another number")
    return found


def file_url(path: Path) -> str:
    """Makes a name for FFmpeg of a file's own, in which it finds no protocol, whatever it is."""
    return f"file:{path}"


def _read_pipe(path: Path) -> mmap.mmap | None:
    """Reads all that comes through a pipe; None if the path is not that of a pipe."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # said when it is opened
        return None
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise ImpastoError(f"cannot read {path}: it is a device; name a file, or send a clip through a pipe")
    if not stat.S_ISFIFO(mode):
        return None
    try:
        with tempfile.TemporaryFile() as kept:
            with open(path, "rb") as pipe:
                shutil.copyfileobj(pipe, kept)
            kept.flush()
            if not kept.tell():
                raise ImpastoError(f"cannot read {path}: nothing came through it")
            return mmap.mmap(kept.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ImpastoError(f"cannot keep what comes through {path}: {reason(error, tempfile.gettempdir())}") from None


class Stretch(io.RawIOBase):
    """What FFmpeg is given in place of a file: a length, and a place in it."""

    def __init__(self, length: int = 0) -> None:
        self.at, self.length = 0, length

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + (0, self.at, self.length)[whence]
        return self.at


class _Bytes(Stretch):
    """Reads what came through a pipe, from a place of its own."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        super().__init__(len(data))
        self._data, self.name = data, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        taken = self._data[self.at : self.at + len(buffer)]
        buffer[: len(taken)] = taken
        self.at += len(taken)
        return len(taken)
