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

    Attributes:
        broken: how many packets could not be decoded so far.
    """

    def __init__(self, stream: av.AudioStream, out: av.container.OutputContainer) -> None:
        self.broken = 0
        self._layout = "mono" if stream.codec_context.channels == 1 else "stereo"
        self.stream: Any = out.add_stream("libopus", rate=_RATE, layout=self._layout)
        self.stream.bit_rate = _BITS * self.stream.codec_context.channels
        self._resampler = self._new_resampler()
        self._format: tuple[Any, ...] = ()

    def packets(self, packet: av.Packet[Any] | None) -> Iterator[Any]:
        """Encodes a packet of the clip, or with None what is still on its way at the end; gives packets of the file."""
        try:
            decoded: list[Any] = [None] if packet is None else packet.decode()
        except av.error.FFmpegError:  # the times of the others stay
            self.broken += 1
            return
        for samples in decoded:
            for frame in self._resample(samples):
                yield from self.stream.encode(frame)
        if packet is None:
            yield from self.stream.encode(None)

    def _resample(self, samples: Any) -> Iterator[Any]:
        """Brings samples, or with None the last ones, to the encoder's format, whatever theirs is."""
        form = (samples.format.name, samples.layout.name, samples.rate, samples.time_base) if samples else self._format
        if form != self._format and self._format:  # as in broadcasts, from stereo to 5.1
            yield from self._resampler.resample(None)
            self._resampler = self._new_resampler()
        self._format = form
        yield from self._resampler.resample(samples)

    def _new_resampler(self) -> av.AudioResampler:
        return av.AudioResampler("s16", self._layout, _RATE, frame_size=960)
