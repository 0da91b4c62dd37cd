"""A clip in, a painted clip out."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from impasto.alpha import lay_on_white
from impasto.checks import plain
from impasto.controls import Controls, LastingOptions, change_controls, cross_fade
from impasto.errors import ImpastoError
from impasto.image import Pixels
from impasto.stylizer import MixSource, Stylizer
from impasto.video.clip import Clip, Frame
from impasto.video.encode import FrameEncoder, Target
from impasto.video.flow import use_one_thread
from impasto.video.keys import KeyFrames, number_at
from impasto.video.masks import MaskSource, MaskTrack
from impasto.video.mux import assemble
from impasto.video.parts import Parts
from impasto.video.pipeline import BackgroundWorker, make_ahead
from impasto.video.source import USUAL_RATE, find_number
from impasto.video.temporal import BLEND, INERTIA, Sight, TemporalPainter
from impasto.video.timing import add_durations, change_rate, cut
from impasto.video.tracks import PaintedSpan

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
        left_out: what else of the clip is not in the file, since it cannot hold it or it is damaged, in words.
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
    styles: MixSource | KeyFrames[MixSource],
    out: str | os.PathLike[str],
    controls: Controls | None = None,
    *,
    strength: float | KeyFrames[float] | None = None,
    masks: Sequence[MaskSource] | None = None,
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
    **changes: Unpack[LastingOptions],
) -> VideoResult:
    """Paints a clip.

    The result has the clip's frames at the clip's times, upright, and its sound and subtitles as they were, packet for
    packet. Decoding, painting and encoding overlap in three threads with a few frames in between, so that memory does
    not grow with the clip. What is done lies in a hidden folder beside `out` until the file is complete.

    Args:
        painter: model or method.
        clip: whatever FFmpeg reads, if it holds its video itself; or numbered pictures, ``frame-%05d.png``.
        styles: as :meth:`Stylizer.stylize` takes them, or key frames of that, cross-faded.
        out: the file to write: .mp4, .m4v, .mov, .mkv, .webm or .gif; or numbered pictures, ``frame-%05d.png``. The
            transparency of a clip is kept in .webm (VP9), .mov (ProRes 4444) and .png, and else laid on white.
        controls, changes: see :meth:`Stylizer.stylize` and :class:`TemporalPainter`.
        strength: 0..1, or key frames of it; None leaves it to `controls`.
        masks: one for each style: a clip or a picture (scaled to the frames), or an array of the frames' size.
        max_size: scale frames down so that their long side is at most this.
        max_pixels: refuse clips whose frames have more; None takes any.
        start, end: seconds of the clip between which to paint.
        fps: frames a second to come to; None keeps every frame and its time. Of numbered pictures, what they have: 25
            if nobody says.
        codec: "h264" (usual for mp4, mov and mkv), "h265", "vp9" (usual for webm), "av1" or "prores" (mov).
        crf: quality on the encoder's scale, smaller is better; None for one that keeps strokes.
        inertia, blend: what keeps the result from flickering, see :class:`TemporalPainter`; 0 switches it off.
        resume: go on from what a killed run with the same settings has left; a run that is stopped leaves it, too.
        progress: called after each frame with how many are done, and how many there will be as far as that is known.
        stop: when this is set, the file is finished with what has been painted so far.

    Raises:
        ImpastoError: a control is wrong, the clip cannot be read, or the file cannot be written.
        StoppedError: `stop` was set before the first frame was painted; nothing is written.
    """
    target = Target.choose(Path(out), codec, crf)  # now, and not when the clip has been read
    begin, finish, rate = _check_seconds("start", start), _check_seconds("end", end), _check_seconds("fps", fps)
    if finish is not None and finish <= (begin or 0):
        raise ImpastoError(f"the end ({end} s) must come after the start ({start or 0} s)")
    if rate is not None and not 0 < rate <= 1000:
        raise ImpastoError(f"fps must be a number above 0, not {fps}")
    if os.path.realpath(clip) == os.path.realpath(out):
        raise ImpastoError(f"{out} is the clip itself and would be overwritten: choose another file")
    numbered = find_number(Path(clip)) is not None
    source = Clip(
        clip,
        rate=rate if numbered and rate else USUAL_RATE,
        max_size=max_size,
        even=target.codec.even,
        max_pixels=max_pixels,
    )
    rate = None if numbered else rate
    if source.has_alpha:
        target = Target.choose(Path(out), codec, crf, alpha=True)
    excerpt = Excerpt(source, begin or Fraction(0), finish, rate)
    schedule = Schedule(painter, styles, change_controls(controls, changes), strength, masks, source)
    steady = TemporalPainter(painter, schedule.first, schedule.controls, inertia=inertia, blend=blend)
    settings = {
        "clip": source.source.identify(),
        "painter": [painter.name, painter.fingerprint],
        "controls": [
            *schedule.identify(),
            *schedule.controls.identify(),
            plain(inertia),
            plain(blend),
        ],
        "frames": [source.width, source.height, str(excerpt.begin), str(finish), str(rate)],
        "encoding": [target.codec.encoder, target.codec.samples, target.crf],
    }
    with target.place(resume) as place:
        parts = Parts(place, settings, excerpt.time_base, resume=resume)
        return _Conversion(excerpt, schedule, steady, parts, target, progress, stop).run(place, resume)


@dataclass(frozen=True)
class _Conversion:
    """One run of :func:`stylize_video`, whose arguments are checked; its `parts` are closed at the end."""

    excerpt: Excerpt
    schedule: Schedule
    steady: TemporalPainter
    parts: Parts
    target: Target
    progress: Callable[[int, int | None], None] | None
    stop: threading.Event | None

    def run(self, place: Path, resume: bool) -> VideoResult:
        """Paints what is left and writes the file; what has cost time stays in the folder for a later `resume`."""
        began, there, keep = time.monotonic(), self.parts.count, False
        source, parts = self.excerpt.source, self.parts
        try:
            stopped = self._paint()
            length, left_out = self._assemble(stopped)
            self.target.deliver(parts.whole, place)
            keep = stopped and resume
        except BaseException:
            keep = parts.count > 0
            raise
        finally:
            parts.close(keep=keep)
        return VideoResult(
            path=self.target.path,
            width=source.width,
            height=source.height,
            frames=parts.count,
            painted=parts.count - there,
            seconds=time.monotonic() - began,
            length=float(length),
            cuts=self.steady.cuts,
            broken=source.broken,
            left_out=left_out,
            stopped=stopped,
        )

    def _paint(self) -> bool:
        """Paints the frames that are not there yet, and encodes them; gives whether it was stopped."""
        parts, excerpt, source = self.parts, self.excerpt, self.excerpt.source
        encoder = FrameEncoder(
            parts.path,
            self.target,
            height=source.height,
            width=source.width,
            rate=excerpt.rate or source.rate,
            time_base=excerpt.time_base,
            color=source.color,
            aspect=source.aspect,
        )

        def encode(item: tuple[Pixels, Frame]) -> None:
            pixels, frame = item
            parts.note(frame.pts, frame.duration)
            encoder.write(pixels, frame.pts, frame.duration)

        done, total = parts.count, excerpt.expected_frames
        reached = -1 if parts.last is None else parts.last[0]
        frames = excerpt.frames(excerpt.begin + reached * excerpt.time_base - _WARM_UP)
        stopped = False
        with (
            use_one_thread(),
            closing(make_ahead(self._look_at(frames))) as looked_at,
            BackgroundWorker(encode) as encoding,
        ):
            for frame, sight in looked_at:
                if self.stop is not None and self.stop.is_set():
                    stopped = True
                    break
                if sight is not None:
                    painted = self.steady.paint(frame.pixels, sight, alpha=frame.alpha, **self.schedule.at(frame.time))
                if frame.pts > reached:
                    encoding.put((self._show(painted, frame.alpha), frame))
                    done += 1
                    if self.progress is not None:
                        self.progress(done, total)
        encoder.close()
        return stopped

    def _show(self, painted: Pixels, alpha: Pixels | None) -> Pixels:
        """Makes of a painted frame what is encoded: with its alpha, [H, W, 4], or on white."""
        if not self.target.codec.has_alpha:
            return lay_on_white(painted, alpha)
        return np.dstack([painted, np.full(painted.shape[:2], 255, np.uint8) if alpha is None else alpha])

    def _look_at(self, frames: Iterator[Frame]) -> Iterator[tuple[Frame, Sight | None]]:
        """Compares each frame with that before it; None for one that is shown once more, for a higher rate."""
        seen: Pixels | None = None
        for frame in frames:
            yield frame, None if frame.pixels is seen else self.steady.look(frame.pixels)
            seen = frame.pixels

    def _assemble(self, stopped: bool) -> tuple[Fraction, list[str]]:
        """Writes the file from its parts; gives its length in seconds and the streams that it cannot hold."""
        excerpt, parts, source = self.excerpt, self.parts, self.excerpt.source
        if parts.last is None and stopped:
            raise StoppedError("stopped before the first frame was painted: nothing was written")
        if parts.last is None:
            raise ImpastoError(f"{source.path}: nothing was painted, there is no frame between the start and the end")
        last, duration = (ticks * excerpt.time_base for ticks in parts.last)
        end = excerpt.begin + last + duration
        span = PaintedSpan(excerpt.begin, end if stopped else excerpt.end, excerpt.rate)
        times = last, last + duration
        return times[1], assemble(parts.files(), times, source, span, self.target, parts.whole)


@dataclass(frozen=True)
class Excerpt:
    """The part of a clip that is painted, and how many frames of it.

    Attributes:
        source: the clip.
        begin, end: seconds; None for the clip's end.
        rate: frames a second to come to; None keeps every frame and its time.
    """

    source: Clip
    begin: Fraction
    end: Fraction | None
    rate: Fraction | None

    def __post_init__(self) -> None:
        length = self.source.length
        if length is not None and self.begin >= length:
            raise ImpastoError(
                f"the clip is over after {float(length):.2f} s: start earlier than {float(self.begin):g} s"
            )

    @property
    def time_base(self) -> Fraction:
        """Seconds in a unit of the painted frames' time stamps."""
        return self.source.time_base if self.rate is None else 1 / self.rate

    @property
    def expected_frames(self) -> int | None:
        """How many frames there will be, as far as the clip tells."""
        source = self.source
        if self.rate is None and not self.begin and self.end is None and source.frame_count:
            return source.frame_count
        if source.length is None:
            return None
        stop = source.length if self.end is None else min(self.end, source.length)
        return round((stop - self.begin) * (self.rate or source.rate))

    def frames(self, since: Fraction) -> Iterator[Frame]:
        """Decodes the frames to paint, from `since` on, in seconds."""
        source = self.source
        usual = max(1, round(1 / source.rate / source.time_base))
        kept = cut(add_durations(source.frames(since), usual), self.begin, self.end, source.time_base)
        chosen = kept if self.rate is None else change_rate(kept, self.rate, self.begin, source.time_base)
        return (frame for frame in chosen if frame.time >= since)


