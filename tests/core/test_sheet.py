"""The labelled sheet."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage import data

import impasto
from impasto.sheet import Cell, lay_out, sheet

PAPER = (250, 249, 246)
COLORS = ["red", "green", "blue", "black", "purple"]


def cells(count: int, size: tuple[int, int] = (200, 120), title: str = "Title") -> list[Cell]:
    return [Cell(Image.new("RGB", size, COLORS[i % len(COLORS)]), f"{title} {i}", "Artist, 1900") for i in range(count)]


def ink(page: Image.Image) -> np.ndarray:
    """[H, W]: where the page is not paper."""
    return (np.asarray(page) != PAPER).any(axis=2)


def runs(line: np.ndarray) -> list[int]:
    """Lengths of the stretches of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]]).astype(int)))
    return list(edges[1::2] - edges[::2])


def test_every_picture_is_there_whole_and_apart_from_the_others() -> None:
    page = lay_out(cells(5), columns=3)
    colors = np.asarray(page).reshape(-1, 3)
    for color in COLORS:
        count = (colors == Image.new("RGB", (1, 1), color).getpixel((0, 0))).all(axis=1).sum()
        assert count >= 200 * 120
    middle_of_first_row = ink(page)[60]
    assert runs(middle_of_first_row) == [200, 200, 200]


def test_each_picture_has_two_lines_under_it() -> None:
    page = lay_out(cells(1))
    under = ink(page).any(axis=1)
    picture, title, detail = runs(under)
    assert picture == 120
    assert min(title, detail) > 5


def test_margins_are_even() -> None:
    marks = ink(lay_out(cells(4), columns=2))
    left, right = marks.any(axis=0).argmax(), marks.any(axis=0)[::-1].argmax()
    assert left == right == marks.any(axis=1).argmax()


def test_long_labels_are_cut_to_the_picture() -> None:
    page = lay_out(cells(2, title="A title much too long for so small a picture " * 3), columns=2)
    middle = page.width // 2
    assert not ink(page)[:, middle - 3 : middle + 3].any()


@pytest.mark.parametrize(("count", "size"), [(38, (400, 300)), (38, (300, 400)), (7, (400, 400)), (2, (400, 100))])
def test_a_sheet_is_about_as_wide_as_a_page(count: int, size: tuple[int, int]) -> None:
    page = lay_out(cells(count, size))
    assert 0.7 < page.width / page.height < 2.4


def test_columns_are_as_many_as_asked_for() -> None:
    assert lay_out(cells(4), columns=1).height > 4 * 120
    assert lay_out(cells(4), columns=9).size == lay_out(cells(4), columns=4).size


@pytest.mark.parametrize("columns", [0, -2])
def test_no_columns_is_an_error(columns: int) -> None:
    with pytest.raises(impasto.ImpastoError, match="1 column or more"):
        lay_out(cells(2), columns=columns)


def test_a_sheet_no_file_could_hold_is_an_error() -> None:
    with pytest.raises(impasto.ImpastoError, match="smaller --max-size"):
        lay_out(cells(400), columns=400)


def test_a_photo_in_styles() -> None:
    model = impasto.load(engine="onnxruntime")
    alpha = np.full((512, 512, 1), 255, np.uint8)
    alpha[:, :256] = 0
    photo = np.concatenate([data.astronaut(), alpha], axis=2)
    styles = [model.style("munch-scream"), model.style(data.coffee(), name="coffee")]
    page = sheet(model, photo, styles, max_size=100, columns=3)
    row = np.asarray(page)[60].astype(int)
    across = (page.width - 3 * 100) // 4 + 100  # margins and gaps are one width
    cells = [row[start - 100 : start] for start in (across, 2 * across, 3 * across)]
    for cell in cells:
        np.testing.assert_array_equal(cell[:45], np.broadcast_to(PAPER, (45, 3)))  # the left halves are transparent
    photo_line, scream, coffee = (cell[55:] for cell in cells)
    assert np.abs(photo_line - scream).mean() > 10
    assert np.abs(scream - coffee).mean() > 10


def test_the_gallery_is_what_a_sheet_shows_unless_told() -> None:
    model = impasto.load(engine="onnxruntime")
    page = sheet(model, data.astronaut(), max_size=32, columns=1)
    pictures = [length for length in runs(ink(page)[:, 20]) if length >= 32]
    assert len(pictures) == 1 + len(model.model.gallery) > 24


def test_a_large_photo_is_painted_as_it_is_alone(compact: impasto.Stylizer) -> None:
    photo = np.asarray(Image.fromarray(data.astronaut()).resize((1500, 1200)))
    style = compact.gallery["munch-scream"]
    page = sheet(compact, photo, [style], max_size=150, columns=2)
    gap = (page.width - 2 * 150) // 3  # margins and gaps are one width
    painted = np.asarray(page.crop((2 * gap + 150, gap, 2 * gap + 300, gap + 120)), float)
    assert np.abs(painted - np.asarray(compact.stylize(photo, style, max_size=150))).mean() < 1
