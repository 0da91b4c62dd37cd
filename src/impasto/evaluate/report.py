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
CROP = 512  # side in pixels of what is compared at a scale
AT_SCALES = f"photos painted as they are, then short side to scale (Lanczos), centre {CROP} x {CROP}"
LOSSES = (
    "Losses on the normalised VGG-19: content, MSE of relu4_1 to the photo; style, sum over relu1_1 to relu4_1 of the "
    "MSE of channel means plus that of standard deviations. SSIM of luma to the photo."
)
_COLUMNS = ("model", "content loss", "style loss", "SSIM", "s/picture", "pairs", "SSIM at 0", "PSNR at 0")


@dataclass(frozen=True)
class Score:
    """What one photo scores, painted in one style by one model, at one scale; see :mod:`impasto.evaluate.quality`."""

    model: str
    photo: str
    style: str
    content: float
    style_loss: float
    ssim: float
    seconds: float | None
    scale: int | None = None


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
        scale: short side in pixels that was measured at, 512 or more; None for squares of the evaluation's size.
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
    scale: int | None = None

    def cells(self) -> list[str]:
        """Gives the figures as text, in the order of the table's columns."""
        return [
            self.model,
            *([] if self.scale is None else [str(self.scale)]),
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
        size: side of the squares in pixels; at scales, of those that styles were taken from.
        engine: what ran the models.
        rows: one for the unchanged content, then one for each model; at scales so for each that a photo has.
        scores: one for each row's model, photo and style.
        photos, styles: thumbnails (JPEG files) by name.
        thumbnails: those of the results, by (model, photo, style).
        scales: short sides in pixels to measure at, 512 or more; none for squares of `size`.
    """

    size: int
    engine: str
    rows: list[QualityRow]
    scores: list[Score]
    photos: dict[str, bytes] = field(repr=False)
    styles: dict[str, bytes] = field(repr=False)
    thumbnails: dict[tuple[str, str, str], bytes] = field(repr=False)
    scales: tuple[int, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Names of the table's columns."""
        return [_COLUMNS[0], *(["scale"] if self.scales else []), *_COLUMNS[1:]]

    def title(self) -> str:
        """Says under which conditions the figures hold."""
        how = f"size {self.size}: {RESIZE}"
        if self.scales:
            how = f"scales {', '.join(map(str, self.scales))}: {AT_SCALES}"
        return f"{len(self.photos)} photos x {len(self.styles)} styles, {how}; {self.engine}"

    def to_json(self) -> dict[str, Any]:
        """Gives everything but the pictures, ready for ``json.dumps``."""
        return {
            "size": self.size,
            **({"scales": list(self.scales)} if self.scales else {}),
            "resize": AT_SCALES if self.scales else RESIZE,
            "engine": self.engine,
            "photos": list(self.photos),
            "styles": list(self.styles),
            "models": [_plain(row) for row in self.rows],
            "pairs": [_plain(score) for score in self.scores],
        }

    def table(self) -> Table:
        """Lays the figures out for a terminal."""
        made = Table(title=self.title(), title_justify="left")
        for column in self.columns:
            made.add_column(column, justify="left" if column == "model" else "right")
        for row in self.rows:
            made.add_row(*row.cells())
        return made

    def write_html(self, path: str | os.PathLike[str]) -> None:
        """Writes one self-contained page: the table, and for each model a contact sheet of photos x styles."""
        page = Page("impasto evaluate", self.title())
        page.table(self.columns, [row.cells() for row in self.rows])
        page.text(LOSSES + ' "At 0": the network alone, at strength 0.')
        for model in dict.fromkeys(row.model for row in self.rows if row.model != UNCHANGED):
            page.heading(model)
            page.sheet(self.sheet(model))
        page.write(path)

    def sheet(self, model: str) -> list[list[Cell]]:
        """Lays out a model's results as a sheet of a page, photos downwards and styles across."""
        captions: dict[tuple[str, str], list[str]] = {}
        for score in self.scores:
            if score.model == model:
                at = "" if score.scale is None else f"{score.scale}: "
                caption = f"{at}content {score.content:.2f}, style {score.style_loss:.2f}"
                captions.setdefault((score.photo, score.style), []).append(caption)
        rows: list[list[Cell]] = [[None, *((data, _label(name)) for name, data in self.styles.items())]]
        for photo, data in self.photos.items():
            results: list[Cell] = []
            for style in self.styles:
                told = captions.get((photo, style))
                results.append((self.thumbnails[model, photo, style], "; ".join(told)) if told else None)
            rows.append([(data, _label(photo)), *results])
        return rows


def record(evaluation: Evaluation, model: str | os.PathLike[str]) -> None:
    """Writes a model's figures into its card, under "quality".

    Args:
        evaluation: one that this very model took part in, not at scales.
        model: its name or folder.
    """
    if evaluation.scales:
        raise ImpastoError("a card holds the figures of one size: evaluate without scales to record them")
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


def _plain(entry: Score | QualityRow) -> dict[str, Any]:
    """Gives all that an entry holds, its scale only where it has one."""
    return {name: value for name, value in asdict(entry).items() if name != "scale" or value is not None}


def _label(name: str) -> str:
    return PurePath(name).stem.replace("_", " ")


def format_figure(value: float | None, form: str) -> str:
    """Formats a figure; one that there is not is left blank."""
    return "" if value is None else format(value, form)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
