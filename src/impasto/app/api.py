"""The HTTP API: one picture in, one picture out."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from impasto import __version__
from impasto.app.form import FormRoute
from impasto.app.studio import MOST_STYLES, Studio, StyleName, encode, give_up_when_gone
from impasto.app.work import BusyError, LateError
from impasto.controls import STROKE_SIZES, STYLE_SIZE, Controls, KeepColor, Mix
from impasto.errors import ImpastoError, TooLargeError, UnreadableError
from impasto.image import ENDINGS
from impasto.people import People
from impasto.sheet import caption

Format = Literal["png", "jpg", "webp", "avif", "tiff", "bmp", "gif"]
_TYPES = {name: f"image/{ENDINGS[name].lower()}" for name in Format.__args__}  # type: ignore[attr-defined]
_STATUS = {UnreadableError: 415, TooLargeError: 413, BusyError: 503, LateError: 504}


class Problem(BaseModel):
    """What went wrong, and what to do about it."""

    error: str = Field(examples=["there is no style 'klimt-kis' here: did you mean klimt-kiss?"])


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


def _problems(*statuses: int) -> _Answers:
    """What a route says of the errors that it may answer with."""
    texts = {
        400: "The body cannot be taken apart.",
        401: "Wrong or no password (only where the server has one).",
        413: "Too many bytes or pixels.",
        415: "Not multipart/form-data, or a file that is not a picture.",
        422: "A control that has no such value.",
        503: "The queue is full; `Retry-After` says for how many seconds.",
        504: "Not done within the time limit.",
    }
    made: _Answers = {n: {"model": Problem, "description": texts[n]} for n in statuses}
    if 503 in made:
        made[503]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return made


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_Answers = dict[int | str, dict[str, Any]]
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PAINTED: _Answers = {200: {"description": "The painted photo.", "content": dict.fromkeys(_TYPES.values(), _BINARY)}}
_COUNTS: _Answers = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


_Styles = Annotated[
    list[StyleName], Form(description="A shipped style or an uploaded one, by id. Repeatable.", max_length=MOST_STYLES)
]
_StyleFiles = Annotated[
    list[UploadFile],
    File(description="A picture to take the style of, or a .style file. Repeatable.", max_length=MOST_STYLES),
]
_Weights = Annotated[
    list[float],
    Form(
        description="How much of each style: those of `style` first, then those of `style_file`.",
        max_length=MOST_STYLES,
    ),
]
_Masks = Annotated[
    list[UploadFile],
    File(
        description="Where each style goes (white), in the same order: a picture of the photo's shape.",
        max_length=MOST_STYLES,
    ),
]
_Strength = Annotated[float, Form(ge=0, le=1, description="0 gives the photo back, 1 the full style.")]
_KeepColor = Annotated[
    KeepColor | None, Form(description="Keep the photo's colours: its palette for the style, or its chroma.")
]
_StyleSize = Annotated[
    int,
    Form(ge=16, le=2048, description="Short side that a style's picture is scaled to first. Not for shipped ones."),
]
_StrokeSize = Annotated[
    float,
    Form(ge=STROKE_SIZES[0], le=STROKE_SIZES[1], description="How large strokes are: 1 as usual, 2 twice as large."),
]
_Keep = Annotated[People | None, Form(description="Paint people, or their faces, less than the rest.")]
_KeepShare = Annotated[float, Form(ge=0, le=1, description="How much of the photo remains there.")]
_MaxSize = Annotated[int | None, Form(ge=16, le=100_000, description="Of the result's long side in pixels.")]


def router(studio: Studio) -> APIRouter:
    """The API's routes."""
    api = APIRouter(route_class=FormRoute)
    _add_painting(api, studio)
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
        responses=_PAINTED | _problems(400, 401, 413, 415, 422, 503, 504),
    )
    async def stylize(
        request: Request,
        photo: Annotated[UploadFile, File(description="The photo: JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF.")],
        style: _Styles = [],  # noqa: B006 (FastAPI copies it)
        style_file: _StyleFiles = [],  # noqa: B006
        weight: _Weights = [],  # noqa: B006
        mask: _Masks = [],  # noqa: B006
        strength: _Strength = 1.0,
        keep_color: _KeepColor = None,
        stroke_size: _StrokeSize = 1.0,
        style_size: _StyleSize = STYLE_SIZE,
        keep: _Keep = None,
        keep_share: _KeepShare = 1.0,
        max_size: _MaxSize = None,
        format: Annotated[Format, Form(description="Of the answer.")] = "png",
        quality: Annotated[int, Form(ge=1, le=100, description="Of JPEG, WebP and AVIF.")] = 95,
    ) -> Response:
        sent = await photo.read()
        pictures = [(await file.read(), file.filename or f"style {n}") for n, file in enumerate(style_file, 1)]
        covers = [await file.read() for file in mask]
        start = time.perf_counter()

        def job() -> bytes:
            content = studio.picture(sent, "the photo")
            styles = [studio.style(name, style_size) for name in style]
            styles += [studio.style(data, style_size, name) for data, name in pictures]
            masks = [studio.picture(data, f"mask {n}") for n, data in enumerate(covers, 1)]
            controls = Controls(strength, keep_color, stroke_size, style_size, keep=keep, keep_share=keep_share)
            return encode(studio.stylize(content, Mix(styles, weight), controls, masks, max_size), format, quality)

        painted = await give_up_when_gone(request, studio.run("api", job))
        timing = {"server-timing": f"paint;dur={1000 * (time.perf_counter() - start):.0f}"}
        return Response(painted, media_type=_TYPES[format], headers=timing)


def _add_styles(api: APIRouter, studio: Studio) -> None:
    """Adds the routes that keep a style and list them."""

    @api.post(
        "/v1/styles",
        summary="Upload a style",
        status_code=201,
        responses=_problems(400, 401, 413, 415, 422, 503, 504),
        description=f"Keeps the style of a picture, or a .style file, for all who may use this server: the last "
        f"{studio.limits.styles}, until the server ends.",
    )
    async def add_style(
        file: Annotated[UploadFile, File(description="A picture, or a .style file of this model.")],
        name: Annotated[
            str | None, Form(min_length=1, max_length=100, description="What to call it; else the file's name.")
        ] = None,
    ) -> StyleAdded:
        data, called = await file.read(), file.filename or "style"
        return StyleAdded(id=await studio.run("style", lambda: studio.add_style(data, called, name)))

    @api.get("/v1/styles", summary="List the styles", responses=_problems(401))
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
        responses=_COUNTS | _problems(401),
    )
    def metrics() -> Response:  # it may have to ask another process
        return Response(studio.uploaded.exposition(studio.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _methods(request: Request) -> list[str]:
    """The methods that an address takes."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return [method.upper() for method in request.app.openapi()["paths"].get(path, {})]


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
        if error.status_code == 404:
            return _problem(404, "no such page; /docs lists what there is")
        if error.status_code == 405:
            allowed = ", ".join(_methods(request))
            return _problem(405, f"this address takes {allowed}; see /docs", {"allow": allowed})
        return _problem(error.status_code, str(error.detail), error.headers)


def _problem(status: int, text: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": " ".join(text.split())}, status, headers)
