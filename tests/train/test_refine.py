"""Refining a painting by optimisation, with the real VGG-19 on small pictures."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch
from skimage import data

import impasto
from impasto.cli import main
from impasto.controls import Controls, Mix
from impasto.errors import ImpastoError
from impasto.evaluate.metrics import Observer
from impasto.image import center_crop, write_image
from impasto.methods import refine
from impasto.nets.vgg import load_encoder
from impasto.style import Style
from impasto.stylizer import Plan

SIZE = 64
PHOTO, CAT, COFFEE = (center_crop(picture(), SIZE) for picture in (data.astronaut, data.chelsea, data.coffee))

pytestmark = pytest.mark.usefixtures("vgg19")


@pytest.fixture(scope="module")
def model() -> impasto.Stylizer:
    return impasto.load(engine="onnxruntime")


@pytest.fixture
def few(monkeypatch) -> None:
    """For what shows in a few steps."""
    monkeypatch.setattr(refine, "_ITERATIONS", 3)


def paint(model, styles=CAT, photo=PHOTO, **options) -> np.ndarray:
    return np.asarray(model.stylize(photo, styles, style_size=SIZE, **options))


def change(first, second) -> float:
    """Mean difference in levels of 255."""
    return float(np.abs(first.astype(int) - second).mean())


def test_it_comes_nearer_to_the_style_and_stays_near_the_photo(model):
    observe = Observer()
    painted, refined = paint(model), paint(model, quality="best")
    style, photo = observe(CAT).style, observe(PHOTO)
    assert observe(refined).style_loss(style) < 0.67 * observe(painted).style_loss(style)
    assert observe(refined).content_loss(photo) < 0.38 * observe(COFFEE).content_loss(photo)


def test_a_flat_sky_stays_flat(model):
    """Statistics of the whole picture are met by speckles in it: half of this style is dots, half of it is flat."""
    rng = np.random.default_rng(0)
    style = np.full((SIZE, SIZE, 3), (225, 205, 160), np.uint8)
    style[SIZE // 2 :] = 255 * (rng.random((SIZE // 8, SIZE // 4, 1)) < 0.4).repeat(4, 0).repeat(4, 1)
    photo = np.full((SIZE, SIZE, 3), (120, 150, 200), np.uint8)
    photo[SIZE // 2 :] = rng.integers(0, 255, (SIZE // 2, SIZE, 1), np.uint8)
    sky = paint(model, style, photo, quality="best")[: SIZE // 2 - 8].astype(float)
    assert np.abs(np.diff(sky, axis=1)).mean() < 12  # of 255; Gram matrices make it 30


def test_a_picture_in_its_own_style_is_left_alone(few):
    style = Style("cat", np.empty(0, np.float32), "any", CAT)
    refined = refine.Refiner(Mix([style])).refine(CAT, CAT, Plan(Mix([style]), Controls()), CAT.shape[:2])
    assert np.abs(refined.astype(int) - CAT).max() <= 1


def test_matches_are_those_of_the_highest_cosine(monkeypatch):
    monkeypatch.setattr(refine, "_SLACK", 0)
    generator = torch.Generator().manual_seed(0)
    own, keys = (torch.randn(1, 7, *size, generator=generator) for size in ((3, 5), (6, 4)))
    shown = torch.rand(6, 4, generator=generator) < 0.5
    rows, columns = refine.match(own, keys, shown)
    for at in np.ndindex(3, 5):
        sought = own[0, :, at[0], at[1]].numpy()
        cosines = {
            place: float(keys[0, :, place[0], place[1]].numpy() @ sought / keys[0, :, place[0], place[1]].norm())
            for place in np.ndindex(6, 4)
            if shown[place]
        }
        assert (rows[at], columns[at]) == max(cosines, key=cosines.__getitem__)


def test_where_nothing_is_seen_a_stretch_of_the_style_is_taken_whole():
    flat, keys = torch.ones(1, 7, 4, 5), torch.ones(1, 7, 9, 9)
    keys += 0.01 * torch.randn(keys.shape, generator=torch.Generator().manual_seed(0))
    keys[:, :, 1, 1] = 1.0
    rows, columns = refine.match(flat, keys)
    assert rows.tolist() == [[row] * 5 for row in range(1, 5)]
    assert columns.tolist() == [[*range(1, 6)]] * 4


@pytest.mark.parametrize("step", [4, 8])
@pytest.mark.parametrize("layer", ["relu1_1", "relu2_1", "relu3_1", "relu4_1"])
def test_what_is_transplanted_is_what_a_moved_picture_shows(layer, step):
    """Cells taken one to the right and two down are the features of a picture cut there."""
    picture = torch.from_numpy(data.astronaut()[100:180, 100:172].copy()).permute(2, 0, 1)[None] / 255
    features = load_encoder().features(picture, [layer])[layer]
    rows, columns = np.mgrid[: 64 // step, : 64 // step]
    stride = {"relu1_1": 1, "relu2_1": 2, "relu3_1": 4, "relu4_1": 8}[layer]
    like = torch.empty(1, features.shape[1], 64 // stride, 64 // stride)
    down, right = torch.from_numpy(rows + 16 // step), torch.from_numpy(columns + 8 // step)
    taken = refine.transplant(features, down, right, stride, step, like)
    assert torch.equal(taken, features[:, :, 16 // stride :, 8 // stride :])


def test_of_a_large_painting_the_detail_comes_back(model, few, monkeypatch):
    """Refined at half the size, in two steps; what is finer than that is the painting's own."""
    monkeypatch.setattr(refine, "LARGEST", SIZE)
    photo = center_crop(data.astronaut(), 2 * SIZE)
    painted, refined = paint(model, photo=photo), paint(model, photo=photo, quality="best")
    assert refined.shape == photo.shape
    assert change(refined, painted) > 5
    fine = [picture[::2, ::2].astype(float) - picture[1::2, ::2] for picture in (painted, refined)]
    assert np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1] > 0.97


