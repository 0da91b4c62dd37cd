"""`impasto video`, run as people run it: controls, key frames, masks, Ctrl-C, and going on after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import frames_of, length_of, make_clip, packets_of, pan, times_of
from PIL import Image
from skimage import data

from impasto.cli import main

LARGE = {"width": 128, "height": 96}  # slow enough to be interrupted


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(data.chelsea()).resize((97, 64)).save("cat.png")
    return tmp_path


@pytest.fixture
def video(capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit:
            main(["video", "--engine", "onnxruntime", *map(str, arguments)])
        said = capsys.readouterr()
        return exit.value.code or 0, said.out, said.err

    return run


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(int) - second).mean())


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "impasto", "video", *map(str, arguments), "--engine", "onnxruntime"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_frames(process: subprocess.Popen[str], out: str, count: int) -> None:
    """Until so many frames have gone to the encoder."""
    log = Path(f".{out}.impasto/frames.txt")
    while not (log.exists() and log.read_text().count("\n") >= count):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_a_clip_is_painted(video, folder):
    make_clip(folder / "a.mp4", pan(10), sound="aac")
    assert video("a.mp4", "cat.png") == (0, "a-cat.mp4\n", "")
    assert times_of(folder / "a-cat.mp4") == times_of(folder / "a.mp4")
    assert packets_of(folder / "a-cat.mp4", "audio") == packets_of(folder / "a.mp4", "audio")


def test_json_tells_what_was_made(video, folder):
    make_clip(folder / "a.mp4", pan(10), subtitles=["one"])
    code, out, err = video("a.mp4", "munch-scream", "cat.png", "--weights", "2,1", "--max-size", 48, "-o", "b.webm",
                           "--json")  # fmt: skip
    made = json.loads(out)
    assert made.pop("seconds") > 0
    assert made.pop("frames_per_second") > 0
    assert made == {
        "clip": "a.mp4", "out": "b.webm", "width": 48, "height": 32, "frames": 10, "length": 0.4,
        "styles": ["munch-scream", "cat"], "model": "adain", "engine": "onnxruntime", "cuts": 0, "broken": 0,
        "left_out": ["subtitle mov_text"], "stopped": False,
    }  # fmt: skip
    assert code == 0
    assert err == "impasto: left out of b.webm: subtitle mov_text\n"


def test_preview_is_short_and_small(video, folder):
    make_clip(folder / "a.mp4", pan(90, width=480, height=64))
    assert video("a.mp4", "munch-scream", "--preview", "--fps", "5", "-o", "p.mp4")[0] == 0
    assert length_of(folder / "p.mp4") == 3
    assert frames_of(folder / "p.mp4")[0].shape == (42, 320, 3)


def test_a_preview_ends_where_it_is_told(video, folder):
    make_clip(folder / "a.mp4", pan(90))
    assert video("a.mp4", "munch-scream", "--preview", "--start", 1, "--end", 1.4, "-o", "p.mp4")[0] == 0
    assert length_of(folder / "p.mp4") == Fraction(2, 5)


def test_strength_and_styles_change_over_the_clip(video, folder):
    """From the clip as it is, over one style, to the other."""
    still = [pan(1)[0]] * 30
    make_clip(folder / "a.mp4", still)
    for style in ("munch-scream", "klimt-kiss"):
        video("a.mp4", style, "-o", f"{style}.mp4")
    code, _, err = video("a.mp4", "munch-scream@0.4s", "-s", "klimt-kiss@0.8", "--strength", "0@0s, 1@0.4s",
                         "-o", "out.mp4", "--crf", 4)  # fmt: skip
    assert (code, err) == (0, "")
    frames = frames_of(folder / "out.mp4")
    ends = [frames_of(folder / f"{style}.mp4")[-1] for style in ("munch-scream", "klimt-kiss")]
    assert distance(frames[0], still[0]) < 3
    to_first = [distance(frame, ends[0]) for frame in frames]
    to_second = [distance(frame, ends[1]) for frame in frames]
    assert to_first[11] < 4
    assert to_second[29] < 4
    assert to_first[:12:3] == sorted(to_first[:12:3], reverse=True)
    assert to_second[12:24:3] == sorted(to_second[12:24:3], reverse=True)
    assert abs(to_first[15] - to_second[15]) < distance(*ends) / 2


def test_a_mask_that_moves(video, folder):
    """One style within a box that crosses the clip and leaves it, nothing elsewhere."""
    source = pan(20)
    boxes = []
    for index in range(20):
        box = np.zeros((64, 96, 3), np.uint8)
        box[16:48, 8 * index : 8 * index + 24] = 255
        boxes.append(box)
    make_clip(folder / "a.mp4", source)
    make_clip(folder / "mask.mp4", boxes)
    assert video("a.mp4", "klimt-kiss", "--mask", "mask.mp4", "-o", "out.mp4", "--crf", 4)[0] == 0
    for index, (frame, before) in enumerate(zip(frames_of(folder / "out.mp4"), source, strict=True)):
        within = boxes[index][..., 0] > 0
        inner = np.zeros_like(within)
        inner[20:44, 8 * index + 4 : 8 * index + 20] = True
        outer = np.ones_like(within)
        outer[12:52, max(0, 8 * index - 4) : 8 * index + 28] = False
        assert distance(frame[outer], before[outer]) < 4
        if inner.sum() > 50:
            assert distance(frame[inner], before[inner]) > 15


def test_stability_can_be_switched_off(video, folder):
    make_clip(folder / "a.mp4", pan(12))
    video("a.mp4", "klimt-kiss", "-o", "bare.mp4", "--no-flow", "--inertia", 0, "--crf", 4)
    video("a.mp4", "klimt-kiss", "-o", "flow.mp4", "--inertia", 0, "--crf", 4)
    bare, flow = frames_of(folder / "bare.mp4"), frames_of(folder / "flow.mp4")
    assert distance(bare[0], flow[0]) < 1.5
    assert distance(bare[-1], flow[-1]) > 2


def test_a_link_stays_a_link(video, folder):
    make_clip(folder / "a.mp4", pan(3))
    (folder / "there").mkdir()
    (folder / "out.mp4").symlink_to("there/real.mp4")
    assert video("a.mp4", "munch-scream", "-o", "out.mp4") == (0, "out.mp4\n", "")
    assert (folder / "out.mp4").is_symlink()
    assert [path.name for path in (folder / "there").iterdir()] == ["real.mp4"]
    assert len(frames_of(folder / "out.mp4")) == 3


@contextlib.contextmanager
def pipe(name: str, work: Callable[[str], object]) -> Iterator[str]:
    """A named pipe, at whose other end something is done in a thread of its own."""
    os.mkfifo(name)
    thread = threading.Thread(target=work, args=[name])
    thread.start()
    yield name
    thread.join()


def test_clips_go_through_pipes(video, folder):
    clip = make_clip(folder / "a.mp4", pan(3), sound="aac")
    assert video("a.mp4", "munch-scream", "-o", "once.mp4")[0] == 0
    arrived: list[bytes] = []
    with (
        pipe("in", lambda name: Path(name).write_bytes(clip.read_bytes())) as taken,
        pipe("out.mp4", lambda name: arrived.append(Path(name).read_bytes())) as given,
    ):
        assert video(taken, "munch-scream", "-o", given) == (0, "out.mp4\n", "")
    assert (folder / "out.mp4").is_fifo()
    (folder / "twice.mp4").write_bytes(arrived[0])
    assert (folder / "twice.mp4").read_bytes() == (folder / "once.mp4").read_bytes()
    assert {path.name for path in folder.iterdir()} == {"a.mp4", "cat.png", "in", "once.mp4", "out.mp4", "twice.mp4"}


def test_clips_go_from_stdin_to_stdout(folder):
    make_clip(folder / "a.mp4", pan(3), sound="aac")
    command = "cat a.mp4 | {python} -m impasto video - munch-scream -o - --engine onnxruntime > out.mkv"
    done = subprocess.run(
        command.format(python=sys.executable), shell=True, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(frames_of(folder / "out.mkv")) == 3
    assert packets_of(folder / "out.mkv", "audio")


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (b"", (), "nothing came through it"),
        (b"these are words" * 9, (), "no video that can be read"),
        (None, ("-o", "/dev/null", "--resume"), "is a pipe, in which nothing stays to go on from: leave out --resume"),
        (None, ("-o", "-", "--json"), "cannot both go to stdout"),
    ],
)
def test_what_does_not_go_through_pipes_is_told(video, folder, content, arguments, message):
    make_clip(folder / "a.mp4", pan(3))
    with contextlib.ExitStack() as opened:
        if content is not None:
            opened.enter_context(pipe("in", lambda name: Path(name).write_bytes(content)))
        code, _, err = video("a.mp4" if content is None else "in", "munch-scream", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert {path.name for path in folder.iterdir()} <= {"a.mp4", "cat.png", "in"}


def test_ctrl_c_finishes_the_file(folder):
    make_clip(folder / "a.mp4", pan(300, **LARGE, speed=0.3), sound="aac", options={"preset": "ultrafast"})
    process = start("a.mp4", "munch-scream", "-o", "out.mp4")
    wait_for_frames(process, "out.mp4", 20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "out.mp4\n")
    assert "Traceback" not in err
    times = times_of(folder / "out.mp4")
    assert f"stopped after {len(times)} frames" in err
    assert 20 <= len(times) < 300
    assert times == times_of(folder / "a.mp4")[: len(times)]
    assert length_of(folder / "out.mp4") == Fraction(len(times), 25)
    assert packets_of(folder / "out.mp4", "audio")[-1][0] < Fraction(len(times), 25)
    assert sorted(path.name for path in folder.iterdir()) == ["a.mp4", "cat.png", "out.mp4"]


def test_ctrl_c_before_the_first_frame(folder):
    """All of a bare stream has to be decoded to come to a time in it, which leaves time to stop."""
    make_clip(folder / "a.h264", 250 * pan(10), options={"preset": "ultrafast"})
    process = start("a.h264", "munch-scream", "--start", "95", "-o", "out.mp4")
    while not Path(".out.mp4.impasto").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "stopped before the first frame" in err
    assert "Traceback" not in err
    assert sorted(path.name for path in folder.iterdir()) == ["a.h264", "cat.png"]


@pytest.mark.slow
def test_a_killed_run_is_taken_up_again(video, folder):
    """Killed twice, at places that nobody chose; then all frames are there, once, and look as in one go."""
    count = 130
    clip = make_clip(folder / "a.mp4", pan(count, **LARGE, speed=0.3), sound="aac", options={"preset": "ultrafast"})
    arguments = ("a.mp4", "munch-scream", "--resume", "-o", "out.mp4")
    for frames in (60, 100):
        process = start(*arguments)
        wait_for_frames(process, "out.mp4", frames)
        process.kill()
        process.communicate()
    assert not (folder / "out.mp4").exists()
    code, _, err = video("a.mp4", "klimt-kiss", *arguments[2:])
    assert (code, "had other settings" in err) == (2, True)
    code, out, err = video(*arguments, "--json")
    assert (code, json.loads(out)["frames"]) == (0, count)
    assert times_of(folder / "out.mp4") == times_of(clip)
    assert length_of(folder / "out.mp4") == length_of(clip)
    assert packets_of(folder / "out.mp4", "audio") == packets_of(clip, "audio")
    assert sorted(path.name for path in folder.iterdir()) == ["a.mp4", "cat.png", "out.mp4"]
    video("a.mp4", "munch-scream", "-o", "once.mp4")
    pairs = zip(frames_of(folder / "out.mp4"), frames_of(folder / "once.mp4"), strict=True)
    assert max(distance(*pair) for pair in pairs) < 4


@pytest.mark.parametrize("package", ["av", "cv2"])
def test_a_missing_extra_is_named(folder, package):
    run = "from impasto.cli import main; main(['video', 'a.mp4', 'cat.png'])"
    code = f"import sys; sys.modules[{package!r}] = None; {run}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == f"impasto: impasto.video needs {package}: pip install impasto[video]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.mp4"], "no style given"),
        (["a.mp4", "munch-scream@0s", "klimt-kiss"], "klimt-kiss has no time: give all styles one, like klimt-kiss@4s"),
        (["a.mp4", "munch-scream@0s", "--weights", "1"], "leave out --weights and --mask"),
        (["a.mp4", "munch-scream", "--strength", "much"], "--strength takes a number, or numbers with times"),
        (["a.mp4", "munch-scream", "--strength", "0@0s,1"], "--strength takes a number, or numbers with times"),
        (["a.mp4", "munch-scream", "--fps", "fast"], "--fps takes a number or a ratio"),
        (["a.mp4", "cat.png", "-o", "cat.png"], "cat.png is an input and would be overwritten"),
        (["a.mp4", "munch-scream", "-o", "out.webm", "--codec", "h264"], ".webm does not hold h264"),
        (["a.mp4", "munch-scream", "--no-flow", "--blend", "0.5"], "leave out --blend"),
        (["cat.png", "munch-scream"], "is a picture, not a clip"),
        (["a.mp4", "munch-screem"], "did you mean munch-scream?"),
    ],
)
def test_errors_are_one_line(video, folder, arguments, message):
    make_clip(folder / "a.mp4", pan(3))
    code, out, err = video(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == ["a.mp4", "cat.png"]
