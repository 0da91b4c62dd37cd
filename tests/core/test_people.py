"""People and faces are found, and painted less."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage import data

from impasto.errors import ImpastoError
from impasto.people import find_faces, find_people

FACE = 225, 120  # where the astronaut's is, x and y in her photo of 512 x 512


@pytest.fixture(scope="module")
def group(photo):
    """Four of one, of several sizes and turned, before another ground: uint8 [400, 900, 3]; and where each face is."""
    ground = np.asarray(Image.fromarray(data.rocket()).resize((900, 400))).copy()
    figure = Image.fromarray(photo[:360, 60:400])  # 340 x 360
    cut = Image.fromarray(np.uint8(255 * find_people(photo, "person")[:360, 60:400]))
    faces = []
    for left, height, turned in ((0, 200, False), (180, 320, True), (470, 240, False), (680, 180, True)):
        size = round(340 * height / 360), height
        one, mask = (image.resize(size) for image in (figure, cut))
        if turned:
            one, mask = (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in (one, mask))
        canvas = Image.fromarray(ground)
        canvas.paste(one, (left, 400 - height), mask)
        ground = np.asarray(canvas)
        x = round((FACE[0] - 60) * height / 360)
        faces.append((left + (size[0] - x if turned else x), 400 - height + round(FACE[1] * height / 360)))
    return ground, faces


def test_a_portrait(photo):
    [face] = find_faces(photo)
    assert np.hypot(face.x - FACE[0], face.y - FACE[1]) < 20
    assert 80 < face.width < 140
    person, face = (find_people(photo, what) for what in ("person", "face"))
    for found in (person, face):
        assert found.shape == (512, 512)
        assert found.dtype == np.float32
        assert found[FACE[1], FACE[0]] > 0.9
        assert found[:100, 400:].max() < 0.1  # the rocket behind her
    assert person[300, 150] > 0.9  # her suit
    assert face[300, 150] == 0
    assert 0.35 < person.mean() < 0.65
    assert 0.02 < face.mean() < 0.12
    assert np.abs(np.diff(face, axis=1)).max() < 0.25  # soft


def test_a_group(group):
    picture, places = group
    faces = find_faces(picture)
    assert len(faces) == len(places)
    for x, y in places:
        assert min(np.hypot(face.x - x, face.y - y) for face in faces) < 12
    person, face = (find_people(picture, what) for what in ("person", "face"))
    for x, y in places:
        assert min(person[y, x], face[y, x]) > 0.7
    assert max(person[:60].max(), face[:60].max()) < 0.1  # over their heads


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
def test_nobody(compact, name):
    picture = np.asarray(Image.fromarray(getattr(data, name)()).resize((225, 150)))
    assert not find_people(picture, "person").any()
    assert not find_people(picture, "face").any()
    kept = compact.stylize(picture, "munch-scream", keep="face")
    assert kept == compact.stylize(picture, "munch-scream")


def test_what_is_kept_is_a_share_of_the_photo(compact, photo):
    photo = np.asarray(Image.fromarray(photo).reduce(2))
    painted = np.asarray(compact.stylize(photo, "klimt-kiss")).astype(float)
    found = find_people(photo, "face")[..., None]
    for share in (0.6, 1.0):
        kept = np.asarray(compact.stylize(photo, "klimt-kiss", keep="face", keep_share=share))
        assert np.abs(kept - (painted + share * found * (photo - painted))).max() < 0.51
    whole = np.ones(photo.shape[:2], np.float32)
    masked = compact.stylize(photo, "klimt-kiss", masks=[whole], keep="person")
    x, y = FACE[0] // 2, FACE[1] // 2
    assert np.array_equal(np.asarray(masked)[y, x], photo[y, x])


@pytest.mark.parametrize("shape", [(1, 1), (5, 900), (300, 2)])
def test_pictures_too_small_for_anybody(shape):
    assert not find_people(np.full((*shape, 3), 140, np.uint8), "person").any()


def test_bad_wishes_are_one_line(compact, photo):
    with pytest.raises(ImpastoError, match="keep must be person or face, not dog"):
        compact.stylize(photo, "klimt-kiss", keep="dog")
    with pytest.raises(ImpastoError, match=r"keep_share must be a number from 0 to 1, not 1\.5"):
        compact.stylize(photo, "klimt-kiss", keep="face", keep_share=1.5)
