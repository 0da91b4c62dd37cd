"""Painted frames that keep still: running statistics, motion, what it holds and what it must not."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
from clips import make_clip
from PIL import Image
from skimage import data

import impasto
from impasto.cli import main
from impasto.color import match_color
from impasto.controls import Controls
from impasto.engine import Inputs
from impasto.evaluate.video import SETTINGS, measure, warping_error
from impasto.image import to_float
from impasto.people import find_people
from impasto.style import Style
from impasto.stylizer import Memory, Stylizer
from impasto.video import KeyFrames, TemporalPainter
from impasto.video.flow import FlowEstimator, Motion, enlarge, find_consistent, to_grey
from impasto.video.people import PeopleTrack

STYLE = "hokusai-great-wave"
HEIGHT, WIDTH = 96, 144


@pytest.fixture(scope="module")
def model() -> impasto.Stylizer:
    return impasto.load(engine="onnxruntime")


@pytest.fixture(scope="module")
def coffee() -> np.ndarray:
    return np.asarray(Image.fromarray(data.coffee()).resize((450, 300), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def rocket() -> np.ndarray:
    return np.asarray(Image.fromarray(data.rocket()).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def shifted(photo: np.ndarray, time: int, step: tuple[int, int] = (3, 1)) -> np.ndarray:
    """A look at a photo that moves by whole pixels: its motion is known exactly."""
    x, y = 20 + step[0] * time, 40 + step[1] * time
    return np.ascontiguousarray(photo[y : y + HEIGHT, x : x + WIDTH])


def true_motion(step: tuple[int, int] = (3, 1)) -> Motion:
    """That of `shifted`."""
    flow = np.full((HEIGHT, WIDTH, 2), step, np.float32)
    trust = np.zeros((HEIGHT, WIDTH), np.float32)
    trust[: HEIGHT - step[1], : WIDTH - step[0]] = 1
    return Motion(flow, trust)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(int) - second).mean())


def test_motion_is_found(coffee):
    before, now = shifted(coffee, 0), shifted(coffee, 1)
    motion = FlowEstimator()(to_grey(before), to_grey(now))
    inner = np.s_[12:-12, 12:-12]
    assert np.median(np.abs(motion.flow[inner] - (3, 1)).sum(2)) < 0.3
    assert np.mean(motion.trust[inner] > 0.8) > 0.9


def test_motion_of_another_size(coffee):
    motion = enlarge(FlowEstimator()(to_grey(shifted(coffee, 0), 72), to_grey(shifted(coffee, 1), 72)), HEIGHT, WIDTH)
    assert motion.flow.shape == (HEIGHT, WIDTH, 2)
    assert np.median(np.abs(motion.flow[12:-12, 12:-12] - (3, 1)).sum(2)) < 0.3


def test_consistency_is_that_of_the_papers():
    """Against a loop over pixels that is written from the formulas; whole-pixel flows, so that nothing is rounded."""
    random = np.random.default_rng(0)
    back = random.integers(-2, 3, (12, 14, 2)).astype(np.float32)
    back[:, :7] = (1, 0)
    forth = -back + (random.random((12, 14, 1)) < 0.3)
    found = find_consistent(back, forth.astype(np.float32))
    for y in range(1, 11):
        for x in range(1, 13):
            w = back[y, x]
            there = (y + int(w[1]), x + int(w[0]))
            if not (0 <= there[0] < 12 and 0 <= there[1] < 14):
                assert found[y, x] == 0
                continue
            v = forth[there]
            gradient = 0.0
            for axis in (0, 1):  # Sobel's estimate of the slope
                for channel in (0, 1):
                    block = back[y - 1 : y + 2, x - 1 : x + 2, channel]
                    block = block if axis else block.T
                    gradient += float(np.dot([1, 2, 1], block[:, 2] - block[:, 0]) / 8) ** 2
            appeared = ((w + v) ** 2).sum() > 0.01 * ((w**2).sum() + (v**2).sum()) + 0.5
            edge = gradient > 0.01 * (w**2).sum() + 0.002
            assert found[y, x] == (not appeared and not edge)
    assert 0.1 < found.mean() < 0.9


def test_what_comes_into_view_is_not_trusted(coffee, rocket):
    """A square of another picture moves over a still one: where it was, the background has come into view."""
    still = shifted(coffee, 0)
    frames = []
    for left in (30, 40):
        frame = still.copy()
        frame[30:70, left : left + 40] = rocket[30:70, 30:70]
        frames.append(frame)
    trust = FlowEstimator()(*map(to_grey, frames)).trust
    assert trust[36:64, 31:39].mean() < 0.35
    assert trust[:24].mean() > 0.8


def test_warping_error_falls_by_more_than_60_per_cent(model, coffee):
    frames = [shifted(coffee, time) for time in range(14)]
    found = measure({"adain": model}, [STYLE], frames, motion=lambda *_: true_motion())
    rows = {row.setting: row for row in found.rows}
    assert found.source_error == 0  # nothing but motion
    assert rows["frame by frame"].reduction == 0
    assert rows["flow"].reduction > 0.6
    assert rows["both"].reduction > 0.6
    assert rows["both"].detail > 0.6


@pytest.mark.parametrize("frame", ["photo", "even"])
def test_a_still_clip_can_be_measured(model, rocket, frame):
    """Painted frame by frame it is as still: nothing can be gained, and there may be no detail."""
    frame = rocket if frame == "photo" else np.full_like(rocket, 128)
    for row in measure({"adain": model}, [STYLE], [frame] * 3, motion=lambda *_: true_motion((0, 0))).rows:
        assert (row.error, row.reduction) == (0, 0)
        assert row.detail == pytest.approx(1, abs=0.01)


def test_warping_error_is_the_mean_square(coffee):
    before, now = shifted(coffee, 0), shifted(coffee, 1)
    assert warping_error(before, now, true_motion()) == 0
    noise = np.random.default_rng(0).integers(-20, 21, now.shape)
    noisy = np.clip(now.astype(int) + noise, 0, 255).astype(np.uint8)
    expected = (((noisy.astype(float) - now) / 255) ** 2)[:-1, :-3].mean()
    assert warping_error(before, noisy, true_motion()) == pytest.approx(expected, rel=1e-4)


def test_statistics_are_a_running_mean(model, coffee):
    """Those of the first adaptive layer, against the network's own on each frame."""
    frames = [shifted(coffee, time, (20, 3)) for time in range(5)]
    memory, style = Memory(0.8), replace(model.style(STYLE), palette=None)
    plan = model.plan(model.mix(style), Controls())
    channels = model.model.channels[0]
    expected = None
    for frame in frames:
        model.paint(frame, plan, memory=memory)
        one = np.ones((1, 1, 1, 1), np.float32)
        stats = np.ones((1, model.model.stats_size), np.float32)
        inputs = Inputs(to_float(frame), style.tensor[None], one, np.array(1, np.float32), stats, 0 * stats[0])
        own = model.engine.run(inputs)[1]
        expected = own if expected is None else 0.8 * expected + 0.2 * own
        used = memory.stats[:, : 2 * channels]
        assert np.allclose(used, expected[:, : 2 * channels], rtol=1e-3, atol=1e-4)
    assert not np.allclose(used, own[:, : 2 * channels], rtol=1e-2)


