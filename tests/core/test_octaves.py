"""Coarse to fine: the same look at every size, strokes of the size that is asked for, and large octaves by tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage import data

import impasto
from impasto import graph
from impasto.color import Palette, optimal_map, palette_of
from impasto.engine import Inputs
from impasto.graph import GraphStylizer
from impasto.image import to_float
from impasto.model import find_model, shipped_models
from impasto.octaves import Octave, Painted, choose_sizes, resize, resize_part, shrink
from impasto.style import Style
from impasto.tile import cut_side

#: The side of the tiles in these tests: a halo on both sides, and something between.
WINDOWS = {"adain": 128, "adain-relu3_1": 104}
WHOLE = np.ones((1, 1, 1, 1), np.float32)


@pytest.fixture(params=[model.name for model in shipped_models()])
def model(request) -> GraphStylizer:
    if find_model(request.param).card.encoder:
        request.getfixturevalue("vgg19")
    return load(request.param)


@pytest.fixture(scope="module")
def compact() -> GraphStylizer:
    return load("adain")


def load(name: str) -> GraphStylizer:
    painter = impasto.load(name, engine="onnxruntime")
    assert isinstance(painter, GraphStylizer)
    return painter


def scaled(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


# Sizes, and what goes from one to the next


@pytest.mark.parametrize(
    "shape", [(1, 1), (15, 9), (16, 5000), (5000, 16), (512, 512), (767, 769), (3456, 5184), (20000, 30000)]
)
@pytest.mark.parametrize("stroke", [0.25, 0.5, 1.0, 1.7, 4.0])
def test_octaves_are_small_and_of_the_shape_of_the_picture(shape, stroke):
    sizes = choose_sizes(shape, stroke)
    assert 1 <= len(sizes) <= 2
    assert sizes[0][0] * sizes[0][1] <= 8_100_000
    for size in sizes:
        assert min(size) >= min(*shape, 16) * 0.99 or min(size) == 1
        assert size[0] / size[1] == pytest.approx(shape[0] / shape[1], rel=2 / min(size))
    assert len(sizes) == 1 or sizes[0][0] < sizes[1][0] <= shape[0]
    assert len(choose_sizes(shape, stroke, once=True)) == 1


@pytest.mark.parametrize("size", [(60, 91), (300, 401), (977, 1303)])
def test_a_part_is_what_is_cut_out_afterwards(photo, size):
    picture = scaled(photo, 411, 307)
    whole = np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC))
    assert np.array_equal(resize(picture, size), whole)
    height, width = size
    for rows in (slice(0, 17), slice(height // 3, height // 2), slice(height - 20, height)):
        for columns in (slice(0, 1), slice(width // 4, width), slice(width - 3, width)):
            part = resize_part(picture, size, rows, columns)
            difference = np.abs(part.astype(int) - whole[rows, columns])
            assert difference.mean() < 0.3
            assert difference.max() <= 4  # Pillow 13 begins with the side that is cheaper, and rounds in between


def test_a_painting_that_is_the_photo_gives_the_photo_back(photo):
    small = shrink(photo, [(60, 80)])[0]
    assert np.array_equal(Octave(photo, Painted(small, small)).everything(), photo)


def test_strokes_have_a_size_in_the_picture(compact, painting):
    """A photo painted large and made small is the small one painted, and stroke sizes mean what they say."""
    large = scaled(data.astronaut(), 1800, 1800)
    style = compact.style(painting)
    big = np.asarray(compact.stylize(large, style))
    small = np.asarray(compact.stylize(scaled(large, 600, 600), style))
    assert distance(scaled(big, 600, 600), small) < 6
    fine, coarse = (np.asarray(compact.stylize(large, style, stroke_size=size)) for size in (0.5, 2))
    assert distance(scaled(fine, 600, 600), small) > 1.2 * distance(scaled(big, 600, 600), small)

    def blurred(picture: np.ndarray, side: int) -> np.ndarray:
        return scaled(scaled(picture, side, side), 1800, 1800).astype(float)

    def fineness(picture: np.ndarray) -> float:
        """How much stronger waves under 24 pixels are than those of 24 to 150."""
        return float((picture - blurred(picture, 75)).std() / (blurred(picture, 75) - blurred(picture, 12)).std())

    assert fineness(fine) > 1.1 * fineness(big) > 1.2 * fineness(coarse)


def test_finer_strokes_than_pixels_are_painted_larger(compact):
    small = scaled(data.astronaut(), 160, 120)
    usual, fine = (np.asarray(compact.stylize(small, "munch-scream", stroke_size=size)) for size in (1, 0.5))
    assert fine.shape == usual.shape
    assert distance(fine, usual) > 3


def test_methods_have_strokes_of_a_size_too(vgg19, photo, painting):
    pytest.importorskip("torch")
    picture, style = scaled(photo, 96, 80), scaled(painting, 64, 64)
    gatys = impasto.load("gatys", iterations=4)
    plain, coarse = (np.asarray(gatys.stylize(picture, style, stroke_size=size, style_size=64)) for size in (1, 2))
    assert coarse.shape == plain.shape
    assert distance(coarse, plain) > 1


def test_masks_keep_to_themselves_at_every_size(compact, painting):
    wide = scaled(data.astronaut(), 1100, 1000)
    mask = np.zeros((1000, 1100), np.uint8)
    mask[300:600, 200:900] = 255
    for stroke in (0.5, 1, 3):
        painted = np.asarray(compact.stylize(wide, painting, masks=[mask], stroke_size=stroke))
        assert np.array_equal(painted[mask == 0], wide[mask == 0])
        assert distance(painted[mask > 0], wide[mask > 0]) > 5


def test_a_preview_is_the_painting_made_small(compact):
    large = scaled(data.astronaut(), 1800, 1700)
    mask = np.zeros((1700, 1800), np.uint8)
    mask[:, 900:] = 255
    for options in ({}, {"masks": [mask], "strength": 0.7}, {"stroke_size": 2, "keep_color": "luminance"}):
        whole = np.asarray(compact.stylize(large, "van-gogh-irises", **options))
        preview = np.asarray(compact.stylize(large, "van-gogh-irises", max_size=600, **options))
        assert distance(scaled(whole, 600, 567), preview) < 2


def test_a_limit_of_size_goes_with_masks_and_strokes(compact):
    strip = scaled(data.astronaut(), 5000, 16)
    half = np.zeros((16, 5000), np.uint8)
    half[:, 2500:] = 255
    painted = compact.stylize(strip, "munch-scream", masks=[half], stroke_size=0.5, max_size=2000)
    assert painted.size == (2000, 6)
    small = np.asarray(Image.fromarray(strip).resize((2000, 6), Image.Resampling.LANCZOS))
    assert np.array_equal(np.asarray(painted)[:, :999], small[:, :999])


def test_tiny_and_narrow_pictures(compact):
    for height, width in ((1, 1), (7, 300), (16, 5000), (600, 3)):
        strip = scaled(data.astronaut(), width, height)
        for stroke in (0.25, 1, 4):
            assert compact.stylize(strip, "munch-scream", stroke_size=stroke).size == (width, height)


# The palette


def test_the_map_moves_mean_and_covariance_all_the_way(photo, painting):
    before, after = palette_of(photo), palette_of(painting // 3)
    matrix, offset = optimal_map(before, after, 1.0)
    assert np.allclose(matrix, matrix.T)  # the mark of the optimal one
    np.testing.assert_allclose(matrix @ before.mean + offset, after.mean)
    np.testing.assert_allclose(matrix @ before.covariance @ matrix.T, after.covariance, rtol=1e-6, atol=1e-6)
    flat = Palette(before.mean, np.eye(3))  # noise is not stretched to what a painting has
    np.testing.assert_allclose(optimal_map(flat, after, 1.0)[0], np.eye(3), atol=1e-9)
    np.testing.assert_allclose(optimal_map(before, before, 1.0)[0], np.eye(3), atol=1e-9)
    still, nothing = optimal_map(before, after, 0.0)
    assert np.array_equal(still, np.eye(3))
    assert not nothing.any()


def test_colours_go_to_those_of_the_painting(compact, photo):
    grey = scaled(photo, 200, 160).mean(2, keepdims=True).repeat(3, 2).astype(np.uint8)
    style = compact.style("van-gogh-wheat-field-cypresses")
    assert style.palette is not None
    plain = replace(style, palette=None)
    moved, unmoved = (palette_of(np.asarray(compact.stylize(grey, one))) for one in (style, plain))

    def off(found: Palette) -> float:
        return float(np.abs(found.mean - style.palette.mean).sum())

    assert off(moved) < off(unmoved)
    kept, as_ever = (np.asarray(compact.stylize(grey, one, keep_color="luminance")) for one in (style, plain))
    assert np.array_equal(kept, as_ever)


def test_a_palette_is_kept_with_its_style(compact, painting, tmp_path, photo):
    style = compact.style(painting, size=128)
    style.save(tmp_path / "new.style")
    replace(style, palette=None).save(tmp_path / "old.style")
    new, old = (Style.load(tmp_path / f"{name}.style") for name in ("new", "old"))
    assert old.palette is None
    assert new.palette is not None
    for ours, theirs in zip(new.palette, palette_of(style.picture), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-3)
    small = scaled(photo, 120, 90)
    assert distance(np.asarray(compact.stylize(small, new)), np.asarray(compact.stylize(small, style))) < 0.1
    assert distance(np.asarray(compact.stylize(small, old)), np.asarray(compact.stylize(small, new))) > 0.3
    mixed = impasto.blend({new: 1, compact.style("munch-scream"): 1})
    assert mixed.palette is not None
    assert impasto.blend({new: 1, old: 1}).palette is None


# Tiles


@pytest.mark.parametrize("model", ["adain", pytest.param("adain-relu3_1", marks=pytest.mark.slow)], indirect=True)
def test_tiles_give_the_octave_of_one_piece(model, photo, painting, monkeypatch):
    picture = scaled(photo, 431, 402)  # no multiples of any stride
    a, b = model.style(painting, size=256), model.style(255 - painting, size=256)
    height, width = picture.shape[:2]
    disc = np.hypot(*np.mgrid[-height / 2 : height / 2, -width / 2 : width / 2]) < 120
    ramp = np.linspace(0, 1, width, dtype=np.float32)[None].repeat(height, 0)
    looks = [
        (a, {"stroke_size": 2}),
        (
            {a: 1, b: 0.6},
            {"stroke_size": 2, "masks": [disc, 0.9 - 0.9 * ramp], "strength": 0.8, "keep_color": "luminance"},
        ),
    ]
    monkeypatch.setattr(graph, "TILE_ABOVE", 0)
    for styles, options in looks:
        monkeypatch.setattr(graph, "TILE", 4096)
        whole = np.asarray(model.stylize(picture, styles, **options)).astype(int)
        monkeypatch.setattr(graph, "TILE", WINDOWS[model.name])
        tiled = np.asarray(model.stylize(picture, styles, **options))
        assert np.abs(tiled - whole).max() <= 1
    tiled = np.asarray(model.stylize(picture, a, stroke_size=2))
    monkeypatch.setattr(graph, "TILE_ABOVE", 10**9)  # statistics of its own, and hardly another picture
    assert 0 < distance(np.asarray(model.stylize(picture, a, stroke_size=2)), tiled) < 4


def test_the_halo_covers_the_reach(model):
    """Impulses on both sides of a cut: farther from it than the card's reach, nothing changes across it."""
    stride, reach = max(model.model.strides), model.model.reach
    cut, size, style = 96, 192, model.gallery["munch-scream"].tensor[None]
    photo = to_float(np.random.default_rng(1).integers(0, 256, (size, size, 3), np.uint8))
    _, stats = model.engine.run(Inputs(photo, style, WHOLE, np.array(1, np.float32), 0 * style, 0 * style[0]))

    def painted(pixels: np.ndarray) -> np.ndarray:
        """With statistics that stay."""
        inputs = Inputs(pixels, style, WHOLE, np.array(1, np.float32), stats, np.ones_like(stats[0]))
        return model.engine.run(inputs)[0]

    plain, found = painted(photo), 0
    for impulse in (cut, cut - 1):
        changed = photo.copy()
        changed[:, :, impulse, impulse] = 1 - changed[:, :, impulse, impulse].round()
        rows, columns = np.nonzero((painted(changed) != plain).any((0, 1)))
        for places in (rows, columns):
            far = cut - places.min() if impulse == cut else places.max() + 1 - cut
            assert far <= reach
            found = max(found, int(far))
    assert found > reach - stride  # nor is it wider than it has to be


