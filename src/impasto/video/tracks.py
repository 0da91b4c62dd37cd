"""Chooses what of a clip's other streams goes into a file: sound, subtitles and data, packet for packet."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
from av.stream import Discard, Disposition

from impasto.video.clip import Clip
from impasto.video.source import Stretch, find_video_stream

_FURTHEST = 1 << 60  # what is beyond is no time stamp; FFmpeg marks some that it does not know by such numbers
_TIME_CODE = re.compile(r"\d\d:\d\d:\d\d(?P<drops>[:;.])(?P<frames>\d\d)")
_REFUSALS = (av.error.FFmpegError, ValueError, OverflowError)
#: Formats of sound in whose first packet files look for its description.
_SELF_DESCRIBING = {"aac", "ac3", "eac3", "dts", "truehd", "mp2", "mp3"}


@dataclass(frozen=True)
class PaintedSpan:
    """The part of a clip that was painted: its other streams are cut to it.

    Attributes:
        start: seconds since the clip's first time stamp was due, which become the new beginning.
        end: seconds; None for all there is.
        rate: frames a second that it was brought to; None if the clip's own were kept.
    """

    start: Fraction
    end: Fraction | None
    rate: Fraction | None = None


class Trial:
    """Muxes one stream alone, to nowhere: nothing that a file refuses shall come in the way of what is painted.

    Args:
        stream: of the clip.
        container: the format of the file, as FFmpeg calls it.

    Attributes:
        refused: the numbers, counted from 0, of the packets that the file does not take.

    Raises:
        FFmpegError, ValueError: the file does not hold such streams.
    """

    def __init__(self, stream: Any, container: str) -> None:
        self.refused: set[int] = set()
        self._count = 0
        self._out = av.open(_Nowhere(), "w", format=container)
        self._copy: Any = self._out.add_stream_from_template(stream, opaque=True)
        self._copy.disposition = stream.disposition
        self._out.start_encoding()
        #: Whether a packet has come from which the file can take what the stream is.
        self._described = stream.type != "audio" or stream.codec_context.name not in _SELF_DESCRIBING

    def take(self, packet: Any) -> None:
        """Tries the next packet."""
        try:
            if not self._described:
                packet.decode()
                self._described = True
            packet.stream = self._copy
            self._out.mux_one(packet)
        except _REFUSALS:
            self.refused.add(self._count)
        self._count += 1

    def close(self) -> bool:
        """Ends the trial; gives whether the file takes the stream."""
        try:
            self._out.close()
        except _REFUSALS:
            return False
        return self._count == 0 or len(self.refused) < self._count


class _Nowhere(Stretch):
    """A file to be written that nobody reads."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.at += len(data)
        self.length = max(self.length, self.at)
        return len(data)


def choose_tracks(clip: Clip, container: str, span: PaintedSpan) -> dict[int, set[int]]:
    """Tries out which streams of a clip, and which of their packets, a file takes as they are.

    Args:
        clip: where they come from.
        container: the format of the file, as FFmpeg calls it.
        span: what of the clip.

    Returns:
        By the index of each stream that it takes: the numbers, from 0, of those packets that it refuses all the same.
    """
    trials: dict[int, Trial] = {}
    with clip.source.open() as source:
        for stream in other_streams(source):
            with contextlib.suppress(*_REFUSALS):
                if _means_the_same(stream, source.format.name, container):
                    trials[stream.index] = Trial(stream, container)
        for packet in cut_packets(source, trials, clip.start, span):
            trials[packet.stream_index].take(packet)
    return {index: trial.refused for index, trial in trials.items() if trial.close()}


def _means_the_same(stream: Any, source: str, container: str) -> bool:
    """Tells whether a stream that is copied to a file is there what it was: some are taken, but for something else."""
    if stream.type == "video":
        return container == "mp4" and is_cover(stream)
    return stream.type in ("audio", "subtitle") or (stream.type == "data" and "mov" in source)


def other_streams(source: av.container.InputContainer) -> Iterator[Any]:
    """Lists the streams of a clip beside the video that is painted, apart from time codes and the names of chapters."""
    painted = find_video_stream(source)
    for stream in source.streams:
        names_chapters = stream.discard == Discard.all
        if stream is not painted and not names_chapters and (stream.type != "data" or find_time_code(stream) is None):
            yield stream


def is_cover(stream: Any) -> bool:
    """Tells whether a stream is a picture of the clip, and none of its moving pictures."""
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def find_time_code(*things: Any) -> str | None:
    """Finds the time code that a clip or one of its streams begins with."""
    tags = (tag for thing in things for tag in thing.metadata.items())
    return next((value for name, value in tags if name.lower() == "timecode"), None)


