"""The paper's four figures of run-time controls, on your own pictures (figures 7 to 10 of Huang and Belongie 2017)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from impasto.errors import ImpastoError
from impasto.evaluate.metrics import Observer
from impasto.evaluate.page import Cell, Page, thumbnail, write_csv
from impasto.evaluate.quality import squares
from impasto.evaluate.report import LOSSES
from impasto.image import Pixels
from impasto.loader import load
from impasto.model import DEFAULT
from impasto.place import Sources
from impasto.progress import track

_STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_CORNERS = 5  # pictures along a side of the interpolation


def controls(content: Sources, style: Sources, out: Path, *, model: str = DEFAULT, size: int = 512) -> None:
    """Shows strength, interpolation between four styles, colour keeping and two regions on one page, and as a CSV.

    All as in the paper, see `plain` of :class:`impasto.controls.Controls`: strength 0 is the network's reconstruction.

    Args:
        content, style: folders; the first photo and the first four style pictures are taken.
        out: folder to write ``controls.html`` and ``controls.csv`` to.
        model: name or folder of the model, or a method.
        size: side of the squares in pixels.
    """
    [photo] = squares(content, size, 1).values()
    paintings = squares(style, size, 4)
    if len(paintings) < 4:
        raise ImpastoError(f"mixing four styles needs 4 style pictures, and there are {len(paintings)}")
    stylizer = load(model)
    observe = Observer()
    own = observe(photo)
    styles = [stylizer.style(pixels, size=size, name=name) for name, pixels in paintings.items()]
    targets = [observe(pixels).style for pixels in paintings.values()]
    first, second = styles[:2]
    y, x = np.mgrid[0:size, 0:size]
    left = np.clip((x - y + 20) / 40, 0, 1).astype(np.float32)  # above the diagonal, with a soft edge

    def paint(**options: object) -> Pixels:
        chosen = options.pop("styles", first)
        return np.asarray(stylizer.stylize(photo, chosen, plain=True, **options))  # type: ignore[arg-type]

    jobs: dict[tuple[str, str], dict[str, object]] = {}
    for strength in _STRENGTHS:
        jobs["strength", f"{strength:g}"] = {"strength": strength}
    for row in np.linspace(0, 1, _CORNERS):
        for column in np.linspace(0, 1, _CORNERS):
            shares = ((1 - row) * (1 - column), (1 - row) * column, row * (1 - column), row * column)
            mix = dict(zip(styles, map(float, shares), strict=True))
            jobs["interpolation", " : ".join(f"{100 * share:.0f}" for share in shares)] = {"styles": mix}
    for keep in (None, "match", "luminance"):
        jobs["colour", f"keep_color={keep}"] = {"keep_color": keep}
    jobs["regions", f"{first.name} above, {second.name} below"] = {"styles": [first, second], "masks": [left, 1 - left]}
    painted = {job: paint(**options) for job, options in track(jobs.items(), "controls", len(jobs))}

    page = Page("impasto reproduce controls", f"{stylizer.name} at {size} x {size}, plain: the network alone. {LOSSES}")
    page.sheet([[(thumbnail(photo), "photo"), *((thumbnail(p), name) for name, p in paintings.items())]])
    for figure, columns in (("strength", 5), ("interpolation", _CORNERS), ("colour", 3), ("regions", 1)):
        cells: list[Cell] = [(thumbnail(painted[job]), job[1]) for job in jobs if job[0] == figure]
        page.heading({"strength": f"Strength, {first.name}", "interpolation": "Between four styles: shares in percent",
                      "colour": f"Keeping colours, {first.name}", "regions": "Two regions"}[figure])  # fmt: skip
        page.sheet([cells[at : at + columns] for at in range(0, len(cells), columns)])
    rows = []
    for (figure, setting), pixels in painted.items():
        seen = observe(pixels)
        rows.append(
            [figure, setting, f"{seen.content_loss(own):.3f}", *(f"{seen.style_loss(t):.3f}" for t in targets[:4])]
        )
    titles = ["figure", "setting", "content loss", *(f"style loss to {style.name}" for style in styles)]
    page.heading("Losses")
    page.table(titles, rows)
    page.write(out / "controls.html")
    write_csv(out / "controls.csv", titles, rows)
