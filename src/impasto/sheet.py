"""One photo in many styles, on one labelled sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from impasto.checks import is_whole, plain
from impasto.controls import Controls
from impasto.errors import ImpastoError
from impasto.image import MAX_PIXELS, ImageSource, read_image, resize_short_side
from impasto.octaves import BASE
from impasto.progress import track
from impasto.style import Style, gallery
from impasto.stylizer import Stylizer

#: Long side in pixels of a picture on the sheet.
SIZE = 400
_PAPER, _INK, _GREY = (250, 249, 246), (32, 31, 30), (128, 125, 121)
_SHAPE = 4 / 3  # width to height that a sheet comes close to where the number of columns is free
_LARGEST = 65_000  # no JPEG side can be longer


@dataclass(frozen=True)
class Cell:
    """A picture and the two lines under it."""

    picture: Image.Image
    title: str
    detail: str = ""


def sheet(
    model: Stylizer,
    photo: ImageSource,
    styles: Sequence[Style] | None = None,
    *,
    max_size: int = SIZE,
    columns: int | None = None,
    stroke_size: float = 1.0,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Paints a sheet: the photo as it is and in each style, under each its painting's title, artist and year.

    Args:
        photo: whatever :func:`impasto.read_image` reads.
        styles: which; every style that ships with the model if not given.
        max_size: long side in pixels of each picture; a smaller photo stays as it is.
        columns: pictures to a row; chosen for a sheet of about 4 : 3 if not given.
        stroke_size: see :class:`impasto.controls.Controls`.
        max_pixels: refuse larger photos.

    Raises:
        ImpastoError: the photo cannot be read, there is no style, or the sheet would be too large.

    >>> import impasto, numpy as np
    >>> model = impasto.load()
    >>> sheet(model, np.zeros((30, 40, 3)), [model.style("klimt-kiss")], max_size=40, columns=1).mode
    'RGB'
    """
    controls = Controls(stroke_size=stroke_size)
    picture = read_image(photo, max_pixels=max_pixels)
    styles = list(model.gallery.values()) if styles is None else styles
    if not styles:
        raise ImpastoError(f"the model {model.name} comes without a gallery: name styles for the sheet")
    cells = [Cell(picture.limit_size(max_size).to_pil(), "The photo")]
    # Of a large photo, once and not for each style: as much as painting it so small would use.
    used = max(round(2 * BASE / min(controls.stroke_size, 1)), max_size)
    if min(picture.pixels.shape[:2]) > used:
        picture = picture.change(lambda pixels: resize_short_side(pixels, used))
    for style in track(styles, "Painting", len(styles)):
        title, detail = caption(style)
        cells.append(Cell(model.stylize(picture, style, controls, max_size=max_size), title, detail))
    return lay_out(cells, columns)


def caption(style: Style) -> tuple[str, str]:
    """The two lines under a picture: title, and artist with year; of a style that is not in the gallery its name."""
    painting = gallery().get(style.name)
    return (painting.title, f"{painting.artist}, {painting.year}") if painting else (style.name, "")


def lay_out(cells: Sequence[Cell], columns: int | None = None) -> Image.Image:
    """Lays pictures of one size out in rows, with margins and with labels, which are cut where they are too long."""
    columns = plain(columns)
    if columns is not None and (not is_whole(columns) or columns < 1):
        raise ImpastoError(f"a sheet needs 1 column or more, not {columns}")
    width = max(cell.picture.width for cell in cells)
    height = max(cell.picture.height for cell in cells)
    text = max(11, round(max(width, height) / 22))
    fonts = ImageFont.load_default(text), ImageFont.load_default(round(0.85 * text))
    gap = round(1.4 * text)
    label = round(3.1 * text)
    across, down = width + gap, height + label + gap
    columns = min(columns or _columns(len(cells), across / down), len(cells))
    rows = math.ceil(len(cells) / columns)
    shape = 2 * gap + columns * across - gap, 2 * gap + rows * down - gap
    if max(shape) > _LARGEST:
        raise ImpastoError(f"a sheet of {shape[0]} x {shape[1]} pixels is too large: take a smaller --max-size")

    page = Image.new("RGB", shape, _PAPER)
    draw = ImageDraw.Draw(page)
    for index, cell in enumerate(cells):
        left, top = gap + index % columns * across, gap + index // columns * down
        picture = cell.picture
        page.paste(picture.convert("RGB"), (left, top), picture if picture.has_transparency_data else None)
        under = top + height + round(0.45 * text)
        for line, font, ink in ((cell.title, fonts[0], _INK), (cell.detail, fonts[1], _GREY)):
            draw.text((left, under), _cut(line, font, width), ink, font)
            under += round(1.3 * text)
    return page


def _columns(count: int, shape: float) -> int:
    """How many cells of a shape (width to height) to a row bring a sheet of `count` cells closest to 4 : 3."""
    return min(range(1, count + 1), key=lambda n: abs(math.log(n * shape / math.ceil(count / n) / _SHAPE)))


def _cut(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Cuts a line to as much of it as fits, with three dots."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}...") > width:
        line = line[:-1].rstrip()
    return f"{line}..."
