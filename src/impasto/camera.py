"""A live camera, painted: the newest frame always wins. Needs ``impasto[camera]``.

import impasto
from impasto.camera import Window, paint_live
with Window() as window:
    paint_live(impasto.load(), "hokusai-great-wave", 0, window.show)
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from impasto.alpha import lay_on_white
from impasto.checks import plain
from impasto.controls import ControlOptions, Controls
from impasto.errors import ImpastoError
from impasto.extras import explain_missing
from impasto.image import Pixels, limit_long_side
from impasto.stylizer import MixSource, Stylizer

with explain_missing(__name__):
    import cv2

    from impasto.video import TemporalPainter
    from impasto.video.clip import Clip

#: Long side in pixels that frames are painted at.
MAX_SIZE = 512
_WINDOW = 800  # width in pixels that a window opens with
_RECENT = 2.0  # seconds over which the rate is taken


@dataclass
class Pace:
    """How fast it goes.

    Attributes:
        shown: frames painted and shown.
        dropped: frames that a newer one has overtaken.
        frames_per_second: of those shown, over the last two seconds.
        latency: seconds from a frame's arrival to its being shown, for the last one.
    """

    shown: int = 0
    dropped: int = 0
    frames_per_second: float = 0.0
    latency: float = 0.0

    def __str__(self) -> str:
        return f"{self.frames_per_second:.1f} frames/s, {1000 * self.latency:.0f} ms behind, {self.dropped} dropped"


class Grabber:
    """The newest frame of a camera, read in a thread of its own; what nobody takes in time is dropped.

    Args:
        source: number of a camera, the address of one on the network, or the path of a video, which is then played at
            its own speed as a camera would.
    """

    def __init__(self, source: int | str) -> None:
        source = plain(source)
        if isinstance(source, str) and (os.path.exists(source) or "://" not in source):
            self._frames = _play(Clip(source))
        else:
            self._frames = _watch(_open_camera(source))
        self._news = threading.Condition()
        self._frame: tuple[Pixels, float] | None = None
        self._over = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Grabber:
        return self

    def __exit__(self, *_: object) -> None:
        with self._news:
            self._over = True
        self._thread.join(5)

    def take(self) -> tuple[Pixels, float] | None:
        """Takes the newest frame, uint8 [H, W, 3] in RGB, and when it came (`time.monotonic`); None at the end.

        Waits until there is a frame that has not been taken.
        """
        with self._news:
            self._news.wait_for(lambda: self._frame is not None or self._over)
            taken, self._frame = self._frame, None
        return taken

    def _read(self) -> None:
        with contextlib.closing(self._frames):
            for frame in self._frames:
                with self._news:
                    if self._over:
                        break
                    self.dropped += self._frame is not None
                    self._frame = (frame, time.monotonic())
                    self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()


def _play(clip: Clip) -> Generator[Pixels, None, None]:
    """Gives the frames of a clip when they are due, uint8 [H, W, 3] in RGB."""
    began = time.monotonic()
    for frame in clip.frames():
        time.sleep(max(0.0, began + float(frame.time) - time.monotonic()))
        yield lay_on_white(frame.pixels, frame.alpha)


def _open_camera(source: int | str) -> cv2.VideoCapture:
    """Opens a camera by its number, or one on the network by its address."""
    # What OpenCV has to say of each backend it tries helps nobody.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        raise ImpastoError(f"there is no camera {source}: plug one in, or name another, or a video, with --source")
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # frames that lie in the driver would only be old
    return capture


def _watch(capture: cv2.VideoCapture) -> Generator[Pixels, None, None]:
    """Gives the frames of a camera as they come, uint8 [H, W, 3] in RGB."""
    try:
        while (taken := capture.read())[0]:
            yield np.ascontiguousarray(taken[1][..., ::-1], np.uint8)
    finally:
        capture.release()


def paint_live(
    painter: Stylizer,
    styles: MixSource,
    source: int | str,
    show: Callable[[Pixels, Pace], bool],
    controls: Controls | None = None,
    *,
    max_size: int = MAX_SIZE,
    **changes: Unpack[ControlOptions],
) -> Pace:
    """Paints a camera until it ends, or until `show` has enough.

    Args:
        painter: what paints.
        styles: see :meth:`Stylizer.stylize`.
        source: see :class:`Grabber`.
        show: takes a painted frame, uint8 [H, W, 3], and the pace so far; gives False to end.
        controls, changes: see :class:`impasto.video.TemporalPainter`.
        max_size: frames are scaled down to this long side.

    Raises:
        ImpastoError: there is no such camera or video.
    """
    steady = TemporalPainter(painter, styles, controls, **changes)
    pace, times = Pace(), deque[float]()
    with Grabber(source) as grabber:
        while (taken := grabber.take()) is not None:
            frame, came = taken
            painted = steady.paint(limit_long_side(frame, max_size))
            now = time.monotonic()
            times.append(now)
            while now - times[0] > _RECENT:
                times.popleft()
            rate = (len(times) - 1) / (now - times[0]) if len(times) > 1 else 0.0
            pace = Pace(pace.shown + 1, grabber.dropped, rate, now - came)
            if not show(painted, pace):
                break
    return pace


class Window:
    """A window on the screen; q, Esc or its cross ends it."""

    def __enter__(self) -> Window:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")  # Ctrl-C shall end the program as ever
        with explain_missing(__name__):
            import pygame

        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise ImpastoError("there is no display here: use --to virtual, or the camera of the page, impasto app")
        try:
            pygame.display.init()
        except pygame.error as error:
            raise ImpastoError(f"cannot open a window here ({error}): use --to virtual") from None
        pygame.font.init()
        pygame.display.set_caption("impasto")
        self._font = pygame.font.Font(None, 20)
        return self

    def __exit__(self, *_: object) -> None:
        import pygame

        pygame.quit()

    def show(self, frame: Pixels, pace: Pace) -> bool:
        """Shows a frame, as :func:`paint_live` asks for, as large as the window allows."""
        import pygame

        height, width = frame.shape[:2]
        screen = pygame.display.get_surface()
        if screen is None:
            screen = pygame.display.set_mode((_WINDOW, round(_WINDOW * height / width)), pygame.RESIZABLE)
        scale = min(screen.get_width() / width, screen.get_height() / height)
        picture = pygame.image.frombuffer(frame.tobytes(), (width, height), "RGB")
        picture = pygame.transform.smoothscale(picture, (max(1, round(width * scale)), max(1, round(height * scale))))
        screen.fill("black")
        screen.blit(picture, picture.get_rect(center=screen.get_rect().center))
        screen.blit(self._font.render(str(pace), True, "white", "black"), (0, 0))
        pygame.display.flip()
        ends = (
            event.type == pygame.QUIT or (event.type == pygame.KEYDOWN and event.key in (pygame.K_q, pygame.K_ESCAPE))
            for event in pygame.event.get()
        )
        return not any(ends)


class VirtualCamera:
    """A camera for other programs: v4l2loopback on Linux, OBS elsewhere."""

    def __init__(self) -> None:
        self._camera: Any = None

    def __enter__(self) -> VirtualCamera:
        return self

    def __exit__(self, *_: object) -> None:
        if self._camera is not None:
            self._camera.close()

    def show(self, frame: Pixels, pace: Pace) -> bool:
        """Hands a frame on, as :func:`paint_live` asks for; it opens with the first one, whose size it takes."""
        if self._camera is None:
            with explain_missing(__name__):
                import pyvirtualcam

            try:
                self._camera = pyvirtualcam.Camera(frame.shape[1], frame.shape[0], 30)
            except RuntimeError as error:
                help = "sudo modprobe v4l2loopback" if sys.platform.startswith("linux") else "install OBS"
                raise ImpastoError(f"there is no virtual camera ({str(error).splitlines()[0]}): {help}") from None
            print(f"impasto: {self._camera.device} is the painted camera; Ctrl-C ends it", file=sys.stderr)
        self._camera.send(frame)
        return True
