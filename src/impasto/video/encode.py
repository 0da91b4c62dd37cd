"""Encodes painted frames as video: by which encoder, with which settings, and with which samples for colours."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.codec.codec import UnknownCodecError
from av.video.reformatter import ColorRange

from impasto.checks import is_whole, plain
from impasto.errors import ImpastoError
from impasto.files import reason
from impasto.image import Pixels
from impasto.video.clip import EXACT, Color
from impasto.video.source import file_url, find_number


@dataclass(frozen=True)
class Codec:
    """A way of encoding.

    Attributes:
        encoder: its name in FFmpeg.
        crf: quality if nothing else is asked for; smaller is better and larger.
        worst: the largest crf.
        even: whether the sides must be even.
        options: of the encoder.
        samples: its pixel format in FFmpeg.
        part: the container in FFmpeg that holds what is encoded until the file is complete.
    """

    encoder: str
    crf: int
    worst: int
    even: bool
    options: dict[str, str] = field(default_factory=dict)
    samples: str = "yuv420p"
    part: str = "mp4"

    @property
    def has_alpha(self) -> bool:
        """Whether it keeps transparency."""
        return self.samples.startswith("yuva") or self.samples == "rgba"


_VP9 = {"deadline": "good", "cpu-used": "4", "row-mt": "1"}
CODECS = {
    "h264": Codec("libx264", 18, 51, True, {"preset": "superfast", "bf": "0"}),
    "h265": Codec("libx265", 22, 51, True, {"preset": "fast", "x265-params": "log-level=error"}),
    "vp9": Codec("libvpx-vp9", 28, 63, False, _VP9),
    "av1": Codec("libsvtav1", 28, 63, False, {"preset": "8"}),
    # ProRes 4444, which has one quality.
    "prores": Codec("prores_ks", 0, 0, False, {"profile": "4444", "vendor": "apl0"}, "yuva444p10le", "mov"),
    # Alternative reference frames are not for streams with transparency, which MP4 does not hold.
    "vp9 with alpha": Codec("libvpx-vp9", 28, 63, False, _VP9 | {"auto-alt-ref": "0"}, "yuva420p", "matroska"),
    "png": Codec("png", 0, 0, False, {}, "rgb24", "mov"),
    "png with alpha": Codec("png", 0, 0, False, {}, "rgba", "mov"),
    # Without loss, for the GIF that is made of it at the end.
    "gif": Codec("libx264rgb", 0, 0, False, {"preset": "ultrafast"}, "rgb24"),
}
#: What a clip with transparency is encoded by, where the file and the wish for a codec allow it.
_WITH_ALPHA = {
    (".mov", None): "prores",
    (".webm", None): "vp9 with alpha",
    (".webm", "vp9"): "vp9 with alpha",
    (".png", None): "png with alpha",
}
#: Numbered pictures instead of a file, as FFmpeg calls them.
PICTURES = "image2"
#: Endings of files: the container in FFmpeg, and the codecs that it takes, the usual one first.
CONTAINERS = {
    ".mp4": ("mp4", ("h264", "h265", "vp9", "av1")),
    ".m4v": ("mp4", ("h264", "h265", "vp9", "av1")),
    ".mov": ("mov", ("h264", "h265", "prores")),
    ".mkv": ("matroska", ("h264", "h265", "vp9", "av1")),
    ".webm": ("webm", ("vp9", "av1")),
    ".gif": ("gif", ("gif",)),
    ".png": (PICTURES, ("png",)),
}


@dataclass(frozen=True)
class Target:
    """A file to write, checked as far as that goes before anything is painted.

    Attributes:
        path: of the file.
        container: its format in FFmpeg.
        codec: how frames are encoded.
        crf: quality, on the encoder's scale.
    """

    path: Path
    container: str
    codec: Codec
    crf: int

    @staticmethod
    def choose(path: Path, codec: str | None, crf: int | None, alpha: bool = False) -> Target:
        """Chooses container, encoder and quality by the ending and the wishes; `alpha` is kept where it can be.

        Raises:
            ImpastoError: they do not go together, there is no such folder, or the encoder is not there.
        """
        ending = path.suffix.lower() or (".mkv" if is_pipe(path) else "")
        if ending not in CONTAINERS:
            problem = f"unknown video format '{path.suffix}'" if path.suffix else "the name has no ending"
            raise ImpastoError(f"cannot write {path}: {problem}; use one of {', '.join(CONTAINERS)}")
        container, fitting = CONTAINERS[ending]
        if container == PICTURES and find_number(path) is None:
            raise ImpastoError(f"cannot write {path}: pictures are numbered, like {path.stem}-%05d{path.suffix}")
        if codec is not None and codec not in fitting:
            raise ImpastoError(f"{ending} does not hold {codec}: choose {', '.join(fitting)}, or another ending")
        if path.is_dir():
            raise ImpastoError(f"cannot write {path}: it is a folder; name a file in it")
        if not path.parent.is_dir():
            raise ImpastoError(f"cannot write {path}: there is no folder {path.parent}; create it first")
        chosen = CODECS[(_WITH_ALPHA.get((ending, codec)) if alpha else None) or codec or fitting[0]]
        try:
            av.Codec(chosen.encoder, "w")
        except UnknownCodecError:
            raise ImpastoError(f"PyAV has no encoder {chosen.encoder} here: choose another --codec") from None
        crf = plain(crf)
        if crf is not None and not (is_whole(crf) and 0 <= crf <= chosen.worst):
            raise ImpastoError(f"crf must be from 0 to {chosen.worst} for {chosen.encoder}, not {crf}")
        return Target(path, container, chosen, chosen.crf if crf is None else crf)

    @contextlib.contextmanager
    def place(self, resume: bool) -> Iterator[Path]:
        """Gives where the file comes to lie, which for a link is what it leads to, and for a pipe a temporary place."""
        if not is_pipe(self.path):
            yield Path(os.path.realpath(self.path))
            return
        if resume:
            raise ImpastoError(f"{self.path} is a pipe, in which nothing stays to go on from: leave out --resume")
        with tempfile.TemporaryDirectory(prefix="impasto-") as folder:
            yield Path(folder, "clip")

    def deliver(self, whole: Path, place: Path) -> None:
        """Moves the finished file, or a folder of pictures, to its place, or sends it through the pipe."""
        try:
            if self.container == PICTURES:
                for picture in sorted(whole.iterdir()):
                    os.replace(picture, place.with_name(picture.name))
                return
            if not is_pipe(self.path):
                os.replace(whole, place)
                return
            with open(whole, "rb") as file, open(self.path, "wb") as pipe:
                shutil.copyfileobj(file, pipe)
        except OSError as error:
            raise ImpastoError(f"cannot write {self.path}: {reason(error, str(self.path))}") from None


def is_pipe(path: Path) -> bool:
    """Tells whether what is written to a path goes on to somebody, as through a pipe or to ``/dev/stdout``."""
    if path.as_posix().startswith(("/dev/std", "/dev/fd/", "/proc/self/fd/")):
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


class FrameEncoder:
    """Encodes frames into a file that can be read as far as it came, whatever happens: fragmented MP4, or clusters.

    Args:
        path: of the file, which is made when the first frame comes.
        target: what it will become part of.
        height, width: of the frames.
        rate: frames a second, on average.
        time_base: seconds in a unit of time stamps.
        color: how colours become samples.
        aspect: width of a pixel over its height.
    """

    def __init__(
        self,
        path: Path,
        target: Target,
        *,
        height: int,
        width: int,
        rate: Fraction,
        time_base: Fraction,
        color: Color,
        aspect: Fraction,
    ) -> None:
        self._path, self._target, self._size = path, target, (height, width)
        self._rate, self._time_base, self._color, self._aspect = rate, time_base, color, aspect
        self._rgb = target.codec.samples.startswith("rgb")
        self._container: av.container.OutputContainer | None = None
        self._stream: av.VideoStream | None = None

    def write(self, pixels: Pixels, pts: int, duration: int) -> None:
        """Encodes a frame, uint8 [H, W, 3], or with alpha [H, W, 4] where the codec has it."""
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24" if pixels.shape[2] == 3 else "rgba")
        if not self._rgb:
            frame = frame.reformat(
                format=self._target.codec.samples,
                src_color_range=ColorRange.JPEG,
                dst_colorspace=self._color.sws_matrix,
                dst_color_range=self._color.range,
                interpolation=EXACT,
                threads=1,
            )
        frame.pts, frame.duration, frame.time_base = pts, duration, self._time_base
        with self._explain_errors():
            if self._container is None or self._stream is None:
                self._container, self._stream = self._open()
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Encodes what is still on its way, and closes the file."""
        if self._container is not None and self._stream is not None:
            with self._explain_errors():
                self._container.mux(self._stream.encode(None))
                self._container.close()

    def _open(self) -> tuple[av.container.OutputContainer, av.VideoStream]:
        codec, (height, width) = self._target.codec, self._size
        movflags = "empty_moov+delay_moov+frag_every_frame+default_base_moof"
        whole = {"cluster_time_limit": "100"} if codec.part == "matroska" else {"movflags": movflags}
        options = {"flush_packets": "1"} | whole
        container = av.open(file_url(self._path), "w", format=codec.part, container_options=options)
        stream = container.add_stream(
            codec.encoder,
            rate=self._rate,
            options=codec.options | {"crf": str(self._target.crf)},
            width=width,
            height=height,
            time_base=self._time_base,
        )
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        context.sample_aspect_ratio = self._aspect
        stream.pix_fmt = codec.samples
        if codec.has_alpha:
            stream.metadata["alpha_mode"] = "1"  # which Matroska tells it by
        if not self._rgb:
            context.colorspace, context.color_range = self._color.matrix, self._color.range
            context.color_primaries, context.color_trc = self._color.primaries, self._color.transfer
        return container, stream

    @contextlib.contextmanager
    def _explain_errors(self) -> Iterator[None]:
        """Has errors of the encoder or the disk say in one line that the file cannot be written."""
        out = self._target.path
        try:
            yield
        except (av.error.OSError, OSError) as error:
            raise ImpastoError(f"cannot write {out}: {reason(error, str(out))}") from None
        except (av.error.FFmpegError, ValueError) as error:
            raise ImpastoError(
                f"cannot write {out}: {self._target.codec.encoder} refuses ({error}); try another --codec or --crf"
            ) from None
