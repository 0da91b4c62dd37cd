"""Clips in, painted clips out: times, sound, turns, colours, and files with something wrong in them."""

from __future__ import annotations

import io
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import SOUND, frames_of, length_of, make_clip, packets_of, pan, times_of
from PIL import Image

import impasto
from impasto.alpha import lay_on_white
from impasto.errors import ImpastoError, TooLargeError
from impasto.mask import read_masks
from impasto.video import StoppedError, TemporalPainter, stylize_video
from impasto.video.clip import Clip
from impasto.video.masks import MaskTrack

STYLE = "munch-scream"


@pytest.fixture(scope="module")
def model() -> impasto.Stylizer:
    return impasto.load(engine="onnxruntime")


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference, of 255."""
    return float(np.abs(first.astype(int) - second).mean())


def test_times_sound_and_subtitles_stay(model, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", pan(30), sound="aac", subtitles=["one", "two"])
    shown: list[tuple[int, int | None]] = []
    result = stylize_video(model, clip, STYLE, tmp_path / "out.mp4", progress=lambda *done: shown.append(done))
    assert (result.frames, result.width, result.height, result.broken, result.left_out) == (30, 96, 64, 0, [])
    assert shown == [(done, 30) for done in range(1, 31)]
    assert times_of(result.path) == times_of(clip)
    assert length_of(result.path) == length_of(clip) == Fraction(30, 25)
    for kind in ("audio", "subtitles"):
        assert packets_of(result.path, kind) == packets_of(clip, kind)
    painted, source = frames_of(result.path), frames_of(clip)
    assert all(distance(*pair) > 10 for pair in zip(painted, source, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "out.mp4"]


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_variable_rate_keeps_its_times(model, tmp_path, ending):
    times = [0, 512, 1024, 4096, 4352, 9000, 9512, 20000]
    clip = make_clip(tmp_path / "a.mp4", pan(8), times=times, sound="aac", options={"bf": "0"})
    result = stylize_video(model, clip, STYLE, tmp_path / f"out.{ending}")
    if ending == "mp4":
        assert times_of(result.path) == times_of(clip)
        assert length_of(result.path) == length_of(clip) == Fraction(20512, 12800)
        return
    # Matroska counts in milliseconds, and never below 0: all of it is moved by what the sound begins earlier.
    sound = [packets_of(path, "audio")[0][0] for path in (clip, result.path)]
    moved = zip(times_of(clip), times_of(result.path), strict=True)
    assert sound[0] < 0 == sound[1]
    assert all(abs((shown - sound[1]) - (time - sound[0])) <= Fraction(1, 1000) for time, shown in moved)


@pytest.fixture(scope="module")
def reference(model, tmp_path_factory):
    """A clip, and the frames of what is painted from it, hardly compressed."""
    folder = tmp_path_factory.mktemp("reference")
    clip = make_clip(folder / "a.mp4", pan(10))
    return clip, frames_of(stylize_video(model, clip, STYLE, folder / "reference.mp4", crf=4).path)


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "h264"), ("mp4", "h265"), ("mov", "h265"), ("mov", "h264"),
                                               ("mp4", "av1"),
                                               ("mkv", "vp9"), ("webm", "vp9"), ("gif", "gif")])  # fmt: skip
def test_formats_out(model, tmp_path, reference, ending, codec):
    clip, expected = reference
    result = stylize_video(model, clip, STYLE, tmp_path / f"out.{ending}", codec=codec)
    with av.open(str(result.path)) as out:
        name = out.streams.video[0].codec_context.codec.canonical_name
        assert name == {"h265": "hevc"}.get(codec, codec)
        if codec == "h265" and ending != "mkv":
            assert out.streams.video[0].codec_context.codec_tag == "hvc1"  # Apple's players take no other
    assert times_of(result.path) == times_of(clip)
    frames = frames_of(result.path)
    assert len(frames) == 10
    assert all(distance(*pair) < 8 for pair in zip(frames, expected, strict=True))


@pytest.mark.parametrize("ending", ["webm", "gif", "mkv"])
def test_formats_in(model, tmp_path, ending):
    clip = tmp_path / f"a.{ending}"
    if ending == "gif":
        first, *others = (Image.fromarray(frame) for frame in pan(6))
        first.save(clip, save_all=True, append_images=others, duration=[40, 120, 40, 500, 40, 40])
    else:
        encoder = {"webm": "libvpx-vp9", "mkv": "libx265"}[ending]
        make_clip(clip, pan(6), codec=encoder, options={"crf": "10", "x265-params": "log-level=none"})
    result = stylize_video(model, clip, STYLE, tmp_path / "out.mp4", strength=0)
    assert times_of(result.path) == times_of(clip)
    assert all(distance(*pair) < 4 for pair in zip(frames_of(result.path), frames_of(clip), strict=True))


@pytest.mark.parametrize(
    "name",
    ["2024-01-02T12:30:45.mp4", "concat:a|b.mp4", "a%03d.gif", "a?.gif", "-dash.mp4", "new\nline.mp4", "caf\udce9.mp4",
     "x" * 251 + ".mp4"],
)  # fmt: skip
def test_whatever_a_file_is_called_it_is_read_and_written(model, tmp_path, monkeypatch, name):
    """FFmpeg takes some names for protocols or rows of files."""
    monkeypatch.chdir(tmp_path)
    if name.endswith("gif"):
        first, *others = (Image.fromarray(frame) for frame in pan(3))
        first.save(name, save_all=True, append_images=others, duration=40)
    else:
        make_clip(tmp_path / "a.mp4", pan(3)).rename(name)
    Path("to:").mkdir()
    result = stylize_video(model, name, STYLE, f"to:/{name}", strength=0)
    assert result.frames == 3
    assert [path.name for path in Path("to:").iterdir()] == [name]
    Path("to:", name).rename("out")
    assert len(frames_of(tmp_path / "out")) == 3


def test_sound_that_webm_does_not_hold_is_encoded_anew(model, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", pan(50), sound="aac")
    result = stylize_video(model, clip, STYLE, tmp_path / "out.webm", start=0.4)
    assert result.left_out == []
    with av.open(str(result.path)) as out:
        assert out.streams.audio[0].codec_context.name == "opus"
        frames = list(out.decode(audio=0))
    heard = np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(float)
    assert abs(len(heard) / SOUND - 1.6) < 0.05
    spectrum = np.abs(np.fft.rfft(heard[SOUND // 4 : SOUND]))
    assert abs(spectrum.argmax() / 0.75 - 440) < 3  # the tone


# What frames look like


@pytest.mark.parametrize(("degrees", "mirrored"), [(0, True), (90, False), (180, False), (270, False), (90, True)])
def test_turned_clips_come_upright_and_turned_once(model, tmp_path, degrees, mirrored):
    stored = pan(3)
    clip = make_clip(
        tmp_path / "a.mp4", stored, prepare=lambda video: video.set_display_rotation(degrees, hflip=mirrored)
    )
    result = stylize_video(model, clip, STYLE, tmp_path / "out.mp4", strength=0)
    with av.open(str(result.path)) as out:
        assert next(out.decode(video=0)).rotation == 0
    [first, *_] = frames_of(result.path)
    upright = np.rot90(stored[0], degrees // 90)  # counter-clockwise, both
    upright = upright[:, ::-1] if mirrored else upright
    assert (result.height, result.width) == upright.shape[:2]
    assert distance(first, upright) < 4


@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_odd_sizes(model, tmp_path, codec):
    """H.264 gets the last column twice; VP9 can be odd."""
    source = pan(3, width=97, height=65)
    clip = make_clip(tmp_path / "a.mkv", source, codec="libvpx-vp9", options={"crf": "10"})
    result = stylize_video(model, clip, STYLE, tmp_path / "out.mkv", strength=0, codec=codec)
    assert (result.width, result.height) == ((98, 66) if codec == "h264" else (97, 65))
    assert distance(frames_of(result.path)[0][:65, :97], source[0]) < 4
    small = stylize_video(model, clip, STYLE, tmp_path / "small.mkv", codec=codec, max_size=49)
    assert (small.width, small.height) == ((48, 32) if codec == "h264" else (49, 33))


def test_an_odd_maximal_size_is_not_exceeded(model, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", pan(3))
    for codec, size in (("h264", (46, 30)), ("vp9", (47, 31))):
        result = stylize_video(model, clip, STYLE, tmp_path / "out.mp4", codec=codec, max_size=47)
        assert (result.width, result.height) == size == frames_of(result.path)[0].shape[1::-1]


def tags_of(path: Path) -> tuple[int, ...]:
    with av.open(str(path)) as clip:
        frame = next(clip.decode(video=0))
        return frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc


BARS = np.array([[255, 255, 255], [255, 255, 0], [0, 255, 255], [0, 255, 0], [255, 0, 255], [255, 0, 0], [0, 0, 255],
                 [0, 0, 0]], np.uint8)  # fmt: skip


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 9])
def test_colours_go_through_unchanged(model, tmp_path, matrix, full):
    """Bars and a grey ramp, at strength 0, by the matrix and range that the file says."""
    # Rows and columns at borders are left out: there chroma, of half the size, is mixed.
    ramp = np.linspace(0, 255, 128).astype(np.uint8)[None, :, None].repeat(32, 0).repeat(3, 2)
    picture = np.concatenate([BARS.repeat(16, 0)[None].repeat(32, 0), ramp])
    clip = make_clip(tmp_path / "a.mp4", [picture] * 3, matrix=matrix, full=full)
    result = stylize_video(model, clip, STYLE, tmp_path / "out.mp4", strength=0, crf=1)
    assert tags_of(result.path) == tags_of(clip) == (matrix, 2 if full else 1, 1, 1)
    for got in (frames_of(result.path)[-1], next(Clip(clip).frames()).pixels):
        assert np.abs(got[40:].astype(int) - picture[40:]).max() <= 3
        centres = got[4:28, 8::16].astype(int).mean(0)
        assert np.abs(centres - BARS).max() <= 4


@pytest.mark.parametrize(("height", "matrix"), [(64, 5), (720, 1)])
def test_what_does_not_tell_its_matrix_is_taken_as_players_take_it(tmp_path, height, matrix):
    picture = BARS.repeat(16, 0)[None].repeat(height, 0)
    clip = make_clip(tmp_path / "a.mp4", [picture], matrix=matrix, tagged=False)
    pixels = next(Clip(clip).frames()).pixels
    assert np.abs(pixels[4:28, 8::16].astype(int).mean(0) - BARS).max() <= 4


def test_ten_bits_are_read(model, tmp_path):
    source = pan(3)
    clip = make_clip(tmp_path / "a.mkv", source, codec="libx265", pix_fmt="yuv420p10le", options={"crf": "4"})
    result = stylize_video(model, clip, STYLE, tmp_path / "out.mp4", strength=0)
    with av.open(str(result.path)) as out:
        assert out.streams.video[0].pix_fmt == "yuv420p"
    assert distance(frames_of(result.path)[0], source[0]) < 4


def test_pixels_that_are_not_square_stay_so(model, tmp_path):
    def anamorphic(video: av.VideoStream) -> None:
        video.codec_context.sample_aspect_ratio = Fraction(4, 3)

    clip = make_clip(tmp_path / "a.mp4", pan(2), prepare=anamorphic)
    result = stylize_video(model, clip, STYLE, tmp_path / "out.mp4")
    with av.open(str(result.path)) as out:
        assert out.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def moving_gif(path: Path, ground: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Path:
    """A part of a photo that moves over a ground."""
    frames = []
    for x, look in zip((4, 20), pan(2, 40, 48), strict=True):
        frame = Image.new("RGBA", (96, 64), ground)
        frame.paste(Image.fromarray(look), (x, 8))
        frames.append(frame)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, disposal=2)
    return path


@pytest.mark.parametrize("ending", ["gif", "mkv"])
def test_what_is_transparent_becomes_white(model, tmp_path, ending):
    clip = moving_gif(tmp_path / "a.gif")
    frame = next(Clip(clip).frames())
    assert np.array_equal(frame.alpha == 255, np.pad(np.ones((48, 40), bool), [(8, 8), (4, 52)]))
    for strength in (0, 1):
        result = stylize_video(model, clip, STYLE, tmp_path / f"out.{ending}", strength=strength)
        painted = frames_of(result.path)[0].astype(int)
        assert painted[:, 52:].min() > 245
        assert np.abs(painted[12:52, 8:40] - frame.pixels[12:52, 8:40]).mean() < 12 or strength


@pytest.mark.parametrize(("ending", "codec"), [("mov", "prores"), ("webm", "libvpx-vp9")])
def test_what_is_transparent_stays_so_where_the_file_can_hold_it(model, tmp_path, ending, codec):
    clip = moving_gif(tmp_path / "a.gif")
    for name, strength in (("out", 1), ("back", 0)):
        result = stylize_video(model, clip, STYLE, tmp_path / f"{name}.{ending}", strength=strength)
        with av.open(str(result.path)) as out:
            assert out.streams.video[0].codec_context.name in (codec, "vp9")
        assert times_of(result.path) == times_of(clip)
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())
    given, painted, back = (
        list(Clip(tmp_path / name).frames()) for name in ("a.gif", f"out.{ending}", f"back.{ending}")
    )
    assert len(given) == len(painted) == len(back) == 2
    for before, after, same in zip(given, painted, back, strict=True):
        assert np.abs(after.alpha.astype(int) - before.alpha).mean() < 1.5
        seen = before.alpha == 255
        assert distance(same.pixels[seen], before.pixels[seen]) < 10
        assert distance(after.pixels[seen], before.pixels[seen]) > 10
    again = stylize_video(
        model, tmp_path / f"out.{ending}", STYLE, tmp_path / f"again.{ending}"
    )  # and it is read again
    assert Clip(again.path).has_alpha
    plain = stylize_video(model, clip, STYLE, tmp_path / "h264.mov", codec="h264")
    assert not Clip(plain.path).has_alpha


def test_numbered_pictures(model, tmp_path):
    (tmp_path / "100%").mkdir()
    (tmp_path / "out").mkdir()
    frames = pan(3, 48, 32)
    for number, frame in enumerate(frames, 7):
        Image.fromarray(frame).save(tmp_path / "100%" / f"f_{number:04}.png")
    pattern = tmp_path / "100%" / "f_%04d.png"
    result = stylize_video(model, pattern, STYLE, tmp_path / "out" / "g-%03d.png", strength=0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["g-007.png", "g-008.png", "g-009.png"]
    for number, frame in enumerate(frames, 7):
        assert np.array_equal(Image.open(tmp_path / "out" / f"g-{number:03}.png"), frame)
    assert result.frames == 3
    result = stylize_video(model, pattern, STYLE, tmp_path / "out.mp4", fps=10)
    assert times_of(result.path) == [0, Fraction(1, 10), Fraction(2, 10)]
    sounding = make_clip(tmp_path / "a.mp4", pan(3, 48, 32), sound="aac")
    result = stylize_video(model, sounding, STYLE, tmp_path / "h-%d.png")
    assert result.left_out == ["audio aac"]
    assert np.asarray(Image.open(tmp_path / "h-3.png")).shape == (32, 48, 3)
    result = stylize_video(model, moving_gif(tmp_path / "a.gif"), STYLE, tmp_path / "i-%d.png")
    assert Image.open(tmp_path / "i-1.png").mode == "RGBA"
    with pytest.raises(ImpastoError, match=r"there is no picture k-1\.png, nor one of another number"):
        stylize_video(model, tmp_path / "k-%d.png", STYLE, tmp_path / "k.mp4")
    with pytest.raises(ImpastoError, match=r"pictures are numbered, like k-%05d\.png"):
        stylize_video(model, sounding, STYLE, tmp_path / "k.png")


def test_a_frame_is_painted_as_if_its_ground_were_not_there(model, tmp_path):
    def paint(pixels: np.ndarray, alpha: np.ndarray | None = None) -> np.ndarray:
        return TemporalPainter(model, STYLE, inertia=0, blend=0).paint(pixels, alpha=alpha)

    look = slice(8, 56), slice(4, 44)
    frame = next(Clip(moving_gif(tmp_path / "a.gif")).frames())
    alone = paint(frame.pixels[look])
    clear, white = paint(frame.pixels, frame.alpha), paint(lay_on_white(frame.pixels, frame.alpha))
    assert distance(clear[look], alone) < distance(white[look], alone) / 2


def test_transparent_parts_of_a_mask_are_black(tmp_path):
    mask = MaskTrack(moving_gif(tmp_path / "a.gif"), 64, 96).at(Fraction(0))
    _, coverage = read_masks([mask], (64, 96), np.ones((1, 1, 1, 1), np.float32))
    assert coverage[:, 50:].max() == 0
    assert coverage[8:56, 4:44].max() > 0.3


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_what_is_transparent_in_webm_becomes_white(tmp_path, codec):
    picture = np.zeros((48, 64, 4), np.uint8)
    picture[:, :32] = 200, 30, 30, 255
    picture[:, 32:48] = 200, 30, 30, 128
    with av.open(str(tmp_path / "a.webm"), "w") as out:
        stream = out.add_stream(codec, rate=25, width=64, height=48, options={"crf": "4", "auto-alt-ref": "0"})
        stream.pix_fmt, stream.metadata["alpha_mode"] = "yuva420p", "1"
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgba").reformat(format="yuva420p")))
        out.mux(stream.encode(None))
    frames = list(Clip(tmp_path / "a.webm", max_pixels=64 * 48).frames())
    assert [frame.time for frame in frames] == [0, Fraction(40, 1000), Fraction(80, 1000)]
    for frame in frames:
        shown = lay_on_white(frame.pixels, frame.alpha)
        seen = shown[:, 8:64:16].reshape(48, 4, 3).astype(int).mean(0)
        assert np.abs(seen - [(200, 30, 30), (200, 30, 30), (227, 142, 142), (255, 255, 255)]).max() < 8


def test_short_delays_of_a_gif_are_shown_as_browsers_show_them(model, tmp_path):
    clip = tmp_path / "a.gif"
    first, *others = (Image.fromarray(frame) for frame in pan(6))
    first.save(clip, save_all=True, append_images=others, duration=50)
    data = bytearray(clip.read_bytes())
    at = -1
    for delay in (0, 1, 2, 5, 1, 0):
        at = data.index(b"\x21\xf9\x04", at + 1)
        data[at + 4] = delay
    clip.write_bytes(data)
    result = stylize_video(model, clip, STYLE, tmp_path / "out.gif", strength=0)
    assert times_of(result.path) == [Fraction(time, 100) for time in (0, 10, 20, 22, 27, 37)]
    assert result.length == pytest.approx(0.47)
    late = stylize_video(model, clip, STYLE, tmp_path / "late.gif", strength=0, start=0.25)
    assert times_of(late.path) == [Fraction(time, 100) for time in (0, 2, 12)]


# Parts of clips


def test_a_part_of_a_clip_with_its_sound(model, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", pan(50), sound="aac", subtitles=["one", "two", "three", "four"])
    result = stylize_video(model, clip, STYLE, tmp_path / "out.mp4", start=0.72, end=1.2, strength=0)
    assert times_of(result.path) == [Fraction(index, 25) for index in range(12)]
    assert length_of(result.path) == Fraction(12, 25)
    source = frames_of(clip)[18:30]
    assert all(distance(*pair) < 4 for pair in zip(frames_of(result.path), source, strict=True))
    kept = [(time - Fraction(72, 100), data) for time, data in packets_of(clip, "audio") if 0.72 <= time < 1.2]
    assert [data for _, data in packets_of(result.path, "audio")] == [data for _, data in kept]
    moved = [time for time, _ in packets_of(result.path, "audio")]
    assert all(abs(a - b) <= Fraction(1, SOUND) for a, (b, _) in zip(moved, kept, strict=True))
    words = [data[2:].decode() for _, data in packets_of(result.path, "subtitles") if len(data) > 2]
    assert words == ["two", "three"]


def test_a_part_of_a_clip_whose_pictures_begin_later_than_its_sound(model, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", pan(10), times=[12800 + 512 * index for index in range(10)], sound="aac")
    result = stylize_video(model, clip, STYLE, tmp_path / "out.mp4", start=1.2, strength=0)
    assert times_of(result.path) == [Fraction(index, 25) for index in range(5)]
    assert all(distance(*pair) < 4 for pair in zip(frames_of(result.path), frames_of(clip)[5:], strict=True))
    with pytest.raises(ImpastoError, match=r"the clip is over after 1\.40 s"):
        stylize_video(model, clip, STYLE, tmp_path / "out.mp4", start=1.4)


@pytest.mark.parametrize("ending", ["avi", "h264"])
def test_what_tells_no_times_is_counted_by_its_rate(model, tmp_path, ending):
    """Neither AVI nor a bare stream says when a frame is shown, and H.264 decodes them in another order."""

    def steady(video: av.VideoStream) -> None:
        video.codec_context.time_base = Fraction(1, 25)

    source = pan(50)
    clip = make_clip(tmp_path / f"a.{ending}", source, prepare=steady)
    for start, first in ((None, 0), (1.2, 30)):
        result = stylize_video(model, clip, STYLE, tmp_path / "out.mp4", start=start, strength=0)
        assert times_of(result.path) == [Fraction(index, 25) for index in range(50 - first)]
        assert all(distance(*pair) < 4 for pair in zip(frames_of(result.path), source[first:], strict=True))


def test_another_rate(model, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", pan(50), sound="aac")
    for fps, count in ((10, 20), (Fraction(50), 100)):
        result = stylize_video(model, clip, STYLE, tmp_path / "out.mp4", fps=fps, strength=0)
        assert times_of(result.path) == [index / Fraction(fps) for index in range(count)]
        assert length_of(result.path) == 2
        source, frames = frames_of(clip), frames_of(result.path)
        on_show = [source[int(time * 25)] for time in times_of(result.path)]
        assert all(distance(*pair) < 4 for pair in zip(frames, on_show, strict=True))
        assert packets_of(result.path, "audio") == packets_of(clip, "audio")


def test_a_stopped_run_leaves_a_playable_file(model, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", pan(50), sound="aac")
    stop = threading.Event()
    result = stylize_video(
        model, clip, STYLE, tmp_path / "out.mp4", stop=stop, progress=lambda done, _: stop.set() if done == 25 else None
    )
    assert (result.stopped, result.frames) == (True, 25)
    assert times_of(result.path) == times_of(clip)[:25]
    sound = packets_of(result.path, "audio")
    assert sound == packets_of(clip, "audio")[: len(sound)]
    assert 0.97 < sound[-1][0] < 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "out.mp4"]


def test_a_run_that_is_stopped_before_its_first_frame_says_so(model, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", pan(5))
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError, match="stopped before the first frame"):
        stylize_video(model, clip, STYLE, tmp_path / "out.mp4", stop=stop)
    assert list(tmp_path.iterdir()) == [clip]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("damage", ["missing", "torn", "zeros"])
def test_a_run_goes_on_from_as_much_of_its_log_as_is_whole(model, tmp_path, damage):
    clip = make_clip(tmp_path / "a.mp4", pan(30), options={"bf": "0"})
    out = tmp_path / "out.mp4"

    def kill(done: int, _: int | None) -> None:
        if done == 20:
            raise Killed

    with pytest.raises(Killed):
        stylize_video(model, clip, STYLE, out, progress=kill)
    log = tmp_path / ".out.mp4.impasto" / "frames.txt"
    if damage == "missing":
        log.unlink()
    else:
        whole = b"".join(log.read_bytes().splitlines(keepends=True)[:12])
        log.write_bytes(whole + (b"61" if damage == "torn" else bytes(40) + b"\n"))
    result = stylize_video(model, clip, STYLE, out, resume=True)
    assert result.frames == 30
    assert result.painted >= (30 if damage == "missing" else 18)
    assert times_of(out) == times_of(clip)


# What else is in a file


def with_attachments(path: Path) -> tuple[Path, bytes, bytes]:
    """A clip with cover art, a font and a time code; their contents."""
    cover = io.BytesIO()
    Image.fromarray(pan(1)[0]).save(cover, "JPEG")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, width=96, height=64, pix_fmt="yuv420p")
        stream.metadata["timecode"] = "01:02:03:04"
        out.add_attachment("cover.jpg", "image/jpeg", cover.getvalue())
        out.add_attachment("hand.ttf", "font/ttf", b"letters")
        for pixels in pan(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        out.mux(stream.encode(None))
    return path, cover.getvalue(), b"letters"


def attachments_of(path: Path) -> tuple[list[bytes], list[bytes], str | None]:
    """Cover art, attached files and time code."""
    with av.open(str(path)) as clip:
        video, *covers = clip.streams.video
        code = {name.lower(): value for name, value in video.metadata.items()}.get("timecode")
        files = [stream.data for stream in clip.streams.attachments]
        return [bytes(next(clip.demux(stream))) for stream in covers], files, code


def test_attachments_cover_art_and_time_code_are_kept_or_named(model, tmp_path):
    clip, cover, font = with_attachments(tmp_path / "a.mkv")
    code = "01:02:03:04"
    for source, ending, kept, left_out in (
        (clip, "mkv", ([cover], [font], code), []),
        (clip, "mp4", ([cover], [], code), ["attachment hand.ttf"]),
        (tmp_path / "out.mp4", "mov", ([], [], code), ["cover art"]),
        (tmp_path / "out.mov", "webm", ([], [], code), []),
        (clip, "webm", ([], [], code), ["cover art", "attachment hand.ttf"]),
        (clip, "gif", ([], [], None), ["cover art", "attachment hand.ttf", "time code"]),
    ):
        result = stylize_video(model, source, STYLE, tmp_path / f"out.{ending}", strength=0)
        assert (attachments_of(result.path), result.left_out) == (kept, left_out)


@pytest.mark.parametrize("options", [{"start": 0.04}, {"fps": 10}])
def test_a_time_code_that_would_be_wrong_is_left_out(model, tmp_path, options):
    clip, *_ = with_attachments(tmp_path / "a.mkv")
    result = stylize_video(model, clip, STYLE, tmp_path / "out.mov", strength=0, **options)
    assert attachments_of(result.path)[2] is None
    assert "time code" in result.left_out


@pytest.mark.parametrize("code", ["01:02:03;04", "01:02:03:25", "noon"])  # for 25 frames a second
def test_a_time_code_that_does_not_fit_the_rate_is_left_out(model, tmp_path, code):
    clip = make_clip(tmp_path / "a.mkv", pan(3), prepare=lambda video: video.metadata.update(timecode=code))
    result = stylize_video(model, clip, STYLE, tmp_path / "out.mov", strength=0)
    assert (result.frames, result.left_out) == (3, ["time code"])


def test_a_second_video_is_named(model, tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        streams = [out.add_stream("mpeg4", rate=25, width=96, height=64, pix_fmt="yuv420p") for _ in range(2)]
        for stream in streams:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pan(1)[0], "rgb24")))
            out.mux(stream.encode(None))
    result = stylize_video(model, tmp_path / "a.mkv", STYLE, tmp_path / "out.mp4", strength=0)
    assert result.left_out == ["video mpeg4"]


# What is wrong with files


@pytest.mark.parametrize("place", [0, 7, -1])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm"])
def test_a_damaged_packet_of_sound_costs_no_more_than_itself(model, tmp_path, ending, place):
    clip = make_clip(tmp_path / "a.ts", pan(10), sound="aac")
    whole = [data for _, data in packets_of(clip, "audio")]
    data, head = clip.read_bytes(), whole[place][:12]
    assert data.count(head) == 1
    clip.write_bytes(data.replace(head, b"\x55" * 12))
    result = stylize_video(model, clip, STYLE, tmp_path / f"out.{ending}", strength=0)
    assert (result.frames, result.left_out) == (10, ["1 damaged packet of audio aac"])
    if ending != "webm":  # where it is encoded anew
        del whole[place]
        assert [data for _, data in packets_of(result.path, "audio")] == [data[7:] for data in whole]
    with av.open(str(result.path)) as made:
        assert sum(frame.samples for frame in made.decode(audio=0)) > 0.3 * SOUND
    assert sorted(path.name for path in tmp_path.iterdir()) == [clip.name, result.path.name]


def test_sound_that_a_file_does_not_take_at_all_costs_nothing_else(model, tmp_path):
    """Files want to know of FLAC what is said at its beginning."""
    clip = make_clip(tmp_path / "a.mkv", pan(3), sound="flac")
    data = bytearray(clip.read_bytes())
    data[data.index(b"fLaC") + 4] = 0x7F
    clip.write_bytes(data)
    result = stylize_video(model, clip, STYLE, tmp_path / "out.mp4", strength=0)
    assert (result.frames, result.left_out) == (3, ["audio flac"])


def test_sound_that_changes_its_format_is_encoded_anew(model, tmp_path):
    """As broadcasts do, from mono to stereo."""
    for name, layout in (("mono", "mono"), ("stereo", "stereo")):
        with av.open(str(tmp_path / f"{name}.ts"), "w") as out:
            video = out.add_stream("mpeg2video", rate=25, width=96, height=64, pix_fmt="yuv420p")
            sound = out.add_stream("ac3", rate=SOUND, layout=layout)
            for index, pixels in enumerate(pan(10)):
                out.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
                samples = av.AudioFrame(format="fltp", layout=layout, samples=1536)
                samples.sample_rate, samples.pts = SOUND, 1536 * index
                out.mux(sound.encode(samples))
            out.mux(video.encode(None))
            out.mux(sound.encode(None))
    clip = tmp_path / "a.ts"
    clip.write_bytes((tmp_path / "mono.ts").read_bytes() + (tmp_path / "stereo.ts").read_bytes())
    result = stylize_video(model, clip, STYLE, tmp_path / "out.webm", strength=0)
    with av.open(str(result.path)) as made:
        assert sum(frame.samples for frame in made.decode(audio=0)) > 0.55 * SOUND


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_joined_clip_keeps_its_sound_beside_its_pictures(model, tmp_path, ending):
    once = make_clip(tmp_path / "once.ts", pan(25), sound="aac")
    twice = tmp_path / "twice.ts"
    twice.write_bytes(2 * once.read_bytes())
    result = stylize_video(model, twice, STYLE, tmp_path / f"out.{ending}")
    assert result.frames == 50
    sound = packets_of(result.path, "audio")
    bare = [data[7:] for _, data in packets_of(once, "audio")]  # without the header that each has in such a stream
    assert [data for _, data in sound] == 2 * bare
    times, shown = [time for time, _ in sound], times_of(result.path)
    assert times == sorted(set(times))
    assert abs((times[len(times) // 2] - times[0]) - (shown[25] - shown[0])) < 0.05


@pytest.mark.parametrize(
    "text",
    ["#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {}\n"],
)
@pytest.mark.parametrize("name", ["a.m3u8", "a.mp4"])
def test_files_that_a_clip_names_are_not_read(model, tmp_path, text, name):
    secret = make_clip(tmp_path / "secret.ts", pan(5))
    (tmp_path / name).write_text(text.format(secret.name))
    with pytest.raises(ImpastoError, match="cannot read") as caught:
        stylize_video(model, tmp_path / name, STYLE, tmp_path / "out.mp4")
    assert "\n" not in str(caught.value)
    assert "playlists are not followed" in str(caught.value) or name == "a.mp4"
    with pytest.raises(ImpastoError, match="cannot read"):
        stylize_video(model, secret, STYLE, tmp_path / "out.mp4", masks=[tmp_path / name])


def test_large_frames_can_be_refused(model, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", pan(3))
    assert stylize_video(model, clip, STYLE, tmp_path / "out.mp4", max_pixels=96 * 64).frames == 3
    with pytest.raises(TooLargeError, match=r"frames of 96 x 64 pixels, more than the 6,143"):
        stylize_video(model, clip, STYLE, tmp_path / "out.mp4", max_pixels=96 * 64 - 1, max_size=32)


def test_broken_frames_are_passed_over(model, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", pan(40), sound="aac", options={"g": "5", "bf": "0", "crf": "10"})
    with av.open(str(clip)) as container:
        where = [(p.pos, p.size) for p in container.demux(video=0) if p.pts is not None]
    data = bytearray(clip.read_bytes())
    for index in (10, 11, 22):
        position, size = where[index]
        data[position : position + size] = bytes(size)
    clip.write_bytes(data)
    result = stylize_video(model, clip, STYLE, tmp_path / "out.mp4")
    assert result.broken >= 3
    assert 30 <= result.frames <= 37
    times = times_of(result.path)
    assert set(times) < {Fraction(index, 25) for index in range(40)}
    assert length_of(result.path) == Fraction(40, 25)
    assert packets_of(result.path, "audio") == packets_of(clip, "audio")


def test_a_file_that_is_cut_off_is_painted_as_far_as_it_goes(model, tmp_path):
    clip = make_clip(tmp_path / "a.mkv", pan(50))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    result = stylize_video(model, clip, STYLE, tmp_path / "out.mp4")
    assert 5 < result.frames < 50


def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=SOUND, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = SOUND, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_errors_say_what_to_do(model, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", pan(5))
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "words.mp4").write_text("these are words" * 100)
    Image.fromarray(pan(1)[0]).save(tmp_path / "photo.jpg")
    sound_only(tmp_path / "sound.m4a")
    before = sorted(tmp_path.iterdir())
    for source, out, options, message in (
        ("none.mp4", "out.mp4", {}, "there is no such file"),
        ("empty.mp4", "out.mp4", {}, "it is empty"),
        ("words.mp4", "out.mp4", {}, "no video that can be read"),
        ("photo.jpg", "out.mp4", {}, "impasto stylize paints it"),
        ("sound.m4a", "out.mp4", {}, "holds no video"),
        (".", "out.mp4", {}, "it is a folder"),
        ("a.mp4", "out.avi", {}, "unknown video format '.avi'; use one of .mp4"),
        ("a.mp4", "no/out.mp4", {}, "there is no folder"),
        ("a.mp4", "a.mp4", {}, "is the clip itself"),
        ("a.mp4", "out.webm", {"codec": "h264"}, ".webm does not hold h264: choose vp9, av1"),
        ("a.mp4", "out.mp4", {"crf": 52}, "crf must be from 0 to 51 for libx264"),
        ("a.mp4", "out.mp4", {"start": 5}, "the clip is over after 0.20 s"),
        ("a.mp4", "out.mp4", {"start": 0.1, "end": 0.05}, "must come after the start"),
        ("a.mp4", "out.mp4", {"fps": 0}, "fps must be a number above 0"),
        ("a.mp4", "out.mp4", {"strength": 2}, "strength must be a number from 0 to 1"),
        ("a.mp4", "out.mp4", {"inertia": 2}, "inertia must be a number from 0 to 1"),
        ("a.mp4", "out.mp4", {"max_size": 0}, "maximal size"),
        ("a.mp4", "out.mp4", {"masks": []}, "0 masks for 1 styles"),
    ):
        with pytest.raises(ImpastoError, match=message) as caught:
            stylize_video(model, tmp_path / source, STYLE, tmp_path / out, **options)
        assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before
    assert clip.stat().st_size > 0
