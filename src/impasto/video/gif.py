"""Animated GIFs: their times, and how they are written, dithered, with one palette for the whole clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.filter import Graph
from av.filter.context import FilterContext

from impasto.video.source import file_url

_TICK = Fraction(1, 100)  # GIF counts time in hundredths of a second,
_SHORTEST = 2  # and viewers show what should be shown for less than two of them
_INSTEAD = 10  # for so many


def read_times(container: av.container.InputContainer) -> dict[int, tuple[int, int]]:
    """Finds when viewers show the frames of a GIF, and how long, by the time stamps of its packets; all in ticks."""
    times: dict[int, tuple[int, int]] = {}
    due = 0
    for packet in container.demux(video=0):
        if packet.pts is not None:
            lasts = packet.duration or 0
            lasts = lasts if lasts >= _SHORTEST else _INSTEAD
            times[packet.pts] = due, lasts
            due += lasts
    return times


def write_gif(frames: Iterable[av.VideoFrame], again: Iterable[av.VideoFrame], last: Fraction, path: Path) -> None:
    """Writes frames, of one size and in RGB, as an endless GIF.

    Args:
        frames, again: the same frames twice: the first time for the palette.
        last: seconds that the last frame is shown.
        path: of the file.
    """
    palette = _make_palette(frames)
    stream: av.VideoStream | None = None
    options = {"final_delay": str(max(_SHORTEST, round(last / _TICK)))}
    with av.open(file_url(path), "w", format="gif", container_options=options) as out:
        for frame in _space_out(_apply_palette(again, palette)):
            if stream is None:
                stream = out.add_stream("gif", rate=25, width=frame.width, height=frame.height, time_base=_TICK)
                stream.pix_fmt = "pal8"
            out.mux(stream.encode(frame))
        if stream is not None:
            out.mux(stream.encode(None))


def _make_palette(frames: Iterable[av.VideoFrame]) -> av.VideoFrame:
    graph = Graph()
    source = None
    for frame in frames:
        if source is None:
            source = _add_buffer(graph, frame)
            made, sink = graph.add("palettegen", "stats_mode=full"), graph.add("buffersink")
            source.link_to(made)
            made.link_to(sink)
            graph.configure()
        source.push(frame)
    assert source is not None
    source.push(None)
    palette = sink.pull()
    assert isinstance(palette, av.VideoFrame)
    return palette


def _apply_palette(frames: Iterable[av.VideoFrame], palette: av.VideoFrame) -> Iterator[av.VideoFrame]:
    """Draws frames in the colours of a palette, dithered by error diffusion within what moves."""
    graph = Graph()
    source = None
    for frame in frames:
        if source is None:
            source, colors = _add_buffer(graph, frame), _add_buffer(graph, palette)
            used, sink = graph.add("paletteuse", "dither=sierra2_4a:diff_mode=rectangle"), graph.add("buffersink")
            source.link_to(used, 0, 0)
            colors.link_to(used, 0, 1)
            used.link_to(sink)
            graph.configure()
            colors.push(palette)
            colors.push(None)
        source.push(frame)
        yield from _pull(sink)
    if source is not None:
        source.push(None)
        yield from _pull(sink)


def _add_buffer(graph: Graph, frame: av.VideoFrame) -> FilterContext:
    return graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or _TICK
    )


def _pull(sink: FilterContext) -> Iterator[av.VideoFrame]:
    """Takes the frames that have come out of a filter so far."""
    while True:
        try:
            frame = sink.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(frame, av.VideoFrame)
        yield frame


def _space_out(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Counts the times of frames in ticks, and leaves out those that would be shown too shortly."""
    shown = -_SHORTEST
    for frame in frames:
        assert frame.pts is not None
        assert frame.time_base is not None
        tick = round(frame.pts * frame.time_base / _TICK)
        if tick - shown >= _SHORTEST:
            frame.pts, frame.time_base, shown = tick, _TICK, tick
            yield frame
