"""Puts the finished file together: the painted video, and all other streams of the clip as they were."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import av.error

from impasto.errors import ImpastoError
from impasto.files import reason
from impasto.video.clip import Clip
from impasto.video.encode import PICTURES, Target
from impasto.video.gif import write_gif
from impasto.video.parts import Part, packets
from impasto.video.sound import Opus
from impasto.video.source import file_url
from impasto.video.tracks import (
    PaintedSpan,
    add_painted,
    choose_tracks,
    cut_packets,
    describe,
    find_time_code,
    fits_rate,
    is_cover,
    other_streams,
    read_attachment,
)

_MOVIE_TIMESCALE = "240000"  # where tracks begin is told in this; the usual 1000 would move sound by half a millisecond
_MOVIES = ("mp4", "mov")
#: What is said of the file and not of what is in it; time codes have a way of their own.
_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "timecode"}


def assemble(
    parts: Sequence[Part],
    last: tuple[Fraction, Fraction],
    clip: Clip,
    span: PaintedSpan,
    target: Target,
    path: Path,
) -> list[str]:
    """Writes the file of the painted video and the clip's other streams.

    Args:
        parts: the painted video.
        last: when its last frame is shown first, and when no more, in seconds.
        clip: where the other streams come from.
        span: what of the clip.
        target: what to write,
        path: and where.

    Returns:
        What of the other streams is not in the file, since it cannot hold it or it is damaged, in words.
    """
    try:
        if target.container in ("gif", PICTURES):
            with clip.source.open() as source:
                left_out = [describe(stream) for stream in other_streams(source)]
                left_out += ["time code"] * (find_time_code(source, *source.streams) is not None)
            if target.container == PICTURES:
                _write_pictures(parts, target.path.name, min(clip.source.pictures, default=1), path)
            else:
                write_gif(_decode_frames(parts), _decode_frames(parts), last[1] - last[0], path)
        else:
            left_out = _remux(parts, last, clip, span, target, path)
    except (OSError, av.error.FFmpegError) as error:
        raise ImpastoError(f"cannot write {target.path}: {reason(error, str(target.path))}") from None
    return left_out


def _remux(
    parts: Sequence[Part],
    last: tuple[Fraction, Fraction],
    clip: Clip,
    span: PaintedSpan,
    target: Target,
    path: Path,
) -> list[str]:
    options = {"movflags": "faststart", "movie_timescale": _MOVIE_TIMESCALE} if target.container in _MOVIES else {}
    refused = choose_tracks(clip, target.container, span)
    left_out = []
    with (
        clip.source.open() as source,
        av.open(file_url(parts[0].path)) as first,
        av.open(file_url(path), "w", format=target.container, container_options=options) as out,
    ):
        out.metadata.update(_strip_metadata(source.metadata))
        painted, code = first.streams.video[0], find_time_code(source, *source.streams)
        kept = code if span.start == 0 and span.rate is None else None  # else it would have to be another
        video = add_painted(painted, out)
        if kept is not None and fits_rate(kept, video.codec_context.framerate):
            video.metadata["timecode"] = kept
        copies: dict[int, Any] = {}
        converted: dict[int, Opus] = {}
        for stream in other_streams(source):
            if stream.index in refused:
                copy = out.add_stream_from_template(stream, opaque=True)
            elif target.container == "webm" and stream.type == "audio" and stream.codec_context is not None:
                converted[stream.index] = Opus(stream, out)
                copy = converted[stream.index].stream
            elif target.container == "matroska" and (stream.type == "attachment" or is_cover(stream)):
                out.add_attachment(*read_attachment(stream, clip))
                continue
            else:
                left_out.append(describe(stream))
                continue
            copy.metadata.update(_strip_metadata(stream.metadata))
            copy.disposition = stream.disposition
            copies[stream.index] = copy
        if code is not None and "timecode" not in video.metadata:
            left_out.append("time code")
        if span.start == 0 and span.end is None:
            out.set_chapters([chapter for chapter in source.chapters() if 0 <= chapter["start"] <= chapter["end"]])
        for packet, copy in heapq.merge(
            ((packet, video) for packet in _video_packets(parts, last, target.container)),
            _route(cut_packets(source, copies, clip.start, span), copies, converted, refused),
            key=lambda item: item[0].dts * item[0].time_base,
        ):
            packet.stream = copy
            out.mux_one(packet)
        for index in copies:
            lost = converted[index].broken if index in converted else len(refused[index])
            if lost:
                packets = f"{lost} damaged packet{'s' if lost > 1 else ''}"
                left_out.append(f"{packets} of {describe(source.streams[index])}")
    return left_out


def _strip_metadata(metadata: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in metadata.items() if name.lower() not in _OF_THE_FILE}


def _video_packets(parts: Sequence[Part], last: tuple[Fraction, Fraction], container: str) -> Iterator[Any]:
    """Reads the packets of the parts, one after the other, with decoding time stamps that always grow."""
    left, first, decoded = sum(part.frames for part in parts), None, None
    for part in parts:
        with av.open(file_url(part.path)) as file:
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


def _write_pictures(parts: Sequence[Part], pattern: str, first: int, folder: Path) -> None:
    """Writes each frame, whose packet is a picture file, into a folder, named by a pattern, numbered from the first."""
    folder.mkdir(exist_ok=True)
    number = first
    for part in parts:
        with av.open(file_url(part.path)) as file:
            for packet in islice(packets(file), part.frames):
                (folder / (pattern % number)).write_bytes(bytes(packet))
                number += 1


def _decode_frames(parts: Sequence[Part]) -> Iterator[av.VideoFrame]:
    """Decodes the frames of the parts once more."""
    for part in parts:
        with av.open(file_url(part.path)) as container:
            yield from islice(container.decode(video=0), part.frames)


def _route(
    packets: Iterable[Any], copies: Mapping[int, Any], converted: Mapping[int, Opus], refused: Mapping[int, set[int]]
) -> Iterator[tuple[Any, Any]]:
    """Pairs packets with the streams that they go to, encoded anew where the file cannot hold them as they are."""
    seen: Counter[int] = Counter()
    for packet in packets:
        index, copy = packet.stream_index, copies[packet.stream_index]
        if index in converted:
            yield from ((made, copy) for made in converted[index].packets(packet))
        elif seen[index] not in refused[index]:
            yield packet, copy
        seen[index] += 1
    for index, opus in converted.items():
        yield from ((made, copies[index]) for made in opus.packets(None))