class Schedule:
    """What changes over a clip: styles, strength and masks.

    Attributes:
        first: the mix that the clip begins with.
        controls: what stays, and the strength at the beginning.
    """

    def __init__(
        self,
        painter: Stylizer,
        styles: MixSource | KeyFrames[MixSource],
        controls: Controls,
        strength: float | KeyFrames[float] | None,
        masks: Sequence[MaskSource] | None,
        source: Clip,
    ) -> None:
        if not isinstance(styles, KeyFrames):
            styles = KeyFrames({0: styles})
        if masks is not None and len(styles.values) > 1:
            raise ImpastoError("masks go with styles that stay: leave out either the masks or the styles' key frames")
        mixes = [painter.mix(value, style_size=controls.style_size) for value in styles.values]
        self._mixes = KeyFrames(dict(zip(styles.times, mixes, strict=True)))
        self.first = mixes[0]
        self._strength = controls.strength if strength is None else plain(strength)
        for number in self._strength.values if isinstance(self._strength, KeyFrames) else [self._strength]:
            change_controls(controls, {"strength": number})  # now, and not when its frame comes
        self.controls = change_controls(controls, {"strength": number_at(self._strength, 0)})
        self._sources = masks or ()
        self._masks = None if masks is None else [MaskTrack(mask, source.height, source.width) for mask in masks]

    def at(self, time: Fraction) -> dict[str, Any]:
        """What :meth:`TemporalPainter.paint` is told of the frame of a time, in seconds; times must not go back."""
        return {
            "styles": cross_fade(self._mixes.at(float(time))),
            "strength": number_at(self._strength, float(time)),
            "masks": None if self._masks is None else [mask.at(time) for mask in self._masks],
        }

    def identify(self) -> list[Any]:
        """Tells this schedule from others, ready for ``json.dumps``."""
        styles = [
            [style.digest(), share]
            for mix in self._mixes.values
            for style, share in zip(mix.styles, mix.shares, strict=True)
        ]
        strength = self._strength
        numbers = [strength.times, strength.values] if isinstance(strength, KeyFrames) else strength
        masks = [
            hashlib.sha256(mask.tobytes()).hexdigest() if isinstance(mask, np.ndarray) else str(mask)
            for mask in self._sources
        ]
        return [self._mixes.times, styles, numbers, masks]


def _check_seconds(name: str, value: float | Fraction | None) -> Fraction | None:
    """Makes a number of seconds or frames a second exact; raises `ImpastoError` where it is none."""
    if value is None:
        return None
    try:
        number = plain(value)
        exact = Fraction(-1 if isinstance(number, bool) else number).limit_denominator(1_000_000)
    except (TypeError, ValueError, OverflowError):
        exact = Fraction(-1)
    if exact < 0:
        raise ImpastoError(f"{name} must be a number of 0 or more, not {value}")
    return exact