def test_what_enters_does_not_change_the_rest(model, coffee, rocket):
    """A bright card slides in: with running statistics the far side of the picture changes less from frame to frame."""
    frames = [shifted(coffee, 0).copy() for _ in range(8)]
    for time, frame in enumerate(frames):
        frame[:, WIDTH - 8 * time :] = (255, 250, 120)
    jumps = {}
    for name, inertia in (("own", 0), ("running", 0.9)):
        painter = TemporalPainter(model, STYLE, inertia=inertia, blend=0)
        far = [painter.paint(frame)[:, :60] for frame in frames]
        jumps[name] = np.mean([distance(*pair) for pair in pairwise(far)])
    assert jumps["running"] < 0.7 * jumps["own"]


def test_a_cut_begins_anew(model, coffee, rocket):
    painter, fresh = TemporalPainter(model, STYLE), TemporalPainter(model, STYLE)
    for time in range(4):
        painter.paint(shifted(coffee, time))
    assert painter.cuts == 0
    assert np.array_equal(painter.paint(rocket), fresh.paint(rocket))
    assert painter.cuts == 1
    larger = np.asarray(Image.fromarray(rocket).resize((200, 120)))
    assert painter.paint(larger).shape == larger.shape
    assert painter.cuts == 2


def test_what_jumps_leaves_no_ghost(model, coffee):
    """A bright square that jumps across the picture: where it was, the next frame shows what is there."""
    frames = [shifted(coffee, 0).copy() for _ in range(6)]
    for time, frame in enumerate(frames):
        left = 10 if time < 4 else 100
        frame[40:60, left : left + 20] = (255, 240, 60)
    steady, bare = TemporalPainter(model, STYLE), TemporalPainter(model, STYLE, blend=0)
    painted = [(steady.paint(frame), bare.paint(frame)) for frame in frames]
    was = np.s_[42:58, 12:28]
    assert distance(painted[3][1][was], painted[4][1][was]) > 25
    assert distance(painted[4][0][was], painted[4][1][was]) < 4


