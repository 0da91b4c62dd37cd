"""Encodes sound anew for files that do not hold the clip's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import av.error

_RATE, _BITS = 48000, 96_000  # bits a second for each channel, which nobody can tell from the original


class Opus:
    """Encodes sound anew as Opus, which WebM holds; its stream joins the file.

    Args:
        stream: of the clip.
        out: the file.
    """

    def __init__(self, stream: av.AudioStream, out: av.container.OutputContainer) -> None:
        layout = "mono" if stream.codec_context.channels == 1 else "stereo"
        self.stream: Any = out.add_stream("libopus", rate=_RATE, layout=layout)
        self.stream.bit_rate = _BITS * self.stream.codec_context.channels
        self._resampler = av.AudioResampler("s16", layout, _RATE, frame_size=960)

    def packets(self, packet: av.Packet[Any] | None) -> Iterator[Any]:
        """Encodes a packet of the clip, or with None what is still on its way at the end; gives packets of the file."""
        try:
            decoded: list[Any] = [None] if packet is None else packet.decode()
        except av.error.FFmpegError:  # broken: the times of the others stay
            return
        for samples in decoded:
            for frame in self._resampler.resample(samples):
                yield from self.stream.encode(frame)
        if packet is None:
            yield from self.stream.encode(None)
