"""Pixels count by how much is seen of them: what lies where nothing is seen decides nothing."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data

from impasto.alpha import FAINT, continue_colors, fill
from impasto.color import palette_of
from impasto.errors import ImpastoError
from impasto.image import Picture

HEIGHT, WIDTH = 96, 120


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def cut_out(seed: int, picture: np.ndarray | None = None) -> np.ndarray:
    """A disc cut out of a picture, soft at its edge, with noise where nothing is seen: uint8 [H, W, 4]."""
    photo = Image.fromarray(data.coffee() if picture is None else picture).resize((WIDTH, HEIGHT))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    alpha = np.clip(40 * (35 - np.hypot(y - 50, x - 55)), 0, 255).astype(np.uint8)
    return np.dstack([np.where(alpha[..., None], np.asarray(photo), noise(seed, HEIGHT, WIDTH, 3)), alpha])


def in_margin(picture: np.ndarray, seed: int, margin: int = 64) -> np.ndarray:
    """A picture in the middle of a transparent ground of noise."""
    height, width = picture.shape[:2]
    made = noise(seed, height + 2 * margin, width + 2 * margin, 4)
    made[..., 3] = 0
    made[margin:-margin, margin:-margin] = np.dstack([picture, np.full((height, width), 255, np.uint8)])
    return made


def palette_png(seed: int) -> bytes:
    """A picture of 256 colours, one of which is transparent, whatever it is."""
    picture = cut_out(0)
    indexed = Image.fromarray(picture[..., :3]).quantize(255)
    numbers = np.where(picture[..., 3] < 128, np.uint8(255), np.asarray(indexed))
    image, stream = Image.fromarray(numbers, "P"), io.BytesIO()
    image.putpalette([*indexed.getpalette()[:765], *noise(seed, 3).tolist()])
    image.save(stream, "PNG", transparency=255)
    return stream.getvalue()


CONTROLS = {
    "plain": {},
    "strength": {"strength": 0.4},
    "nothing painted": {"strength": 0},
    "colours of the style": {"keep_color": "match"},
    "chroma": {"keep_color": "luminance"},
    "strokes": {"stroke_size": 0.5},
    "smaller": {"max_size": 80},
    "regions": {"masks": [np.tri(HEIGHT, WIDTH), 1 - np.tri(HEIGHT, WIDTH)]},
}


@pytest.mark.parametrize("controls", CONTROLS)
def test_photos_that_look_alike_are_painted_alike(compact, controls):
    styles = [compact.style("munch-scream"), compact.style(data.chelsea(), size=128)]
    one, other = (compact.stylize(cut_out(seed), styles, **CONTROLS[controls]) for seed in (1, 2))
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("kind", ["array", "indexed png", "faint"])
def test_however_transparency_is_stored(compact, kind):
    made = {"array": cut_out, "indexed png": palette_png, "faint": cut_out}[kind]
    photos = [made(seed) for seed in (1, 2)]
    if kind == "faint":  # as a format that stores alpha with losses may leave it
        for photo in photos:
            photo[..., 3] = np.maximum(photo[..., 3], FAINT - 1)
    one, other = (np.asarray(compact.stylize(photo, "munch-scream")) for photo in photos)
    assert np.array_equal(one, other)


def test_styles_that_look_alike_are_alike(model):
    one, other = (model.style(cut_out(seed, data.chelsea()), size=96) for seed in (1, 2))
    assert np.array_equal(one.tensor, other.tensor)
    assert np.array_equal(one.picture, other.picture)
    assert all(np.array_equal(*pair) for pair in zip(one.palette, other.palette, strict=True))


def test_a_photo_is_painted_as_if_its_ground_were_not_there(model, photo):
    photo = np.asarray(Image.fromarray(photo).resize((128, 128)))
    alone = np.asarray(model.stylize(photo, "klimt-kiss")).astype(int)
    painted = np.asarray(model.stylize(in_margin(photo, 1), "klimt-kiss"))[64:-64, 64:-64, :3]
    difference = np.abs(painted - alone)
    assert difference[32:-32, 32:-32].mean() < 3
    assert difference.mean() < (10 if model.name == "adain-vgg19" else 3)  # its border reaches a quarter of the way in


def test_a_style_has_no_ground(model, painting):
    alone, padded = model.style(painting, size=96), model.style(in_margin(painting, 1), size=96)
    assert np.array_equal(alone.tensor, padded.tensor)


def test_what_is_half_seen_counts_half(compact):
    """Three quarters of a picture, at a third of the alpha, count as much as the rest."""
    picture = np.full((64, 64, 4), (200, 40, 40, 85), np.uint8)
    picture[:16] = 40, 40, 200, 255
    mean, _ = compact.style(picture, size=64).palette
    assert np.abs(mean - (120, 40, 120)).max() < 1
    assert np.array_equal(palette_of(picture[..., :3], picture[..., 3]).mean, mean)
    pale, full = (np.full((300, 451), alpha, np.uint8) for alpha in (60, 255))
    one, other = (compact.style(np.dstack([data.chelsea(), alpha]), size=300) for alpha in (pale, full))
    assert np.abs(one.tensor - other.tensor).max() < 0.02 * np.abs(other.tensor).max()


def test_what_is_opaque_is_painted_as_before(compact):
    picture = cut_out(1)[..., :3]
    opaque = np.dstack([picture, np.full((HEIGHT, WIDTH), 255, np.uint8)])
    painted = compact.stylize(opaque, "munch-scream")
    assert painted.mode == "RGBA"
    assert np.array_equal(np.asarray(painted)[..., :3], compact.stylize(picture, "munch-scream"))


def test_strength_0_gives_back_all_that_is_seen(compact):
    picture = cut_out(1)
    back = np.asarray(compact.stylize(picture, "munch-scream", strength=0))
    seen = picture[..., 3] > 0
    assert np.array_equal(back[seen], picture[seen])
    assert np.array_equal(back[..., 3], picture[..., 3])


def test_a_wholly_transparent_picture(compact):
    clear = np.zeros((40, 48, 4), np.uint8)
    coloured = clear + np.uint8([90, 200, 30, 0])
    for controls in ({}, {"keep_color": "match"}):
        assert compact.stylize(clear, "klimt-kiss", **controls) == compact.stylize(coloured, "klimt-kiss", **controls)
    with pytest.raises(ImpastoError, match="the style picture is wholly transparent"):
        compact.style(clear)


def test_colours_are_continued_by_mirroring():
    picture = noise(0, 7, 5, 3)
    canvas, seen = noise(1, 30, 40, 3), np.zeros((30, 40), bool)
    canvas[9:16, 20:25], seen[9:16, 20:25] = picture, True
    expected = np.pad(picture, [(9, 14), (20, 15), (0, 0)], mode="symmetric")
    assert np.array_equal(continue_colors(canvas, seen), expected)


def test_large_pictures_are_filled_at_a_smaller_size():
    picture = np.full((1500, 1600, 3), 120, np.uint8)
    alpha = np.zeros((1500, 1600), np.uint8)
    alpha[100:900, 200:900] = 255
    picture[alpha == 0] = 0, 255, 0
    filled = fill(Picture(picture, alpha)).astype(int)
    assert np.abs(filled - 120).max() < 20  # what is hardly seen at the edge of a smaller one is not known better
    assert np.abs(filled - 120).mean() < 0.1
