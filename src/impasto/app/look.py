"""How to paint, as forms of photos and of clips say it: styles, and controls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from fastapi import File, Form, UploadFile
from pydantic import StringConstraints

from impasto.app.guard import describe_excess
from impasto.app.studio import MOST_STYLES, Studio, StyleName
from impasto.controls import STROKE_SIZES, STYLE_SIZE, Controls, KeepColor, Mix
from impasto.errors import TooLargeError
from impasto.mask import read_box
from impasto.people import People

#: Takes the styles that a form names or holds, which is work for a thread.
Look = Callable[[], tuple[Mix, Controls]]
MaxSize = Annotated[int | None, Form(ge=16, le=100_000, description="Of the result's long side in pixels.")]


def look_of(studio: Studio) -> Callable[..., Awaitable[Look]]:
    """Gives what reads a route's form, for :class:`fastapi.Depends`."""

    async def read(
        style: Annotated[
            list[StyleName],
            Form(description="A shipped style or an uploaded one, by id. Repeatable.", max_length=MOST_STYLES),
        ] = [],  # noqa: B006 (FastAPI copies it)
        style_file: Annotated[
            list[UploadFile],
            File(description="A picture to take the style of, or a .style file. Repeatable.", max_length=MOST_STYLES),
        ] = [],  # noqa: B006
        style_box: Annotated[
            list[Annotated[str, StringConstraints(max_length=100)]],
            Form(
                description="The part of the picture in `style_file` that its style is taken from: left, top, right "
                "and bottom in pixels, like 0,0,400,300; one for all such pictures, or for each.",
                max_length=MOST_STYLES,
            ),
        ] = [],  # noqa: B006
        weight: Annotated[
            list[float],
            Form(
                description="How much of each style: those of `style` first, then those of `style_file`.",
                max_length=MOST_STYLES,
            ),
        ] = [],  # noqa: B006
        strength: Annotated[float, Form(ge=0, le=1, description="0 gives the photo back, 1 the full style.")] = 1.0,
        keep_color: Annotated[
            KeepColor | None, Form(description="Keep the photo's colours: its palette for the style, or its chroma.")
        ] = None,
        stroke_size: Annotated[
            float,
            Form(
                ge=STROKE_SIZES[0],
                le=STROKE_SIZES[1],
                description="How large strokes are: 1 as usual, 2 twice as large.",
            ),
        ] = 1.0,
        style_size: Annotated[
            int,
            Form(
                ge=16,
                le=2048,
                description="Short side that its picture is scaled to first. Not for shipped ones.",
            ),
        ] = STYLE_SIZE,
        palette: Annotated[
            Literal["painting", "photo"] | None,
            Form(
                description="Where the photo's colours go first: half the way to the painting's (default), or nowhere."
            ),
        ] = None,
        palette_file: Annotated[
            UploadFile | None, File(description="A picture whose colours are taken in place of the painting's.")
        ] = None,
        keep: Annotated[People | None, Form(description="Paint people, or their faces, less than the rest.")] = None,
        keep_share: Annotated[float, Form(ge=0, le=1, description="How much of the photo remains there.")] = 1.0,
    ) -> Look:
        pictures = await _read_styles(style_file, studio.limits.max_upload)
        colors = None if palette_file is None else await palette_file.read()

        def take() -> tuple[Mix, Controls]:
            mix = studio.mix([*style, *pictures], weight, style_size, [read_box(box) for box in style_box])
            shades = studio.colors(palette, colors)
            return mix, Controls(strength, keep_color, stroke_size, style_size, shades, keep, keep_share)

        return take

    return read


async def _read_styles(files: list[UploadFile], limit: int) -> list[tuple[bytes, str]]:
    """Reads the files that styles are in, each of `limit` bytes at most; gives what is in them, and their names."""
    named = [(file, file.filename or f"style {n}") for n, file in enumerate(files, 1)]
    for file, name in named:
        if (file.size or 0) > limit:
            raise TooLargeError(f"{name} has {describe_excess(limit)}")
    return [(await file.read(), name) for file, name in named]