def test_controls_hold_in_every_frame(model, coffee):
    frames = [shifted(coffee, time) for time in range(4)]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, :70] = 255
    nothing = np.zeros_like(mask)
    zero = TemporalPainter(model, STYLE, strength=0)
    masked = TemporalPainter(model, [STYLE, "klimt-kiss"], masks=[mask, nothing])
    matched = TemporalPainter(model, "munch-scream", keep_color="match")
    scream = TemporalPainter(model, "munch-scream")
    chroma = TemporalPainter(model, "munch-scream", keep_color="luminance")
    for frame in frames:
        assert np.array_equal(zero.paint(frame), frame)
        painted = masked.paint(frame)
        assert np.array_equal(painted[:, 70:], frame[:, 70:])
        assert distance(painted[:, :70], frame[:, :70]) > 5
        painted, plain = matched.paint(frame), scream.paint(frame)
        # It has its colours already, but for what lies beyond white and black.
        assert distance(match_color(painted, frame), painted) < distance(match_color(plain, frame), plain) / 8
        kept = chroma.paint(frame)
        assert np.abs((kept - kept.mean(2, keepdims=True)) - (frame - frame.mean(2, keepdims=True))).mean() < 12


def test_what_is_kept_of_people_follows_them_without_flicker(model, photo):
    """A portrait that moves, in the noise of a camera: where she is changes by less than what single frames say."""
    noise = np.random.default_rng(0)
    portrait = np.asarray(Image.fromarray(photo).resize((256, 256), Image.Resampling.LANCZOS))
    frames = [
        np.clip(portrait[10:202, 2 * t : 208 + 2 * t] + noise.normal(0, 12, (192, 208, 3)), 0, 255).astype(np.uint8)
        for t in range(10)
    ]
    track, search = PeopleTrack(), FlowEstimator()
    single = [find_people(frame, "person", thorough=False) for frame in frames]
    followed = [track.follow(frames[0], "person")]
    followed += [track.follow(now, "person", search(to_grey(before), to_grey(now))) for before, now in pairwise(frames)]

    def flicker(maps):  # seen from the portrait, which then stands still
        still = [found[:, 20 - 2 * t : 200 - 2 * t] for t, found in enumerate(maps)]
        return np.mean([np.abs(now - before).mean() for before, now in pairwise(still[3:])])

    assert flicker(followed) < 0.6 * flicker(single)
    assert np.abs(followed[-1] - single[-1]).mean() < 0.05  # it does not lag behind
    steady = TemporalPainter(model, STYLE, keep="face")
    for t, frame in enumerate(frames[:3]):
        painted = steady.paint(frame)
        x, y = 112 - 2 * t, 50
        assert distance(painted[y - 8 : y + 8, x - 8 : x + 8], frame[y - 8 : y + 8, x - 8 : x + 8]) < 4
        assert distance(painted[120:, :40], frame[120:, :40]) > 8


def test_styles_are_taken_once(model, coffee, painting, monkeypatch):
    taken = []
    take = model.take
    monkeypatch.setattr(model, "take", lambda pixels, name, *rest: taken.append(name) or take(pixels, name, *rest))
    painter = TemporalPainter(model, painting, style_size=128, keep_color="match")
    for time in range(3):
        painter.paint(shifted(coffee, time))
    assert taken == ["style"]


def test_a_change_of_style_shows_at_once(model, coffee):
    painter = TemporalPainter(model, STYLE)
    painter.paint(shifted(coffee, 0))
    changed = painter.paint(shifted(coffee, 0), styles="klimt-kiss")
    assert np.array_equal(changed, np.asarray(model.stylize(shifted(coffee, 0), "klimt-kiss")))


