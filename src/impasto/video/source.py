"""Opens clips, whatever they are called, and those that come through a pipe."""

from __future__ import annotations

import contextlib
import hashlib
import io
import mmap
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.error
from av.stream import Disposition

from impasto.errors import ImpastoError
from impasto.files import reason

#: Containers that hold their video themselves; FFmpeg also knows playlists and the like, which name other files.
_CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,gif,ogg,flv,asf,mxf,gxf,nut,ivf,rm,wtv,dv,nsv,apng,yuv4mpegpipe,"
    "h261,h263,h264,hevc,vvc,av1,obu,m4v,mpegvideo,mjpeg,dirac,vc1"
)
#: Pictures, which are opened only to be told so.
_PICTURES = "png_pipe,jpeg_pipe,webp_pipe,gif_pipe,bmp_pipe,tiff_pipe,jpegxl_pipe,psd_pipe,qoi_pipe"


class ClipFile:
    """A clip's file, which is opened more than once: for its frames, and for its sound.

    What comes through a pipe is read once, to its end, into a temporary file that goes with this object.

    Args:
        path: of the file.

    Raises:
        ImpastoError: the pipe cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._piped = _read_pipe(self.path)

    @contextlib.contextmanager
    def open(self) -> Iterator[av.container.InputContainer]:
        """Opens the clip to be read, and no other file that it may name.

        FFmpeg never sees its name, in which it would take a colon for a protocol and ``%d`` for a row of files.

        Raises:
            ImpastoError: there is no such file, or it is none that holds a video.
        """
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

    def identify(self) -> list[Any]:
        """Tells this clip from others, ready for ``json.dumps``."""
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
