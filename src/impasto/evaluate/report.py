"""An evaluation as a table, as JSON, as a page with a contact sheet, and as a model card's figures."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from typing import Any

from rich.table import Table

from impasto.errors import ImpastoError
from impasto.evaluate.page import Cell, Page
from impasto.model import find_model

UNCHANGED = "unchanged content"
RESIZE = "short side to size (Lanczos), centre square"
LOSSES = (
    "Losses on the normalised VGG-19: content, MSE of relu4_1 to the photo; style, sum over relu1_1 to relu4_1 of the "
    "MSE of channel means plus that of standard deviations. SSIM of luma to the photo."
)
_COLUMNS = ("model", "content loss", "style loss", "SSIM", "s/picture", "pairs", "SSIM at 0", "PSNR at 0")


@dataclass(frozen=True)
class Score:
    """What one photo scores, painted in one style by one model; see :mod:`impasto.evaluate.quality`."""

    model: str
    photo: str
    style: str
    content: float
    style_loss: float
    ssim: float
    seconds: float | None


@dataclass(frozen=True)
class QualityRow:
    """What a model scores on average over all pairs of a photo and a style.

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
        """Gives the figures as text, in the order of the table's columns."""
        return [
            self.model,
            f"{self.content:.2f}",
            f"{self.style:.3f}",
            f"{self.ssim:.3f}",
            format_figure(self.seconds, ".3f"),
            str(self.pairs),
            format_figure(self.reconstruction_ssim, ".3f"),
            format_figure(self.reconstruction_psnr, ".1f"),
        ]


@dataclass(frozen=True)
class Evaluation:
    """Everything that :func:`impasto.evaluate.quality.evaluate` found out about models.

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
    rows: list[QualityRow]
    scores: list[Score]
    photos: dict[str, bytes] = field(repr=False)
    styles: dict[str, bytes] = field(repr=False)
    thumbnails: dict[tuple[str, str, str], bytes] = field(repr=False)

    def title(self) -> str:
        """Says under which conditions the figures hold."""
        return f"{len(self.photos)} photos x {len(self.styles)} styles, size {self.size}: {RESIZE}; {self.engine}"

    def to_json(self) -> dict[str, Any]:
        """Gives everything but the pictures, ready for ``json.dumps``."""
        return {
            "size": self.size,
            "resize": RESIZE,
            "engine": self.engine,
            "photos": list(self.photos),
            "styles": list(self.styles),
            "models": [asdict(row) for row in self.rows],
            "pairs": [asdict(score) for score in self.scores],
        }

    def table(self) -> Table:
        """Lays the figures out for a terminal."""
        made = Table(title=self.title(), title_justify="left")
        for column in _COLUMNS:
            made.add_column(column, justify="left" if column == "model" else "right")
        for row in self.rows:
            made.add_row(*row.cells())
        return made

    def write_html(self, path: str | os.PathLike[str]) -> None:
        """Writes one self-contained page: the table, and for each model a contact sheet of photos x styles."""
        page = Page("impasto evaluate", self.title())
        page.table(_COLUMNS, [row.cells() for row in self.rows])
        page.text(LOSSES + ' "At 0": the network alone, at strength 0.')
        for row in self.rows[1:]:
            page.heading(row.model)
            page.sheet(self.sheet(row.model))
        page.write(path)

    def sheet(self, model: str) -> list[list[Cell]]:
        """Lays out a model's results as a sheet of a page, photos downwards and styles across."""
        scores = {(score.photo, score.style): score for score in self.scores if score.model == model}
        rows: list[list[Cell]] = [[None, *((data, _label(name)) for name, data in self.styles.items())]]
        for photo, data in self.photos.items():
            results: list[Cell] = []
            for style in self.styles:
                score = scores.get((photo, style))
                caption = f"content {score.content:.2f}, style {score.style_loss:.2f}" if score else ""
                results.append((self.thumbnails[model, photo, style], caption) if score else None)
            rows.append([(data, _label(photo)), *results])
        return rows


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
        "strength_0_ssim": _round(row.reconstruction_ssim),
        "strength_0_psnr": _round(row.reconstruction_psnr),
    }
    replace(found.card, quality=quality).write(found.folder)


def _label(name: str) -> str:
    return PurePath(name).stem.replace("_", " ")


def format_figure(value: float | None, form: str) -> str:
    """Formats a figure; one that there is not is left blank."""
    return "" if value is None else format(value, form)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
