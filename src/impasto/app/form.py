"""Takes forms apart, and refuses those that are not whole or hold what nobody asks for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, get_origin

from fastapi import HTTPException, Request, Response, params
from fastapi.routing import APIRoute
from pydantic.fields import FieldInfo
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from impasto.checks import suggest


class FormRoute(APIRoute):
    """A route whose body, if it has any, is a form, multipart/form-data, of its own fields and no others.

    FastAPI passes over fields that it does not know, takes the last of several and the default for an empty one, and
    Starlette takes a form that was cut off for whole: the picture would come out other than it was asked for.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Checks the form, then does what :meth:`fastapi.routing.APIRoute.get_route_handler` does."""
        handle = super().get_route_handler()
        parts = self.dependant, *self.dependant.dependencies
        fields = {field.alias: field.field_info for part in parts for field in part.body_params}
        if not fields:
            return handle

        async def check_and_handle(request: Request) -> Response:
            if request.query_params:
                raise HTTPException(
                    422, f"{_name(next(iter(request.query_params)))} is in the address: put it in the form"
                )
            form = await _read(request)
            try:
                _check(form, fields)
            except HTTPException:
                await form.close()
                raise
            request._form = form  # what request.form() gives from now on
            return await handle(request)

        return check_and_handle


class _Parser(MultiPartParser):
    """Knows whether the form came to its end."""

    ended = False

    def on_end(self) -> None:
        """Called for the boundary that closes the form."""
        self.ended = True


async def _read(request: Request) -> FormData:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind.strip() != b"multipart/form-data":
        raise HTTPException(415, "send a form: multipart/form-data, as curl -F does")
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise HTTPException(415, f"the form is in {_name(charset)}: send it in UTF-8")
    parser = _Parser(request.headers, request.stream())
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"this is no whole multipart/form-data: {error.message}") from None
    if not parser.ended:
        await form.close()
        raise HTTPException(400, "the form was cut off: multipart/form-data ends with --boundary--")
    return form


def _check(form: FormData, fields: Mapping[str, FieldInfo]) -> None:
    """Refuses unknown fields, those that are there too often or empty, text for files and files for text."""
    for name in form:
        if name not in fields:
            hint = suggest(name[:100], fields) or f"there are {', '.join(fields)}"
            raise HTTPException(422, f"there is no field {_name(name)}: {hint}")
        field, values = fields[name], form.getlist(name)
        if len(values) > 1 and get_origin(field.annotation) is not list:
            raise HTTPException(422, f"{name} is there {len(values)} times: give it once")
        takes_file = isinstance(field, params.File)
        if any(isinstance(value, UploadFile) != takes_file for value in values):
            how = f"a file: send it as curl -F {name}=@FILE does" if takes_file else "text, not a file"
            raise HTTPException(422, f"{name} is {how}")
        if "" in values:
            raise HTTPException(422, f"{name} is empty: give a value, or leave the field out")


def _name(text: str) -> str:
    """Quotes what a client has sent, no more than a line of it."""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
