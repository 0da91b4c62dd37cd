"""Reads clips: gives their frames as upright sRGB-like arrays, each with its time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np
from av.codec.codec import UnknownCodecError
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import ColorRange, Interpolation

from impasto.alpha import fill
from impasto.checks import is_whole, plain
from impasto.errors import ImpastoError, TooLargeError
from impasto.image import Picture, Pixels
from impasto.video.gif import read_times
from impasto.video.source import USUAL_RATE, ClipFile, find_video_stream

#: AVColorSpace of ITU-T H.273: the matrices that Y'CbCr is made with.
BT709, UNKNOWN, FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020 = 1, 2, 4, 5, 6, 7, 9
#: What swscale calls them.
SWS_MATRIX = {BT709: 1, FCC: 4, BT470BG: 5, SMPTE170M: 5, SMPTE240M: 7, BT2020: 9}
#: How swscale converts without shifting chroma or losing levels; between chroma samples a straight line does.
EXACT = (
    Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
)


@dataclass(frozen=True)
class Frame:
    """One frame of a clip.

    Attributes:
        pixels: uint8 [H, W, 3], upright; colours are continued to where nothing is seen, see :mod:`impasto.alpha`.
        pts: presentation time stamp, in units of the clip's time base.
        duration: in the same units; 0 if the file does not tell.
        time: seconds since the clip began.
        alpha: uint8 [H, W], 255 = opaque; None where the clip has none.
    """

    pixels: Pixels
    pts: int
    duration: int
    time: Fraction
    alpha: Pixels | None = None


@dataclass(frozen=True)
class Color:
    """The meaning of a clip's samples as colours (ITU-T H.273).

    Attributes:
        matrix, primaries, transfer: as in AVColorSpace, AVColorPrimaries and AVColorTransferCharacteristic.
        full: whether luma goes from 0 to 255 and not from 16 to 235.
    """

    matrix: int
    primaries: int
    transfer: int
    full: bool

    @property
    def sws_matrix(self) -> int:
        """The matrix as swscale calls it."""
        return SWS_MATRIX[self.matrix]

    @property
    def range(self) -> ColorRange:
        """The range as PyAV calls it."""
        return ColorRange.JPEG if self.full else ColorRange.MPEG


class Clip:
    """A clip that can be decoded: what is known of it beforehand, and its frames.

    Args:
        path: of the file, or of numbered pictures, see :class:`impasto.video.source.ClipFile`; a pipe is read once.
        rate: of numbered pictures a second.
        max_size: scale frames down so that their long side is at most this.
        even: make both sides even, as H.264 and H.265 want them in 4:2:0. Frames that are not scaled get their last
            row or column twice.
        max_pixels: refuse frames that have more, before they are decoded; None takes any.

    Attributes:
        source: the file, to be opened again for what else is in it.
        height, width: of the frames as they come, upright.
        time_base: seconds in a unit of time stamps.
        start: time stamp at which the clip begins, in seconds.
        rate: frames a second, on average.
        length: seconds, as far as the file tells.
        color: how to read the samples, and how to write them again.
        aspect: width of a pixel over its height.
        has_alpha: whether frames may be transparent; a GIF, if the first one is.
        broken: how many packets or frames could not be decoded so far.

    Raises:
        ImpastoError: there is no such file, it holds no video, or nothing here decodes it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        rate: Fraction = USUAL_RATE,
        max_size: int | None = None,
        even: bool = False,
        max_pixels: int | None = None,
    ) -> None:
        self.source = ClipFile(path, rate)
        self.path, self._max_pixels = self.source.path, max_pixels
        max_size = plain(max_size)
        if max_size is not None and (not is_whole(max_size) or max_size < 2):
            raise ImpastoError(f"the maximal size must be a whole number of pixels, 2 or more, not {max_size}")
        self.broken = 0
        self._gif_times: dict[int, tuple[int, int]] = {}
        with self.source.open() as container:
            stream = find_video_stream(container)
            self.time_base = Fraction(stream.time_base or Fraction(1, 90000))
            self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
            self.start = max(Fraction(0), Fraction(container.start_time or 0, av.time_base))
            self.length = _measure_length(container, stream, self.start)
            # AVI and bare streams tell in which order frames are decoded, and not when they are shown.
            self._timed = container.format.name != "avi" and stream.start_time is not None
            self.frame_count = stream.frames or None
            first = next((frame for frame in self._decode(container, stream) if not frame.is_corrupt), None)
            if first is None:
                raise ImpastoError(f"{self.path} has no frames that can be decoded: it is empty or damaged")
            self._turn = find_turn(first)
            self.color = find_color(first)
            self.aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
            width, height = first.width, first.height
            is_gif = container.format.name == "gif"
            self.has_alpha = _has_alpha(first) and not (is_gif and first.to_ndarray(format="rgba")[..., 3].min() == 255)
        self.broken = 0
        if is_gif:
            with self.source.open() as container:
                self._gif_times = read_times(container)
            self.length = sum(self._gif_times[max(self._gif_times)]) * self.time_base
            self.rate = len(self._gif_times) / self.length
        if self._turn.transposed:
            width, height = height, width
            self.aspect = 1 / self.aspect
        limit = max_size or 1 << 30
        scale = min(1.0, (limit - limit % 2 if even else limit) / max(width, height))
        step = 2 if even and scale < 1 else 1
        self.width, self.height = (max(step, round(side * scale / step) * step) for side in (width, height))
        self._pad = ((0, self.height % 2), (0, self.width % 2)) if even else ((0, 0), (0, 0))
        self._decoded_size = (self.height, self.width) if self._turn.transposed else (self.width, self.height)
        self.height, self.width = self.height + self._pad[0][1], self.width + self._pad[1][1]

    def frames(self, since: Fraction = Fraction(0)) -> Iterator[Frame]:
        """Decodes one frame at a time. What cannot be decoded is counted and passed over; the others keep their times.

        Args:
            since: seconds; frames that end before may be left out.
        """
        last: int | None = None
        ahead: int | None = None  # where only the order of decoding is told: how far it runs ahead of what is shown
        with self.source.open() as container:
            stream = find_video_stream(container)
            if (
                since > 0 and self._timed and not self._gif_times
            ):  # a second earlier, for files whose index is not quite right
                with contextlib.suppress(av.error.FFmpegError):
                    container.seek(max(0, int((self.start + since - 1) * av.time_base)))
            for decoded in self._decode(container, stream):
                pts, duration = decoded.pts if self._timed else decoded.dts, decoded.duration or 0
                if pts in self._gif_times:
                    pts, duration = self._gif_times[pts]
                if pts is not None and not self._timed:
                    ahead = pts - (stream.start_time or 0) if ahead is None else ahead
                    pts -= ahead
                if pts is None or (last is not None and pts <= last):  # damaged, or a format without time stamps
                    usual = max(1, round(1 / self.rate / self.time_base))
                    pts = 0 if last is None else last + (duration or usual)
                last = pts
                time = pts * self.time_base - self.start
                if decoded.is_corrupt:
                    self.broken += time >= since  # what comes before may only lack what was not read
                    continue
                if time + Fraction(1) >= since:
                    picture = self._to_picture(decoded)
                    yield Frame(fill(picture), pts, duration, time, picture.alpha)

    def _decode(self, container: Any, stream: Any) -> Iterator[av.VideoFrame]:
        decoder = _choose_decoder(stream)
        decoder.thread_type = "AUTO"
        self._check_size(decoder, stream.codec_context.width, stream.codec_context.height)
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:  # nothing more can be read
                self.broken += 1
                return
            try:
                decoded = decoder.decode(packet)
            except av.error.FFmpegError:
                self.broken += 1
                continue
            yield from decoded

    def _check_size(self, decoder: Any, width: int, height: int) -> None:
        if self._max_pixels is None:
            return
        if width * height > self._max_pixels:
            raise TooLargeError(
                f"{self.path} has frames of {width} x {height} pixels, more than the {self._max_pixels:,} that are "
                "taken here: scale it down first"
            )
        # The decoder sees to frames that grow on the way; it counts their margins, too.
        decoder.options = {"max_pixels": str(max(self._max_pixels, (width + 128) * (height + 128)))}

    def _to_picture(self, decoded: av.VideoFrame) -> Picture:
        width, height = self._decoded_size
        alpha = _has_alpha(decoded)
        rgb: Pixels = decoded.reformat(
            width,
            height,
            "rgba" if alpha else "rgb24",
            src_colorspace=self.color.sws_matrix,
            src_color_range=ColorRange.JPEG if decoded.format.is_rgb else self.color.range,
            dst_color_range=ColorRange.JPEG,
            interpolation=EXACT,
            threads=1,
        ).to_ndarray()  # type: ignore[assignment]  # not of the types for other formats
        upright = np.ascontiguousarray(np.pad(self._turn(rgb), (*self._pad, (0, 0)), mode="edge"))
        pixels = np.ascontiguousarray(upright[..., :3])
        opaque = not alpha or upright[..., 3].min() == 255
        return Picture(pixels, None if opaque else np.ascontiguousarray(upright[..., 3]))