def test_the_same_picture_comes_again_and_strength_counts(model, few):
    whole, again, half = (paint(model, strength=strength, quality="best") for strength in (1, 1, 0.5))
    assert np.array_equal(whole, again)
    assert 15 < change(half, PHOTO) < 0.8 * change(whole, PHOTO)
    assert np.array_equal(paint(model, strength=0, quality="best"), PHOTO)


def test_masks_styles_and_colours_count(model, few):
    left = np.zeros((SIZE, SIZE))
    left[:, : SIZE // 2] = 1
    red, blue = (np.zeros_like(CAT) + np.uint8(color) for color in ((200, 20, 20), (20, 20, 200)))
    refined = paint(model, [red, blue], masks=[left, 1 - left], quality="best").astype(int)
    for side, color in ((refined[:, :24], red), (refined[:, 40:], blue)):
        assert np.abs(side.mean((0, 1)) - color[0, 0]).max() < 8
    masked = paint(model, masks=[left], stroke_size=2, keep_color="match", quality="best")
    assert np.array_equal(masked[:, SIZE // 2 + 2 :], PHOTO[:, SIZE // 2 + 2 :])
    assert change(masked[:, : SIZE // 2], PHOTO[:, : SIZE // 2]) > 20


def test_hidden_places_of_a_style_are_not_taken(model, few):
    cut_out = np.dstack([CAT, np.full((SIZE, SIZE), 255, np.uint8)])
    cut_out[: SIZE // 2] = (0, 255, 0, 0)
    seen = paint(model, CAT[SIZE // 2 :], quality="best")
    assert change(paint(model, cut_out, quality="best"), seen) < 1


@pytest.mark.parametrize(
    ("style", "options", "message"),
    [
        ("munch-scream", {"quality": "best"}, "the style munch-scream has none: give its picture"),
        (CAT, {"quality": "good"}, "quality must be best, or left out, not good"),
        (CAT, {"quality": "best", "plain": True}, "leave out one of them"),
    ],
)
def test_what_it_cannot_refine_is_one_line(model, style, options, message):
    with pytest.raises(ImpastoError, match=message):
        paint(model, style, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cat.png", "--quality", "good"], "quality is best, or from 1 to 100 for the file, not good"),
        (["cat.png", "--quality", "best", "--huge"], "leave out one"),
        (["munch-scream", "--quality", "best"], "give its picture"),
    ],
)
def test_the_command_line_says_what_it_cannot(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_image("photo.png", PHOTO)
    write_image("cat.png", CAT)
    with pytest.raises(SystemExit) as ended:
        main(["stylize", "photo.png", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_ctrl_c_on_the_command_line_writes_the_best_so_far(tmp_path, monkeypatch, capsys):
    """Asked when the second level begins, it does one step of that."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(refine, "LARGEST", SIZE)
    write_image("photo.png", PHOTO)
    write_image("cat.png", CAT)
    describe, levels = refine.describe, []

    def interrupting(features, grid, alpha=None):
        levels.append(grid)
        if len(levels) == 4:
            signal.raise_signal(signal.SIGINT)
        return describe(features, grid, alpha)

    monkeypatch.setattr(refine, "describe", interrupting)
    options = ["--style-size", str(SIZE), "-o", "out.jpg", "--quality", "best", "--quality", "90"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended:
            main(["stylize", "photo.png", "cat.png", *options])
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 0
    assert "stopped, this is the best so far" in capsys.readouterr().err
    assert len(levels) == 6
    assert change(impasto.read_image("out.jpg").pixels, PHOTO) > 5
