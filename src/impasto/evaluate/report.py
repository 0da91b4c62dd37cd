"""An evaluation as a table, as JSON, as a page with a contact sheet, and as a model card's figures."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import PurePath
from typing import Any

from PIL import Image
from rich.table import Table

from impasto.errors import ImpastoError
from impasto.files import write_file
from impasto.image import Pixels
from impasto.model import find_model, write_card

UNCHANGED = "unchanged content"
RESIZE = "short side to size (Lanczos), centre square"
_THUMBNAIL = 192  # pixels
_COLUMNS = ("model", "content loss", "style loss", "SSIM", "s/picture", "pairs", "SSIM at 0", "PSNR at 0")


@dataclass(frozen=True)
class Score:
    """One photo painted in one style by one model; losses and SSIM as :mod:`impasto.evaluate` defines them."""

    model: str
    photo: str
    style: str
    content: float
    style_loss: float
    ssim: float
    seconds: float | None


@dataclass(frozen=True)
class Row:
    """A model's means over all pairs.

    Attributes:
        content, style: the two losses; ssim: luma SSIM to the photo.
        seconds: median for a picture, style taken beforehand; None for what was not painted.
        pairs: how many.
        reconstruction_ssim, reconstruction_psnr: luma SSIM and PSNR (dB) to the photo of what the network alone makes
            of it at strength 0, means over photos.
        fingerprint: of the model.
    """

    model: str
    content: float
    style: float
    ssim: float
    seconds: float | None
    pairs: int
    reconstruction_ssim: float | None
    reconstruction_psnr: float | None
    fingerprint: str | None

    def cells(self) -> list[str]:
        """The figures as text, in the order of the table's columns."""
        return [
            self.model,
            f"{self.content:.2f}",
            f"{self.style:.3f}",
            f"{self.ssim:.3f}",
            _text(self.seconds, ".3f"),
            str(self.pairs),
            _text(self.reconstruction_ssim, ".3f"),
            _text(self.reconstruction_psnr, ".1f"),
        ]


@dataclass(frozen=True)
class Evaluation:
    """What :func:`impasto.evaluate.evaluate` found.

    Attributes:
        size: side of the squares in pixels.
        engine: what ran the models.
        rows: one for the unchanged content, then one for each model.
        scores: one for each row's model, photo and style.
        photos, styles: thumbnails (JPEG files) by name.
        thumbnails: those of the results, by (model, photo, style).
    """

    size: int
    engine: str
    rows: list[Row]
    scores: list[Score]
    photos: dict[str, bytes] = field(repr=False)
    styles: dict[str, bytes] = field(repr=False)
    thumbnails: dict[tuple[str, str, str], bytes] = field(repr=False)

    def title(self) -> str:
        """Under which conditions the figures hold."""
        return f"{len(self.photos)} photos x {len(self.styles)} styles, size {self.size}: {RESIZE}; {self.engine}"

    def to_json(self) -> dict[str, Any]:
        """Everything but the pictures, ready for ``json.dumps``."""
        return {
            "size": self.size,
            "resize": RESIZE,
            "engine": self.engine,
            "photos": list(self.photos),
            "styles": list(self.styles),
            "models": [asdict(row) for row in self.rows],
            "pairs": [asdict(score) for score in self.scores],
        }

    def write_html(self, path: str | os.PathLike[str]) -> None:
        """Writes one self-contained page: the table, and for each model a contact sheet of photos x styles."""
        scores = {(score.model, score.photo, score.style): score for score in self.scores}
        sheets = []
        for model in (row.model for row in self.rows if row.model != UNCHANGED):
            lines = [_line("th", "", *(_picture(data, _label(name)) for name, data in self.styles.items()))]
            for photo, data in self.photos.items():
                results = []
                for style in self.styles:
                    score = scores[model, photo, style]
                    caption = f"content {score.content:.2f}, style {score.style_loss:.2f}"
                    results.append(_picture(self.thumbnails[model, photo, style], caption))
                lines.append(_line("td", _picture(data, _label(photo)), *results))
            sheets.append(f"<h2>{escape(model)}</h2>\n<table class=sheet>\n{''.join(lines)}</table>")
        figures = _line("th", *map(escape, _COLUMNS)) + "".join(
            _line("td", *map(escape, row.cells())) for row in self.rows
        )
        page = _PAGE.format(title=escape(self.title()), figures=figures, sheets="\n".join(sheets))
        write_file(path, page.encode())


def table(evaluation: Evaluation) -> Table:
    """The table for a terminal."""
    made = Table(title=evaluation.title(), title_justify="left")
    for column in _COLUMNS:
        made.add_column(column, justify="left" if column == "model" else "right")
    for row in evaluation.rows:
        made.add_row(*row.cells())
    return made


def record(evaluation: Evaluation, model: str | os.PathLike[str]) -> None:
    """Writes a model's figures into its card, under "quality".

    Args:
        evaluation: one that this very model took part in.
        model: its name or folder.
    """
    found = find_model(model)
    row = next((row for row in evaluation.rows if row.fingerprint == found.fingerprint), None)
    if row is None:
        raise ImpastoError(f"the model {model} was not evaluated: evaluate it before its figures are recorded")
    quality = {
        "size": evaluation.size,
        "resize": RESIZE,
        "pairs": row.pairs,
        "content_loss": round(row.content, 3),
        "style_loss": round(row.style, 3),
        "ssim": round(row.ssim, 3),
        "strength_0_ssim": _rounded(row.reconstruction_ssim),
        "strength_0_psnr": _rounded(row.reconstruction_psnr),
    }
    write_card(found.folder, found.card | {"quality": quality})


def thumbnail(pixels: Pixels) -> bytes:
    """A small JPEG file of a picture, uint8 [H, W, 3]."""
    image = Image.fromarray(pixels)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>impasto evaluate</title>
<style>
body {{ font: 14px system-ui, sans-serif; margin: 2em; color: #222 }}
table {{ border-collapse: collapse; margin-bottom: 2em }}
th, td {{ padding: 3px 10px; text-align: right; border-bottom: 1px solid #ddd }}
th:first-child, td:first-child {{ text-align: left }}
.sheet th, .sheet td {{ padding: 2px; border: 0; text-align: center; font-size: 11px; font-weight: normal }}
figure {{ margin: 0 }}
img {{ display: block }}
</style>
<h1>impasto evaluate</h1>
<p>{title}</p>
<table>
{figures}</table>
<p>Losses on the normalised VGG-19: content, MSE of relu4_1 to the photo; style, sum over relu1_1 to relu4_1 of the MSE
of channel means plus that of standard deviations. SSIM of luma to the photo. "At 0": the network alone, at
strength 0.</p>
{sheets}
</html>
"""


def _picture(data: bytes, caption: str) -> str:
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return f'<figure><img src="{source}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'


def _line(tag: str, *cells: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>\n"


def _label(name: str) -> str:
    return PurePath(name).stem.replace("_", " ")


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
