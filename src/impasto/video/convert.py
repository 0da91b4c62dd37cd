"""A clip in, a painted clip out."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from impasto.errors import ImpastoError
from impasto.image import Pixels
from impasto.style import Style, check_weights
from impasto.stylizer import STYLE_SIZE, KeepColor, StyleSource, Stylizer
from impasto.video.clip import Clip, Frame
from impasto.video.encode import Encoder, Target
from impasto.video.flow import single_threaded
from impasto.video.keys import KeyFrames, number_at
from impasto.video.masks import MaskSource, MaskTrack
from impasto.video.mux import Span, assemble
from impasto.video.parts import Parts
from impasto.video.pipeline import Behind, ahead
from impasto.video.temporal import BLEND, INERTIA, Sight, TemporalPainter
from impasto.video.timing import at_rate, between, lasting

#: Styles as :meth:`Stylizer.stylize` takes them.
Styles = StyleSource | Sequence[StyleSource] | Mapping[Style, float]
_WARM_UP = Fraction(1)  # seconds painted once more after a kill, for what the frames before have left in memory


class StoppedError(ImpastoError):
    """Ended before there was anything to finish."""


@dataclass(frozen=True)
class VideoResult:
    """What :func:`stylize_video` did.

    Attributes:
        path: of the file written.
        width, height: of its frames.
        frames: in the file.
        painted: of these, by this run; the others were there when it took up an earlier one, or came twice.
        seconds: that it took.
        length: seconds that the file plays.
        cuts: changes of scene found.
        broken: packets or frames of the clip that could not be decoded.
        left_out: streams of the clip that this kind of file cannot hold, in words.
        stopped: whether it was ended before the clip was.
    """

    path: Path
    width: int
    height: int
    frames: int
    painted: int
    seconds: float
    length: float
    cuts: int
    broken: int
    left_out: list[str]
    stopped: bool

    @property
    def frames_per_second(self) -> float:
        """How fast it was."""
        return self.painted / max(self.seconds, 1e-9)


def stylize_video(
    painter: Stylizer,
    clip: str | os.PathLike[str],
    styles: Styles | KeyFrames[Styles],
    out: str | os.PathLike[str],
    *,
    strength: float | KeyFrames[float] = 1.0,
    masks: Sequence[MaskSource] | None = None,
    keep_color: KeepColor | None = None,
    style_size: int = STYLE_SIZE,
    max_size: int | None = None,
    max_pixels: int | None = None,
    start: float | None = None,
    end: float | None = None,
    fps: float | Fraction | None = None,
    codec: str | None = None,
    crf: int | None = None,
    inertia: float = INERTIA,
    blend: float = BLEND,
    resume: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
    stop: threading.Event | None = None,
) -> VideoResult:
    """Paints a clip.

    The result has the clip's frames at the clip's times, upright, and its sound and subtitles as they were, packet for
    packet. Decoding, painting and encoding overlap in three threads with a few frames in between, so that memory does
    not grow with the clip. What is done lies in a hidden folder beside `out` until the file is complete.

    Args:
        painter: model or method.
        clip: whatever FFmpeg reads, if it holds its video itself.
        styles: as :meth:`Stylizer.stylize` takes them, or key frames of that, cross-faded.
        out: the file to write: .mp4, .m4v, .mov, .mkv, .webm or .gif.
        strength: 0..1, or key frames of it.
        masks: one for each style: a clip or a picture (scaled to the frames), or an array of the frames' size.
        keep_color: see :meth:`TemporalPainter`.
        style_size: stroke size, see :meth:`Stylizer.style`.
        max_size: scale frames down so that their long side is at most this.
        max_pixels: refuse clips whose frames have more; None takes any.
        start, end: seconds of the clip between which to paint.
        fps: frames a second to come to; None keeps every frame and its time.
        codec: "h264" (usual for mp4, mov and mkv), "h265", "vp9" (usual for webm) or "av1".
        crf: quality on the encoder's scale, smaller is better; None for one that keeps strokes.
        inertia, blend: what keeps the result from flickering, see :class:`TemporalPainter`; 0 switches it off.
        resume: go on from what a killed run with the same settings has left; a run that is stopped leaves it, too.
        progress: called after each frame with how many are done, and how many there will be as far as that is known.
        stop: when this is set, the file is finished with what has been painted so far.

    Raises:
        ImpastoError: a control is wrong, the clip cannot be read, or the file cannot be written.
        StoppedError: `stop` was set before the first frame was painted; nothing is written.
    """
    began = time.monotonic()
    target = Target.choose(Path(out), codec, crf)
    begin, finish = _seconds("start", start) or Fraction(0), _seconds("end", end)
    if finish is not None and finish <= begin:
        raise ImpastoError(f"the end ({end} s) must come after the start ({start or 0} s)")
    rate = _seconds("fps", fps)
    if rate is not None and not 0 < rate <= 1000:
        raise ImpastoError(f"fps must be a number above 0, not {fps}")
    if os.path.realpath(clip) == os.path.realpath(out):
        raise ImpastoError(f"{out} is the clip itself and would be overwritten: choose another file")
    source = Clip(clip, max_size=max_size, even=target.codec.even, max_pixels=max_pixels)
    if source.length is not None and begin >= source.length:
        raise ImpastoError(f"the clip is over after {float(source.length):.2f} s: start earlier than {start} s")
    controls = _Controls(painter, styles, style_size, strength, masks, source)
    steady = TemporalPainter(painter, controls.first, inertia=inertia, blend=blend, keep_color=keep_color)
    time_base = source.time_base if rate is None else 1 / rate
    settings = {
        "clip": [str(source.path.resolve()), source.path.stat().st_size, source.path.stat().st_mtime_ns],
        "painter": [painter.name, painter.fingerprint],
        "controls": [*controls.identity(), keep_color, inertia, blend],
        "frames": [source.width, source.height, str(begin), str(finish), str(rate)],
        "encoding": [target.codec.encoder, target.crf],
    }
    parts = Parts(target.path, settings, time_base, resume=resume)
    encoder = Encoder(
        parts.path,
        target,
        height=source.height,
        width=source.width,
        rate=rate or source.rate,
        time_base=time_base,
        color=source.color,
        aspect=source.aspect,
    )

    def encode(item: tuple[Pixels, Frame]) -> None:
        pixels, frame = item
        parts.note(frame.pts, frame.duration)
        encoder.write(pixels, frame.pts, frame.duration)

    there, total = parts.count, _expected(source, begin, finish, rate)
    reached = -1 if parts.last is None else parts.last[0]
    since = begin + reached * time_base - _WARM_UP
    done, stopped, keep = there, False, False
    frames = _frames(source, since, begin, finish, rate)
    try:
        with single_threaded(), closing(ahead(_looked_at(frames, steady))) as looked_at, Behind(encode) as encoding:
            for frame, sight in looked_at:
                if stop is not None and stop.is_set():
                    stopped = True
                    break
                if sight is not None:
                    painted = steady.paint(frame.pixels, sight, **controls.at(frame))
                if frame.pts > reached:
                    encoding.put((painted, frame))
                    done += 1
                    if progress is not None:
                        progress(done, total)
        encoder.close()
        if parts.last is None and stopped:
            raise StoppedError("stopped before the first frame was painted: nothing was written")
        if parts.last is None:
            raise ImpastoError(f"{source.path}: nothing was painted, there is no frame between the start and the end")
        last, duration = (ticks * time_base for ticks in parts.last)
        span = Span(begin, begin + last + duration if stopped else finish)
        left_out = assemble(parts.files(), (last, last + duration), source.path, source.start, span, target)
        keep = stopped and resume
    except BaseException:
        keep = parts.count > 0  # what has cost time stays for the next --resume
        raise
    finally:
        parts.close(keep=keep)
    return VideoResult(
        path=target.path,
        width=source.width,
        height=source.height,
        frames=parts.count,
        painted=parts.count - there,
        seconds=time.monotonic() - began,
        length=float(last + duration),
        cuts=steady.cuts,
        broken=source.broken,
        left_out=left_out,
        stopped=stopped,
    )


class _Controls:
    """What may change over the clip.

    Attributes:
        first: styles with weights, as the clip begins.
    """

    def __init__(
        self,
        painter: Stylizer,
        styles: Styles | KeyFrames[Styles],
        style_size: int,
        strength: float | KeyFrames[float],
        masks: Sequence[MaskSource] | None,
        source: Clip,
    ) -> None:
        if not isinstance(styles, KeyFrames):
            styles = KeyFrames({0: styles})
        if masks is not None and len(styles.values) > 1:
            raise ImpastoError("masks go with styles that stay: leave out either the masks or the styles' key frames")
        mixes = [painter.mix(value, style_size=style_size) for value in styles.values]
        shares = [check_weights(mix) for mix in mixes]
        self._styles = KeyFrames({
            at: dict(zip(mix, map(float, share / share.sum()), strict=True))
            for at, mix, share in zip(styles.times, mixes, shares, strict=True)
        })  # fmt: skip
        self.first = self._styles.values[0]
        self._strength = strength
        self._sources = masks or ()
        self._masks = None if masks is None else [MaskTrack(mask, source.height, source.width) for mask in masks]

    def at(self, frame: Frame) -> dict[str, Any]:
        """The controls of :meth:`Stylizer.stylize` for a frame; frames must come in order."""
        styles: dict[Style, float] = {}
        for mix, share in self._styles.at(float(frame.time)):
            for style, weight in mix.items():  # which may be in both
                styles[style] = styles.get(style, 0) + weight * share
        return {
            "styles": styles,
            "strength": number_at(self._strength, float(frame.time)),
            "masks": None if self._masks is None else [mask.at(frame.time) for mask in self._masks],
        }

    def identity(self) -> list[Any]:
        """Tells these controls from others, ready for ``json.dumps``."""
        styles = [[_digest(s.tensor, s.picture), weight] for mix in self._styles.values for s, weight in mix.items()]
        strength = self._strength
        numbers = [strength.times, strength.values] if isinstance(strength, KeyFrames) else strength
        masks = [_digest(mask) if isinstance(mask, np.ndarray) else str(mask) for mask in self._sources]
        return [self._styles.times, styles, numbers, masks]


def _frames(
    source: Clip, since: Fraction, start: Fraction, end: Fraction | None, rate: Fraction | None
) -> Iterator[Frame]:
    """The frames to paint, from `since` on."""
    usual = max(1, round(1 / source.rate / source.time_base))
    kept = between(lasting(source.frames(since), usual), start, end, source.time_base)
    chosen = kept if rate is None else at_rate(kept, rate, start, source.time_base)
    return (frame for frame in chosen if frame.time >= since)


def _looked_at(frames: Iterator[Frame], steady: TemporalPainter) -> Iterator[tuple[Frame, Sight | None]]:
    """Each frame, and what it has to do with that before; None for one that is shown once more, for a higher rate."""
    seen: Pixels | None = None
    for frame in frames:
        yield frame, None if frame.pixels is seen else steady.look(frame.pixels)
        seen = frame.pixels


def _seconds(name: str, value: float | Fraction | None) -> Fraction | None:
    if value is None:
        return None
    try:
        exact = Fraction(value).limit_denominator(1_000_000)
    except (TypeError, ValueError, OverflowError):
        exact = Fraction(-1)
    if exact < 0:
        raise ImpastoError(f"{name} must be a number of 0 or more, not {value}")
    return exact


def _expected(source: Clip, start: Fraction, end: Fraction | None, rate: Fraction | None) -> int | None:
    """How many frames there will be, as far as the clip tells."""
    if rate is None and not start and end is None and source.frame_count:
        return source.frame_count
    if source.length is None:
        return None
    stop = source.length if end is None else min(end, source.length)
    return round((stop - start) * (rate or source.rate))


def _digest(*arrays: np.ndarray | None) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays if array is not None)).hexdigest()
