"""The HTTP API: one picture in, one picture out; styles, clips, and how the server does."""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from impasto import __version__
from impasto.app import clips
from impasto.app.answers import BINARY, Answers, problems
from impasto.app.form import FormRoute
from impasto.app.look import Look, MaxSize, look_of
from impasto.app.studio import MOST_STYLES, Studio, encode, give_up_when_gone
from impasto.app.work import BusyError, LateError
from impasto.errors import ImpastoError, TooLargeError, UnreadableError
from impasto.image import ENDINGS
from impasto.sheet import caption

Format = Literal["png", "jpg", "webp", "avif", "tiff", "bmp", "gif"]
_TYPES = {name: f"image/{ENDINGS[name].lower()}" for name in Format.__args__}  # type: ignore[attr-defined]
_STATUS = {UnreadableError: 415, TooLargeError: 413, BusyError: 503, LateError: 504}


class StyleEntry(BaseModel):
    """A style that can be named."""

    id: str = Field(description="What to call it in `style`.", examples=["klimt-kiss"])
    title: str = Field(examples=["The Kiss"])
    by: str = Field(description="Artist and year; empty for uploaded styles.", examples=["Gustav Klimt, 1908"])
    uploaded: bool


class StyleAdded(BaseModel):
    """A style that was uploaded."""

    id: str = Field(description="What to call it in `style`.")


class Health(BaseModel):
    """That the server is up, and with what."""

    status: Literal["ok"]
    version: str
    model: str
    engine: str
    device: str
    waiting: int = Field(description="Pictures in the queue.")


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_PAINTED: Answers = {200: {"description": "The painted photo.", "content": dict.fromkeys(_TYPES.values(), BINARY)}}
_COUNTS: Answers = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


def router(studio: Studio, *, with_clips: bool = True) -> APIRouter:
    """The API's routes."""
    api = APIRouter(route_class=FormRoute)
    _add_painting(api, studio)
    if with_clips:
        clips.add_routes(api, studio)
    _add_styles(api, studio)
    _add_status(api, studio)

    async def refuse(request: Request) -> None:
        raise HTTPException(405 if _methods(request) else 404)

    # Else the page, which is mounted at the root, would answer, in its own manner.
    for path in ("/v1/{rest:path}", "/healthz", "/metrics"):
        api.add_api_route(path, refuse, methods=METHODS, include_in_schema=False)
    return api


def _add_painting(api: APIRouter, studio: Studio) -> None:
    """Adds the route that paints."""

    @api.post(
        "/v1/stylize",
        summary="Paint a photo",
        response_class=Response,
        responses=_PAINTED | problems(400, 401, 413, 415, 422, 503, 504),
    )
    async def stylize(
        request: Request,
        photo: Annotated[UploadFile, File(description="The photo: JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF.")],
        mask: Annotated[
            list[UploadFile],
            File(
                description="Where each style goes (white), in the same order: a picture of the photo's shape.",
                max_length=MOST_STYLES,
            ),
        ] = [],  # noqa: B006 (FastAPI copies it)
        max_size: MaxSize = None,
        format: Annotated[Format, Form(description="Of the answer.")] = "png",
        quality: Annotated[int, Form(ge=1, le=100, description="Of JPEG, WebP and AVIF.")] = 95,
        look: Look = Depends(look_of(studio)),  # noqa: B008
    ) -> Response:
        sent = await photo.read()
        covers = [await file.read() for file in mask]
        start = time.perf_counter()

        def job() -> bytes:
            content = studio.picture(sent, "the photo")
            mix, controls = look()
            masks = [studio.picture(data, f"mask {n}") for n, data in enumerate(covers, 1)]
            return encode(studio.stylize(content, mix, controls, masks, max_size), format, quality)

        painted = await give_up_when_gone(request, studio.run("api", job))
        timing = {"server-timing": f"paint;dur={1000 * (time.perf_counter() - start):.0f}"}
        return Response(painted, media_type=_TYPES[format], headers=timing)


def _add_styles(api: APIRouter, studio: Studio) -> None:
    """Adds the routes that keep a style and list them."""

    @api.post(
        "/v1/styles",
        summary="Upload a style",
        status_code=201,
        responses=problems(400, 401, 413, 415, 422, 503, 504),
        description=f"Keeps the style of a picture, or a .style file, for all who may use this server: the last "
        f"{studio.limits.styles}, until the server ends.",
    )
    async def add_style(
        file: Annotated[UploadFile, File(description="A picture, or a .style file of this model.")],
        name: Annotated[
            str | None, Form(min_length=1, max_length=100, description="What to call it; else the file's name.")
        ] = None,
        fit: Annotated[
            bool, Form(description="Fit the style to its picture: it takes some seconds, and comes closer.")
        ] = False,
    ) -> StyleAdded:
        data, called = await file.read(), file.filename or "style"
        return StyleAdded(id=await studio.run("style", lambda: studio.add_style(data, called, name, fit)))

    @api.get("/v1/styles", summary="List the styles", responses=problems(401))
    def list_styles() -> list[StyleEntry]:  # it may have to ask another process
        shipped = [(key, *caption(style)) for key, style in studio.painter.gallery.items()]
        own = studio.uploaded.names()
        return [StyleEntry(id=key, title=title, by=by, uploaded=False) for key, title, by in shipped] + [
            StyleEntry(id=key, title=name, by="", uploaded=True) for key, name in own.items()
        ]


def _add_status(api: APIRouter, studio: Studio) -> None:
    """Adds the routes that say how the server does."""

    @api.get("/healthz", summary="Is it up?")
    async def healthz() -> Health:
        painter = studio.painter
        return Health(
            status="ok",
            version=__version__,
            model=painter.name,
            engine=painter.engine_name,
            device=painter.device,
            waiting=studio.work.depth,
        )

    @api.get(
        "/metrics",
        summary="Counts for Prometheus",
        response_class=Response,
        responses=_COUNTS | problems(401),
    )
    def metrics() -> Response:  # it may have to ask another process
        return Response(studio.uploaded.exposition(studio.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _methods(request: Request) -> list[str]:
    """The methods that an address takes."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    for known, methods in request.app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", known), path):
            return [method.upper() for method in methods]
    return []


def say_errors_in_one_line(app: FastAPI) -> None:
    """Makes every error of the API ``{"error": "what is wrong and what to do"}``; see `Guard` for those unforeseen."""

    @app.exception_handler(ImpastoError)
    async def _ours(_: Request, error: ImpastoError) -> JSONResponse:
        headers = {"retry-after": str(error.retry_after)} if isinstance(error, BusyError) else None
        return _problem(_STATUS.get(type(error), 422), str(error), headers)

    @app.exception_handler(RequestValidationError)
    async def _values(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = [f"{'.'.join(str(part) for part in fault['loc'][1:])}: {fault['msg']}" for fault in error.errors()]
        return _problem(422, "; ".join(faults) + "; /docs says what each field takes")

    @app.exception_handler(StarletteHTTPException)
    async def _http(request: Request, error: StarletteHTTPException) -> JSONResponse:
        if error.status_code == 404 and error.detail == HTTPStatus.NOT_FOUND.phrase:  # it says no more itself
            return _problem(404, "no such page; /docs lists what there is")
        if error.status_code == 405:
            allowed = ", ".join(_methods(request) or ["GET"])  # what is not the API's is a file
            return _problem(405, f"this address takes {allowed}; see /docs", {"allow": allowed})
        return _problem(error.status_code, str(error.detail), error.headers)


def _problem(status: int, text: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": " ".join(text.split())}, status, headers)
