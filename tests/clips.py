"""Clips for tests, made here: pictures that move in a known way, sound, subtitles, and every oddity a file can have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation
from PIL import Image, ImageFilter
from skimage import data

#: 1/12800 s, as cameras have it.
TICK = Fraction(1, 12800)
SOUND = 48000


def pan(count: int, width: int = 96, height: int = 64, speed: float = 1.5) -> list[np.ndarray]:
    """A look that moves over a photograph, `speed` pixels to the right in each frame: uint8 [H, W, 3] each."""
    photo = Image.fromarray(data.coffee()).reduce(2).filter(ImageFilter.GaussianBlur(1))
    return [
        np.asarray(photo.transform((width, height), Image.Transform.AFFINE, (1, 0, speed * t, 0, 1, 30),
                                   Image.Resampling.BICUBIC))
        for t in range(count)
    ]  # fmt: skip


def make_clip(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    times: Sequence[int] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    matrix: int = 1,
    full: bool = False,
    tagged: bool = True,
    sound: str | None = None,
    subtitles: Sequence[str] = (),
    options: dict[str, str] | None = None,
    prepare: Callable[[av.VideoStream], None] | None = None,
) -> Path:
    """Writes a clip.

    Args:
        frames: uint8 [H, W, 3].
        times: time stamps in `TICK`; 25 frames a second if not given.
        matrix: 1 for BT.709, 5 for BT.601, in which swscale and H.273 agree.
        full: luma from 0 to 255.
        tagged: say so in the file.
        sound: codec of a tone, as long as the clip.
        subtitles: a line for each half second, as mov_text.
        prepare: changes the video stream before anything is encoded.
    """
    times = times or [512 * index for index in range(len(frames))]
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=25, options=options or {"crf": "4", "preset": "veryfast"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt, video.codec_context.time_base = pix_fmt, TICK
        if tagged:
            context = video.codec_context
            context.colorspace, context.color_range = matrix, 2 if full else 1
            context.color_primaries = context.color_trc = 1
        if prepare is not None:
            prepare(video)
        audio = out.add_stream(sound, rate=SOUND, layout="mono") if sound else None
        text = out.add_mux_stream("mov_text") if subtitles else None
        for pixels, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            if not pix_fmt.startswith(("rgb", "gbr")):
                flags = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
                frame = frame.reformat(
                    format=pix_fmt, dst_colorspace=matrix, src_color_range=ColorRange.JPEG,
                    dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG, interpolation=flags,
                )  # fmt: skip
            frame.pts, frame.time_base, frame.duration = time, TICK, 512
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            length = round((times[-1] + 512) * TICK * SOUND)
            tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(length) / SOUND)).astype(np.int16)
            for at in range(0, length, 1024):
                samples = av.AudioFrame.from_ndarray(tone[None, at : at + 1024], "s16", "mono")
                samples.sample_rate, samples.pts, samples.time_base = SOUND, at, Fraction(1, SOUND)
                out.mux(audio.encode(samples))
            out.mux(audio.encode(None))
        for number, line in enumerate(subtitles):
            packet = av.Packet(len(line.encode()).to_bytes(2, "big") + line.encode())
            packet.pts = packet.dts = 500 * number
            packet.duration, packet.time_base, packet.stream = 500, Fraction(1, 1000), text
            out.mux(packet)
    return path


def frames_of(path: Path) -> list[np.ndarray]:
    """The frames of a clip, uint8 [H, W, 3], made from their samples by the formulas of ITU-T H.273."""
    with av.open(str(path)) as clip:
        return [_rgb(frame) for frame in clip.decode(video=0)]


def _rgb(frame: av.VideoFrame) -> np.ndarray:
    if frame.format.name != "yuv420p":  # GIF and the like, where there is nothing to get wrong
        return frame.to_ndarray(format="rgb24")
    red, blue = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}.get(frame.colorspace, (0.299, 0.114))
    planes = [np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].astype(float)
              for plane in frame.planes]  # fmt: skip
    full = frame.color_range == ColorRange.JPEG
    luma = planes[0] / 255 if full else (planes[0] - 16) / 219
    cb, cr = (((plane - 128) / (255 if full else 224)).repeat(2, 0).repeat(2, 1)[: frame.height, : frame.width]
              for plane in planes[1:])  # fmt: skip
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.rint(255 * np.clip(np.stack([r, g, b], 2), 0, 1)).astype(np.uint8)


def times_of(path: Path) -> list[Fraction]:
    """When its frames are shown, in seconds."""
    with av.open(str(path)) as clip:
        return [frame.pts * frame.time_base for frame in clip.decode(video=0)]


def packets_of(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """Time in seconds and contents of the packets of its first stream of a kind."""
    with av.open(str(path)) as clip:
        stream = getattr(clip.streams, kind)[0]
        return [(p.pts * p.time_base, bytes(p)) for p in clip.demux(stream) if p.pts is not None]


def length_of(path: Path) -> Fraction:
    """Seconds that its video plays."""
    with av.open(str(path)) as clip:
        stream = clip.streams.video[0]
        return stream.duration * stream.time_base