def fits_rate(code: str, rate: Fraction) -> bool:
    """Tells whether a time code can be counted on at so many frames a second; files lose those that cannot."""
    found = _TIME_CODE.fullmatch(code)
    if found is None or int(found["frames"]) >= rate:
        return False
    return found["drops"] == ":" or round(rate) % 30 == 0


def add_painted(video: Any, out: av.container.OutputContainer) -> Any:
    """Adds the painted video's stream to a file."""
    stream = out.add_stream_from_template(video, opaque=True)
    stream.codec_context.framerate = video.average_rate or Fraction(25)
    if out.format.name in ("mp4", "mov") and video.codec_context.name == "hevc":
        stream.codec_context.codec_tag = "hvc1"  # Apple's players take no other
    if "alpha_mode" in {name.lower() for name in video.metadata}:
        stream.metadata["alpha_mode"] = "1"
    return stream


def describe(stream: Any) -> str:
    """Names a stream, like "audio aac"."""
    if is_cover(stream):
        return "cover art"
    name = stream.codec_context.name if stream.codec_context else getattr(stream, "name", None)
    return f"{stream.type} {name or stream.metadata.get('handler_name') or 'unknown'}"


def read_attachment(stream: Any, clip: Clip) -> tuple[str, str, bytes]:
    """Reads an attached file or the cover art of a clip: its name, its media type, and its contents."""
    if stream.type == "attachment":
        return stream.name or "attachment", stream.mimetype or "application/octet-stream", stream.data
    kind = {"mjpeg": "jpeg"}.get(stream.codec_context.name, stream.codec_context.name)
    name = stream.metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}")
    with clip.source.open() as source:  # anew, for the packets that come before it shall not be lost
        packet = next((packet for packet in source.demux(source.streams[stream.index]) if packet.size), b"")
        return name, stream.metadata.get("mimetype", f"image/{kind}"), bytes(packet)


def cut_packets(
    source: av.container.InputContainer, streams: Iterable[int], origin: Fraction, span: PaintedSpan
) -> Iterator[Any]:
    """Picks the packets of other streams that belong to a span, and counts their times from its beginning.

    Args:
        source: the clip.
        streams: which of its streams, by their index.
        origin: the clip's first time stamp, in seconds.
        span: what of the clip.
    """
    chosen = [source.streams[index] for index in streams]
    if not chosen:
        return
    length = None if span.end is None else span.end - span.start
    for packet in _mend_time_stamps(_read_until_damage(source.demux(chosen))):
        if is_cover(packet.stream):
            packet.pts = packet.dts = 0
            yield packet
            continue
        ticks = round((origin + span.start) / packet.time_base)
        packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
        begin, stop = packet.pts * packet.time_base, (packet.pts + (packet.duration or 0)) * packet.time_base
        if length is not None and begin >= length:
            continue
        if span.start and begin < 0:
            if packet.stream.type != "subtitle" or stop <= 0:
                continue
            packet.pts, packet.dts, packet.duration = 0, 0, packet.pts + (packet.duration or 0)  # it is still on show
        yield packet


def _read_until_damage(demuxed: Iterator[Any]) -> Iterator[Any]:
    """Reads packets up to where nothing more can be read: what is painted must not be lost to damaged sound."""
    with contextlib.suppress(av.error.FFmpegError):
        yield from demuxed


def _mend_time_stamps(demuxed: Iterable[Any]) -> Iterator[Any]:
    """Changes packets so that all have time stamps, and those of decoding never fall back in a stream.

    Where those of a clip do, since it was joined or damaged, or are not there, sound goes on after what came before, as
    the pictures do. Subtitles, of which several may have the same time, are left out where they fall back.
    """
    reached: dict[int, tuple[int, int]] = {}  # by stream: when its last packet is decoded, and when it is over
    for packet in demuxed:
        if packet.pts is None and not packet.size:  # the end
            continue
        last, due = reached.get(packet.stream_index, (None, packet.stream.start_time or 0))
        pts, dts = (None if time is None or abs(time) > _FURTHEST else time for time in (packet.pts, packet.dts))
        dts = pts if dts is None else dts
        dts = due if dts is None else dts
        pts = dts if pts is None else pts
        if last is not None and packet.stream.type == "subtitle" and dts < last:
            continue
        if last is not None and packet.stream.type != "subtitle" and dts <= last:
            pts, dts = pts + due - dts, due
        packet.pts, packet.dts = pts, dts
        reached[packet.stream_index] = dts, dts + max(1, packet.duration or 0)
        yield packet
