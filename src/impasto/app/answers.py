"""What routes' answers have in common in the API's schema: files, and errors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

#: What a route says of its answers, by status.
Answers = dict[int | str, dict[str, Any]]
#: The schema of an answer that is a file.
BINARY = {"schema": {"type": "string", "format": "binary"}}


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