def test_a_method_paints_frames_too(vgg19, coffee):
    method = impasto.load("gatys", iterations=1)
    painter = TemporalPainter(method, coffee[:64, :64], style_size=64)
    frames = [shifted(coffee, time)[:48, :64] for time in range(2)]
    assert [painter.paint(frame).shape for frame in frames] == [(48, 64, 3)] * 2


class Watcher(Stylizer):
    """Paints nothing, and keeps what it is shown."""

    name = fingerprint = engine_name = device = "watcher"
    gallery: ClassVar = {}
    looks_back = (1, 2)

    def take(self, pixels, name, alpha=None):
        return Style(name, np.zeros(1, np.float32), self.fingerprint, pixels)

    def paint(self, content, plan, regions=None, memory=None, large=None, alpha=None):
        self.seen = memory.before
        return content


def test_a_frame_is_held_to_the_nearest_one_before_that_shows_the_same(coffee):
    """Ruder et al. 2016: c_long of the frame i - j is max(c of i - j minus the sum of those nearer, 0)."""
    watcher = Watcher()
    painter = TemporalPainter(watcher, coffee)
    frames = [shifted(coffee, 0), shifted(coffee, 1), shifted(coffee, 2)]
    frames[1][30:60, 50:80] = 0  # passes by
    for frame in frames:
        painter.paint(frame)
    search, weights = FlowEstimator(thorough=True), []
    lumas = [to_grey(frame, WIDTH) for frame in frames]
    for then in (lumas[1], lumas[0]):
        weights.append(find_consistent(*search.estimate_both_ways(then, lumas[2])))
    near_weight, far_weight = (weight for _, weight in watcher.seen)
    assert np.array_equal(near_weight, weights[0])
    assert np.array_equal(far_weight, np.clip(weights[1] - weights[0], 0, None))
    inside = np.s_[31:56, 50:74]  # what the nearer one did not show, the one before did
    assert near_weight[inside].mean() < 0.3 < 0.6 < far_weight[inside].mean()
    for painted, weight in watcher.seen:
        assert np.abs(painted.astype(int) - frames[2])[weight > 0].mean() < 3
    TemporalPainter(watcher, coffee, blend=0).paint(frames[0])
    assert not watcher.seen


@pytest.mark.slow
def test_gatys_keeps_what_stays(vgg19, coffee):
    frames = [shifted(coffee, time)[:64, :96] for time in range(2)]
    motion = Motion(*(part[:64, :96] for part in true_motion()))
    errors = []
    for weight in (0, 300):
        method = impasto.load("gatys", iterations=12, start="noise", temporal_weight=weight)
        painter = TemporalPainter(method, coffee[:64, :64], style_size=64, blend=0.7 if weight else 0)
        first, second = (painter.paint(frame) for frame in frames)
        errors.append(warping_error(first, second, motion))
    assert errors[1] < errors[0] / 3


def test_key_frames():
    keys = KeyFrames({4.0: "b", 1.0: "a", 5.0: "c"})
    assert keys.at(0) == keys.at(1.0) == [("a", 1.0)]
    assert keys.at(4) == [("b", 1.0)]
    assert keys.at(9) == [("c", 1.0)]
    assert keys.at(2.5) == [("a", 0.5), ("b", 0.5)]
    for wrong in ({}, {-1.0: "a"}, {"x": "a"}):
        with pytest.raises(impasto.ImpastoError, match="key frame"):
            KeyFrames(wrong)


def test_evaluate_video(tmp_path, coffee, capsys):
    clip = make_clip(tmp_path / "a.mp4", [shifted(coffee, time) for time in range(6)])
    with pytest.raises(SystemExit) as exit:
        main(["evaluate", "adain", "--video", str(clip), "--style", STYLE, "--limit", "5", "--engine", "onnxruntime",
              "--json"])  # fmt: skip
    assert not exit.value.code
    found = json.loads(capsys.readouterr().out)
    assert (found["frames"], found["width"], found["height"]) == (5, WIDTH, HEIGHT)
    rows = {row["setting"]: row for row in found["rows"]}
    assert list(rows) == list(SETTINGS)
    assert 0 < found["source_error"] < rows["both"]["error"] < rows["frame by frame"]["error"]
    assert rows["both"]["reduction"] > 0.5