@dataclass(frozen=True)
class Turn:
    """Makes decoded frames upright: first rows and columns are exchanged, then the frame is mirrored."""

    transposed: bool = False
    left_right: bool = False
    top_down: bool = False

    def __call__(self, pixels: Pixels) -> Pixels:
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.top_down else 1, :: -1 if self.left_right else 1]


def find_turn(frame: av.VideoFrame) -> Turn:
    """Finds the turn that the display matrix of a frame asks for.

    The matrix takes a pixel's (x, y) to (a x + c y, b x + d y); of the turns by any angle and mirrors it can express,
    those by quarters are understood.
    """
    side_data: Any = frame.side_data
    data = side_data.get(SideData.DISPLAYMATRIX)
    if data is None:
        return Turn()
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(False, a < 0, d < 0)
    return Turn(True, c < 0, b < 0)


def find_color(frame: av.VideoFrame) -> Color:
    """Finds how to read a frame's samples; where it does not tell, as players do: by BT.709 for HD, else by BT.601."""
    matrix = frame.colorspace
    if matrix not in SWS_MATRIX:
        matrix = BT709 if frame.format.is_rgb or frame.width >= 1280 or frame.height > 576 else SMPTE170M
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    return Color(matrix, frame.color_primaries, frame.color_trc, full and not frame.format.is_rgb)


def _has_alpha(frame: av.VideoFrame) -> bool:
    return any(component.is_alpha for component in frame.format.components)


def _choose_decoder(stream: Any) -> Any:
    """Chooses what decodes a stream: FFmpeg's own decoders of VP8 and VP9 leave out the transparency in WebM."""
    own = stream.codec_context
    other = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(own.name)
    if other is None or ("alpha_mode", "1") not in {(name.lower(), value) for name, value in stream.metadata.items()}:
        return own
    try:
        return av.CodecContext.create(other, "r")
    except UnknownCodecError:
        return own


def _measure_length(container: av.container.InputContainer, stream: av.VideoStream, start: Fraction) -> Fraction | None:
    """Measures the seconds from a clip's start to the end of its pictures, which may start later than its sound."""
    if stream.duration and stream.time_base:
        return (stream.duration + (stream.start_time or 0)) * Fraction(stream.time_base) - start
    return Fraction(container.duration, av.time_base) if container.duration else None
