"""`impasto camera`: the newest frame wins. A video stands for the camera, a function for the screen."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from screen import screen

import impasto

pytest.importorskip("impasto.video", reason="needs impasto[video]")
camera = pytest.importorskip("impasto.camera", reason="needs impasto[camera]")


needs_pygame = pytest.mark.skipif(importlib.util.find_spec("pygame") is None, reason="needs impasto[camera]")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    """Two seconds, 25 frames a second, 64 x 48; frame n is a grey of 4 n."""
    import av

    path = str(tmp_path_factory.mktemp("clip") / "clip.mp4")
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(50):
            picture = np.full((48, 64, 3), 4 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def painter() -> impasto.Stylizer:
    return impasto.load(engine="onnxruntime", threads=1)


def test_the_newest_frame_wins_and_the_delay_does_not_grow(clip):
    numbers, ages = [], []
    with camera.Grabber(clip) as grabber:
        while (taken := grabber.take()) is not None:
            frame, came = taken
            ages.append(time.monotonic() - came)
            numbers.append(round(frame.mean() / 4))
            time.sleep(0.2)  # a painter five times too slow
        assert numbers == sorted(numbers)
        assert len(numbers) <= 14  # of 50: the others were overtaken
        assert len(numbers) + grabber.dropped == 50
    steps = np.diff(numbers[:-1])
    assert steps.min() >= 2  # each time the newest, not the next
    assert max(ages) < 0.3


@pytest.mark.parametrize("name", ["12:30:45.mp4", "caf\udce9.mp4", "a%d.mp4"])
def test_a_video_of_any_name_plays(clip, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    os.link(clip, name)
    with camera.Grabber(name) as grabber:
        assert grabber.take()[0].shape == (48, 64, 3)


def test_frames_are_painted_in_the_right_colours(painter, clip, tmp_path, photo):
    import av

    small = np.asarray(Image.fromarray(photo).resize((128, 128)))
    path = str(tmp_path / "photo.mp4")
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv444p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(small, format="rgb24")))
        container.mux(stream.encode())
    shown = []
    pace = camera.paint_live(
        painter, "hokusai-great-wave", path, lambda frame, pace: shown.append((frame, pace)) is None, max_size=96
    )
    assert pace.shown == len(shown) >= 1
    assert pace.shown + pace.dropped == 10
    frame, first = shown[0]
    assert frame.shape == (96, 96, 3)
    assert first.latency > 0
    expected = np.asarray(painter.stylize(Image.fromarray(small).resize((96, 96)), "hokusai-great-wave")).astype(int)
    assert np.abs(frame - expected).mean() < 0.5 * np.abs(frame[..., ::-1] - expected).mean()
    assert "frames/s" in str(pace)


def test_it_ends_when_the_screen_has_enough(painter, clip):
    pace = camera.paint_live(painter, "klimt-kiss", clip, lambda frame, pace: pace.shown < 2, max_size=32)
    assert pace.shown == 2


def test_a_source_that_is_not_there_is_an_error(painter, tmp_path):
    (tmp_path / "no.mp4").write_bytes(b"nothing")
    for source, words in ((str(tmp_path / "no.mp4"), "it is no video that can be read"), (77, "no camera 77")):
        with pytest.raises(impasto.ImpastoError, match=words):
            camera.paint_live(painter, "klimt-kiss", source, lambda frame, pace: True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--to", "window"], "no display", marks=needs_pygame),
        (["--to", "virtual", "--source", "77"], "no camera 77"),
    ],
)
def test_the_command_says_on_one_line_what_is_missing(arguments, words):
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    ran = subprocess.run(
        [sys.executable, "-m", "impasto", "camera", "klimt-kiss", "--threads", "1", *arguments],
        capture_output=True, text=True, env=environment, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1
    assert words in ran.stderr


@pytest.fixture
def display(monkeypatch) -> Iterator[None]:
    with screen() as number:
        monkeypatch.setenv("DISPLAY", number)
        yield


@needs_pygame
def test_the_window_shows_what_is_painted_until_q_is_pressed(painter, clip, display):
    import pygame

    seen = []
    with camera.Window() as window:

        def show(frame, pace):
            if pace.shown == 3:
                pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_q))
            going = window.show(frame, pace)
            seen.append((frame, pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1), going))
            return going

        pace = camera.paint_live(painter, "hokusai-great-wave", clip, show, max_size=64)
    assert [going for *_, going in seen] == [True, True, False]
    assert pace.shown == 3
    frame, screen, _ = seen[-1]
    assert screen.shape == (600, 800, 3)  # of the frame's shape
    small = np.asarray(Image.fromarray(screen).resize((64, 48), Image.Resampling.BOX)).astype(int)
    assert np.abs(small[8:] - frame[8:]).mean() < 4  # below the line of text


@needs_pygame
def test_the_command_opens_a_window_and_ends_with_the_clip(clip, display):
    ran = subprocess.run(
        [sys.executable, "-m", "impasto", "camera", "klimt-kiss", "--threads", "1", "--source", clip],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "frames, " in ran.stderr
    assert not ran.stdout  # libraries greet there
