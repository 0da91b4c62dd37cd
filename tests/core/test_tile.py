"""Large photos, painted by tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import impasto
from impasto.controls import Controls
from impasto.engine import Inputs
from impasto.graph import GraphStylizer
from impasto.image import to_float
from impasto.model import find_model, shipped_models
from impasto.stylizer import Memory
from impasto.tile import InMemory, cut_side

#: The side of the tiles in these tests: a halo on both sides, and something between.
WINDOWS = {"adain": 128, "adain-relu3_1": 104, "adain-vgg19": 192}
WHOLE = np.ones((1, 1, 1, 1), np.float32)


@pytest.fixture(params=[model.name for model in shipped_models()])
def model(request) -> GraphStylizer:
    if find_model(request.param).card.encoder:
        request.getfixturevalue("vgg19")
    return load(request.param)


def load(name: str) -> GraphStylizer:
    """A model that paints by tiles whatever the size."""
    painter = impasto.load(name, engine="onnxruntime")
    assert isinstance(painter, GraphStylizer)
    painter.tile, painter.tile_above = WINDOWS[name], 0
    return painter


def in_one_piece(painter: GraphStylizer, *arguments, **options) -> np.ndarray:
    painter.tile_above = 10**9
    try:
        return np.asarray(painter.stylize(*arguments, **options)).astype(int)
    finally:
        painter.tile_above = 0


@pytest.fixture
def seen(model, monkeypatch) -> list[tuple[int, ...]]:
    """The shapes of the pictures that the engine is given, as they come."""
    shapes: list[tuple[int, ...]] = []
    run = model.engine.run

    def noted(inputs: Inputs, recurring: bool) -> tuple[np.ndarray, np.ndarray]:
        shapes.append(inputs.image.shape[2:])
        return run(inputs)

    monkeypatch.setattr(model.engine, "run", noted)
    return shapes


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


def test_tiles_give_the_picture_of_one_piece(model, seen, photo, painting):
    picture = np.asarray(Image.fromarray(photo).resize((230, 213)))  # no multiples of any stride
    height, width = picture.shape[:2]
    a, b = model.style(painting, size=256), model.style(255 - painting, size=256)
    seen.clear()
    tiled = np.asarray(model.stylize(picture, a))
    assert len(set(seen)) <= 5  # the probe for the order of the layers, and up to four sizes of tiles
    assert max(max(shape) for shape in seen) <= model.tile
    assert np.abs(tiled - in_one_piece(model, picture, a)).max() <= 1

    disc = np.hypot(*np.mgrid[-height / 2 : height / 2, -width / 2 : width / 2]) < 60
    ramp = np.linspace(0, 1, width, dtype=np.float32)[None].repeat(height, 0)
    options = {"masks": [disc, 0.9 - 0.9 * ramp], "strength": 0.8, "keep_color": "luminance"}
    tiled = np.asarray(model.stylize(picture, {a: 1, b: 0.6}, **options))
    assert np.abs(tiled - in_one_piece(model, picture, {a: 1, b: 0.6}, **options)).max() <= 1


def test_statistics_pool_exactly(model, photo, painting):
    picture = np.asarray(Image.fromarray(photo).resize((230, 213)))
    style = model.style(painting, size=256)
    memory = Memory(inertia=0)
    plan = model.plan(model.mix(style), Controls())
    model.paint(picture, plan, memory=memory)  # in one piece
    tiling = model.tile_scene(InMemory(picture, None), plan, False)
    assert len(tiling.tiles) > 1
    calls = []
    pooled = tiling.measure(tiling.nothing, lambda: calls.append(1))
    np.testing.assert_allclose(pooled, memory.stats, rtol=2e-4, atol=2e-4)
    # Layers that do not depend on each other are measured together: here those that the encoder's features go through.
    passes = {"adain": 5}.get(model.name, 1)
    assert len(calls) == passes * len(tiling.tiles) == tiling.passes_left(tiling.nothing) * len(tiling.tiles)


def test_a_flat_picture_stays_flat():
    """Variances next to nothing, where the constant that is added to them counts."""
    model = load("adain")
    grey = np.full((200, 300, 3), 120, np.uint8)
    tiled = np.asarray(model.stylize(grey, "munch-scream"))
    assert np.abs(tiled - in_one_piece(model, grey, "munch-scream")).max() <= 1


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


def excess(painted: np.ndarray, cuts: list[int]) -> float:
    """By how many standard errors gradients across the cuts differ from those across all other columns."""
    steps = np.abs(np.diff(painted.astype(float), axis=1)).mean((0, 2))
    at = np.zeros(len(steps), bool)
    at[[cut - 1 for cut in cuts]] = True
    return float(abs(steps[at].mean() - steps[~at].mean()) / (steps[~at].std() / at.sum() ** 0.5))


def test_thumbnail_statistics_leave_no_seams(photo, painting):
    model = load("adain")
    wide = np.asarray(Image.fromarray(photo[:, :, :]).resize((1400, 800)))
    style = model.style(painting)
    model.tile = 2048
    whole = np.asarray(model.stylize(wide, style, tile_statistics="thumbnail"))
    model.tile = 256
    painted = np.asarray(model.stylize(wide, style, tile_statistics="thumbnail"))
    assert np.abs(painted.astype(int) - whole).max() <= 1
    tiling = model.tile_scene(InMemory(wide, None), model.plan(model.mix(style), Controls()), False)
    rows, columns = (
        sorted({(tile[axis].inner.start, tile[axis].inner.stop) for tile in tiling.tiles}) for axis in (0, 1)
    )
    tops, lefts = ([start for start, _ in spans_[1:]] for spans_ in (rows, columns))
    assert len(lefts) >= 6
    # What differs at the cuts is in the picture, not in the tiles.
    assert excess(painted, lefts) == pytest.approx(excess(whole, lefts), abs=0.1)
    assert excess(painted.swapaxes(0, 1), tops) == pytest.approx(excess(whole.swapaxes(0, 1), tops), abs=0.1)
    # The measure finds seams where there are some: tiles that each go by their own statistics.
    apart = [np.hstack([in_one_piece(model, wide[slice(*r), slice(*c)], style) for c in columns]) for r in rows]
    assert excess(np.vstack(apart), lefts) > 6
    # And the choice is one: other statistics, another picture, though not a very different one.
    assert 0.2 < np.abs(painted - in_one_piece(model, wide, style)).mean() < 40


def test_thumbnails_keep_to_masks(photo, painting):
    model = load("adain")
    wide = np.asarray(Image.fromarray(photo).resize((1100, 1000)))
    model.tile = 1024
    mask = np.zeros((1000, 1100), np.uint8)
    mask[300:600, 200:900] = 255
    painted = np.asarray(model.stylize(wide, painting, masks=[mask], tile_statistics="thumbnail"))
    assert np.array_equal(painted[mask == 0], wide[mask == 0])
    assert np.abs(painted[mask > 0].astype(int) - wide[mask > 0]).mean() > 5


def test_an_unknown_kind_of_statistics_is_one_line(photo):
    with pytest.raises(impasto.ImpastoError, match="exact or thumbnail"):
        load("adain").stylize(photo, "munch-scream", tile_statistics="guess")


def test_a_model_that_does_not_tell_its_reach_says_so(photo, tmp_path):
    model = load("adain")
    model.model = replace(model.model, card=replace(model.model.card, reach=None))
    with pytest.raises(impasto.ImpastoError, match="export the model again"):
        model.stylize(photo, "munch-scream")
