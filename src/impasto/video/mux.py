"""Puts the finished file together: the painted video, and all other streams of the clip as they were."""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import av.error

from impasto.errors import ImpastoError
from impasto.files import reason, temporary_name
from impasto.video.clip import open_clip
from impasto.video.encode import Target
from impasto.video.gif import write_gif
from impasto.video.parts import Part, packets
from impasto.video.sound import Opus

_MOVIE_TIMESCALE = "240000"  # where tracks begin is told in this; the usual 1000 would move sound by half a millisecond
_MOVIES = ("mp4", "mov")
_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}  # and not of what is in it


@dataclass(frozen=True)
class PaintedSpan:
    """The part of a clip that was painted: its other streams are cut to it.

    Attributes:
        start: seconds since the clip's first time stamp was due, which become the new beginning.
        end: seconds; None for all there is.
    """

    start: Fraction
    end: Fraction | None


def assemble(
    parts: Sequence[Part],
    last: tuple[Fraction, Fraction],
    clip: Path,
    origin: Fraction,
    span: PaintedSpan,
    target: Target,
) -> list[str]:
    """Writes the file of the painted video and the clip's other streams.

    Args:
        parts: the painted video.
        last: when its last frame is shown first, and when no more, in seconds.
        clip: where the other streams come from.
        origin: the clip's first time stamp, in seconds.
        span: what of the clip.
        target: what to write.

    Returns:
        The streams that this kind of file cannot hold, in words.
    """
    temporary = target.path.with_name(temporary_name())
    try:
        if target.container == "gif":
            with open_clip(clip) as source:
                left_out = [_describe(stream) for stream in _other_streams(source)]
            write_gif(_decode_frames(parts), _decode_frames(parts), last[1] - last[0], temporary)
        else:
            left_out = _remux(parts, last, clip, origin, span, target, temporary)
        os.replace(temporary, target.path)
    except (OSError, av.error.FFmpegError) as error:
        raise ImpastoError(f"cannot write {target.path}: {reason(error, str(target.path))}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return left_out


def _remux(
    parts: Sequence[Part],
    last: tuple[Fraction, Fraction],
    clip: Path,
    origin: Fraction,
    span: PaintedSpan,
    target: Target,
    path: Path,
) -> list[str]:
    options = {"movflags": "faststart", "movie_timescale": _MOVIE_TIMESCALE} if target.container in _MOVIES else {}
    left_out = []
    with (
        open_clip(clip) as source,
        av.open(str(parts[0].path)) as first,
        av.open(str(path), "w", format=target.container, container_options=options) as out,
    ):
        out.metadata.update(_strip_metadata(source.metadata))
        video = out.add_stream_from_template(first.streams.video[0], opaque=True)
        video.codec_context.framerate = first.streams.video[0].average_rate or Fraction(25)
        copies: dict[int, Any] = {}
        converted: dict[int, Opus] = {}
        for stream in _other_streams(source):
            try:
                copy = out.add_stream_from_template(stream)
            except (ValueError, av.error.FFmpegError):
                if target.container != "webm" or stream.type != "audio" or stream.codec_context is None:
                    left_out.append(_describe(stream))
                    continue
                converted[stream.index] = Opus(stream, out)
                copy = converted[stream.index].stream
            copy.metadata.update(_strip_metadata(stream.metadata))
            copy.disposition = stream.disposition
            copies[stream.index] = copy
        if span.start == 0 and span.end is None:
            out.set_chapters(source.chapters())
        for packet, stream in heapq.merge(
            ((packet, video) for packet in _video_packets(parts, last, target.container)),
            _route(_cut_packets(source, copies, origin, span), copies, converted),
            key=lambda item: item[0].dts * item[0].time_base,
        ):
            packet.stream = stream
            out.mux_one(packet)
    return left_out


def _other_streams(source: av.container.InputContainer) -> Iterator[Any]:
    """Lists the sound and subtitle streams of a clip."""
    yield from (*source.streams.audio, *source.streams.subtitles)


def _describe(stream: Any) -> str:
    name = stream.codec_context.name if stream.codec_context else "unknown"
    return f"{stream.type} {name}"


def _strip_metadata(metadata: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in metadata.items() if name.lower() not in _OF_THE_FILE}


def _video_packets(parts: Sequence[Part], last: tuple[Fraction, Fraction], container: str) -> Iterator[Any]:
    """Reads the packets of the parts, one after the other, with decoding time stamps that always grow."""
    left, first, decoded = sum(part.frames for part in parts), None, None
    for part in parts:
        with av.open(str(part.path)) as file:
            for packet, _ in zip(packets(file), range(part.frames), strict=False):
                left -= 1
                if decoded is not None and packet.dts <= decoded:
                    packet.dts = decoded + 1
                decoded, first = packet.dts, first or packet
                shown, stop = (round(time / packet.time_base) for time in last)
                if not left and container in _MOVIES:  # these count how long they play in decoding time
                    packet.duration = (stop - first.pts) - (packet.dts - first.dts)
                elif packet.pts == shown:  # the last on show is seldom the last to be decoded
                    packet.duration = stop - shown
                else:
                    packet.duration = min(packet.duration or stop, stop - packet.pts)
                yield packet


def _decode_frames(parts: Sequence[Part]) -> Iterator[av.VideoFrame]:
    """Decodes the frames of the parts once more."""
    for part in parts:
        with av.open(str(part.path)) as container:
            yield from islice(container.decode(video=0), part.frames)


def _route(
    copied: Iterable[Any], copies: Mapping[int, Any], converted: Mapping[int, Opus]
) -> Iterator[tuple[Any, Any]]:
    """Pairs packets with the streams that they go to, encoded anew where the file cannot hold them as they are."""
    for packet in copied:
        if packet.stream_index in converted:
            yield from ((made, copies[packet.stream_index]) for made in converted[packet.stream_index].packets(packet))
        else:
            yield packet, copies[packet.stream_index]
    for index, opus in converted.items():
        yield from ((made, copies[index]) for made in opus.packets(None))


def _read_until_damage(demuxed: Iterator[Any]) -> Iterator[Any]:
    """Reads packets up to the first that is damaged: what is painted must not be lost to damaged sound."""
    with contextlib.suppress(av.error.FFmpegError):
        yield from demuxed


def _mend_time_stamps(demuxed: Iterable[Any]) -> Iterator[Any]:
    """Changes packets so that decoding time stamps never fall back in a stream.

    Where those of a clip do, since it was joined or damaged, sound goes on after what came before, as the pictures do.
    Subtitles, of which several may have the same time, are left out there.
    """
    reached: dict[int, int] = {}
    for packet in demuxed:
        if packet.pts is None:  # the end
            continue
        if packet.dts is None:
            packet.dts = packet.pts
        last = reached.get(packet.stream_index, packet.dts - 1)
        if packet.stream.type == "subtitle" and packet.dts < last:
            continue
        if packet.stream.type != "subtitle" and packet.dts <= last:
            later = last + max(1, packet.duration or 0) - packet.dts
            packet.pts, packet.dts = packet.pts + later, packet.dts + later
        reached[packet.stream_index] = packet.dts
        yield packet


def _cut_packets(
    source: av.container.InputContainer, streams: Iterable[int], origin: Fraction, span: PaintedSpan
) -> Iterator[Any]:
    """Picks the packets of other streams that belong to a span, and counts their times from its beginning."""
    chosen = [source.streams[index] for index in streams]
    if not chosen:
        return
    length = None if span.end is None else span.end - span.start
    for packet in _mend_time_stamps(_read_until_damage(source.demux(chosen))):
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
