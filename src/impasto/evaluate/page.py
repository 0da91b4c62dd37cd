"""One self-contained HTML page: text, tables, curves and sheets of pictures."""

from __future__ import annotations

import base64
import csv
import io
import os
from collections.abc import Mapping, Sequence
from html import escape

from PIL import Image

from impasto.files import write_file
from impasto.image import Pixels

_THUMBNAIL = 192  # pixels
_FEW = 25  # points of a curve that are marked, lest one alone be seen as nothing

#: A cell of a sheet: a picture with its caption, a heading, or nothing.
Cell = tuple[bytes, str] | str | None


def thumbnail(pixels: Pixels, size: int = _THUMBNAIL) -> bytes:
    """Makes a small JPEG file of a picture, uint8 [H, W, 3]: no side is longer than `size` pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((size, size))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


class Page:
    """An HTML page that is put together from top to bottom.

    Args:
        title: its heading.
        conditions: in a line, what holds for all that it shows.
    """

    def __init__(self, title: str, conditions: str) -> None:
        self._title = title
        self._parts = [f"<p>{escape(conditions)}</p>\n"]

    def heading(self, text: str) -> None:
        self._parts.append(f"<h2>{escape(text)}</h2>\n")

    def text(self, paragraph: str) -> None:
        self._parts.append(f"<p>{escape(paragraph)}</p>\n")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        lines = [_line("th", *map(escape, columns)), *(_line("td", *map(escape, row)) for row in rows)]
        self._parts.append(f"<table>\n{''.join(lines)}</table>\n")

    def sheet(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Adds rows of pictures (JPEG files) with captions."""
        lines = (_line("td", *map(_cell, row)) for row in rows)
        self._parts.append(f"<table class=sheet>\n{''.join(lines)}</table>\n")

    def curves(self, series: Mapping[str, tuple[Sequence[float], Sequence[float]]], x: str, y: str) -> None:
        """Adds lines in one diagram, with a logarithmic axis upwards.

        Args:
            series: for each name its x and y values.
            x, y: what the axes show.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot(xlabel=x, ylabel=y, yscale="log")
        for name, (at, values) in series.items():
            axes.plot(at, values, label=name, marker="o" if len(at) <= _FEW else None, markersize=4)
        axes.grid(alpha=0.3, which="both")
        axes.legend()
        stream = io.StringIO()
        figure.savefig(stream, format="svg")
        svg = stream.getvalue()
        self._parts.append(svg[svg.index("<svg") :])

    def write(self, path: str | os.PathLike[str]) -> None:
        write_file(path, _PAGE.format(title=escape(self._title), body="".join(self._parts)).encode())


def write_csv(path: str | os.PathLike[str], columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Writes a table as comma-separated values."""
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([columns, *rows])
    write_file(path, stream.getvalue().encode())


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 14px system-ui, sans-serif; margin: 2em; color: #222 }}
table {{ border-collapse: collapse; margin-bottom: 2em }}
th, td {{ padding: 3px 10px; text-align: right; border-bottom: 1px solid #ddd }}
th:first-child, td:first-child {{ text-align: left }}
.sheet td {{ padding: 2px; border: 0; text-align: center; font-size: 11px }}
figure {{ margin: 0 }}
img, svg {{ display: block; max-width: 100% }}
</style>
<h1>{title}</h1>
{body}</html>
"""


def _cell(cell: Cell) -> str:
    if not isinstance(cell, tuple):
        return escape(cell or "")
    data, caption = cell
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return f'<figure><img src="{source}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'


def _line(tag: str, *cells: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>\n"
