"""What routes have in common in the API's schema: the fields of their forms, and the errors they answer with."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import File, Form, UploadFile
from pydantic import BaseModel, Field, StringConstraints

from impasto.app.guard import describe_excess
from impasto.app.studio import MOST_STYLES, StyleName
from impasto.controls import STROKE_SIZES, KeepColor
from impasto.errors import TooLargeError
from impasto.people import People

#: What a route says of its answers, by status.
Answers = dict[int | str, dict[str, Any]]
#: The schema of an answer that is a file.
BINARY = {"schema": {"type": "string", "format": "binary"}}

Styles = Annotated[
    list[StyleName], Form(description="A shipped style or an uploaded one, by id. Repeatable.", max_length=MOST_STYLES)
]
StyleFiles = Annotated[
    list[UploadFile],
    File(description="A picture to take the style of, or a .style file. Repeatable.", max_length=MOST_STYLES),
]
StyleBoxes = Annotated[
    list[Annotated[str, StringConstraints(max_length=100)]],
    Form(
        description="The part of the picture in `style_file` that its style is taken from: left, top, right and bottom "
        "in pixels, like 0,0,400,300; one for all such pictures, or for each.",
        max_length=MOST_STYLES,
    ),
]
Weights = Annotated[
    list[float],
    Form(
        description="How much of each style: those of `style` first, then those of `style_file`.",
        max_length=MOST_STYLES,
    ),
]
Masks = Annotated[
    list[UploadFile],
    File(
        description="Where each style goes (white), in the same order: a picture of the photo's shape.",
        max_length=MOST_STYLES,
    ),
]
Strength = Annotated[float, Form(ge=0, le=1, description="0 gives the photo back, 1 the full style.")]
KeptColor = Annotated[
    KeepColor | None, Form(description="Keep the photo's colours: its palette for the style, or its chroma.")
]
StyleSize = Annotated[
    int,
    Form(ge=16, le=2048, description="Short side that a style's picture is scaled to first. Not for shipped ones."),
]
StrokeSize = Annotated[
    float,
    Form(ge=STROKE_SIZES[0], le=STROKE_SIZES[1], description="How large strokes are: 1 as usual, 2 twice as large."),
]
PaletteName = Annotated[
    Literal["painting", "photo"] | None,
    Form(description="Where the photo's colours go first: half the way to the painting's (default), or nowhere."),
]
PaletteFile = Annotated[
    UploadFile | None, File(description="A picture whose colours are taken in place of the painting's.")
]
Keep = Annotated[People | None, Form(description="Paint people, or their faces, less than the rest.")]
KeepShare = Annotated[float, Form(ge=0, le=1, description="How much of the photo remains there.")]
MaxSize = Annotated[int | None, Form(ge=16, le=100_000, description="Of the result's long side in pixels.")]


class Problem(BaseModel):
    """What went wrong, and what to do about it."""

    error: str = Field(examples=["there is no style 'klimt-kis' here: did you mean klimt-kiss?"])


def problems(*statuses: int) -> Answers:
    """What a route says of the errors that it may answer with."""
    texts = {
        400: "The body cannot be taken apart.",
        401: "Wrong or no password (only where the server has one).",
        404: "There is no such thing here, or no longer.",
        409: "It is not ready.",
        413: "Too many bytes or pixels.",
        415: "Not multipart/form-data, or a file that is not what it should be.",
        416: "The header Range asks for a part that the file does not have.",
        422: "A control that has no such value.",
        503: "The queue is full; `Retry-After` says for how many seconds.",
        504: "Not done within the time limit.",
    }
    made: Answers = {n: {"model": Problem, "description": texts[n]} for n in statuses}
    if 503 in made:
        made[503]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return made


async def read_styles(files: list[UploadFile], limit: int) -> list[tuple[bytes, str]]:
    """Reads the files that styles are in, each of `limit` bytes at most; gives what is in them, and their names."""
    named = [(file, file.filename or f"style {n}") for n, file in enumerate(files, 1)]
    for file, name in named:
        if (file.size or 0) > limit:
            raise TooLargeError(f"{name} has {describe_excess(limit)}")
    return [(await file.read(), name) for file, name in named]