@pytest.mark.parametrize("length", [1, 15, 192, 193, 199, 200, 305, 1000, 1003, 20000])
@pytest.mark.parametrize(("window", "halo", "stride"), [(192, 40, 8), (104, 24, 4), (88, 40, 8)])
def test_spans_cover_a_side_once(length, window, halo, stride):
    found = cut_side(length, window, halo, stride)
    assert [span.inner.start for span in found] == [0, *(span.inner.stop for span in found[:-1])]
    assert found[-1].inner.stop == found[-1].outer.stop == length
    for span in found:
        assert span.inner.start < span.inner.stop
        assert span.outer.start % stride == span.inner.start % stride == 0
        assert span.outer.stop - span.outer.start <= window
        assert span.outer.start == 0 or span.inner.start - span.outer.start >= halo
        assert span.outer.stop == length or span.outer.stop - span.inner.stop >= halo


def test_a_flat_picture_stays_flat(compact):
    """Variances next to nothing, where the constant that is added to them counts."""
    painted = np.asarray(compact.stylize(np.full((900, 1000, 3), 120, np.uint8), "munch-scream"))
    assert painted.astype(float).std((0, 1)).max() < 4


def test_a_model_without_a_reach_paints_in_one_piece(photo, monkeypatch):
    painter, picture = load("adain"), scaled(photo, 900, 900)
    whole = np.asarray(painter.stylize(picture, "munch-scream"))
    painter.model = replace(painter.model, card=replace(painter.model.card, reach=None))
    monkeypatch.setattr(graph, "TILE_ABOVE", 0)
    assert np.array_equal(painter.stylize(picture, "munch-scream"), whole)
