"""The camera of the page: the browser sends a frame, gets it back painted, and only then takes the next one.

So there is never more than one frame of a camera under way: whatever the speed of machine and network, the next frame
painted is the newest, and the delay cannot grow.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response

from impasto.alpha import fill, has_alpha
from impasto.app.studio import MOST_STYLES, Studio, StyleName, encode, give_up_when_gone
from impasto.controls import STROKE_SIZES, ControlOptions, KeepColor, Mix
from impasto.people import People
from impasto.stylizer import Stylizer

if TYPE_CHECKING:
    from impasto.video import TemporalPainter

_CAMERAS = 16  # that are remembered
_LONG_SIDE = 1280


class Cameras:
    """What keeps each camera's picture steady, by an id that the browser chose; the one unused for longest goes."""

    def __init__(self, painter: Stylizer) -> None:
        self._painter = painter
        self._steady: OrderedDict[str, tuple[TemporalPainter, threading.Lock]] = OrderedDict()
        self._lock = threading.Lock()

    def steady(self, camera: str, mix: Mix) -> tuple[TemporalPainter, threading.Lock]:
        """What paints a camera's frames, beginning in this mix, and the lock to hold meanwhile."""
        from impasto.video import TemporalPainter

        with self._lock:
            kept = self._steady.pop(camera, None) or (TemporalPainter(self._painter, mix), threading.Lock())
            self._steady[camera] = kept
            while len(self._steady) > _CAMERAS:
                self._steady.popitem(last=False)
            return kept


def router(studio: Studio) -> APIRouter:
    """The camera's route; it belongs to the page, so the API's own list does not name it."""
    routes = APIRouter(include_in_schema=False)
    cameras = Cameras(studio.painter)

    @routes.post("/camera/frame")
    async def frame(
        request: Request,
        camera: Annotated[str, Query(pattern="^[0-9a-f-]{8,40}$")],
        style: Annotated[list[StyleName], Query(min_length=1, max_length=MOST_STYLES)],
        weight: Annotated[list[float], Query(max_length=MOST_STYLES)] = [],  # noqa: B006 (FastAPI copies it)
        strength: Annotated[float, Query(ge=0, le=1)] = 1.0,
        stroke_size: Annotated[float, Query(ge=STROKE_SIZES[0], le=STROKE_SIZES[1])] = 1.0,
        keep_color: KeepColor | None = None,
        keep: People | None = None,
    ) -> Response:
        sent = await request.body()
        start = time.perf_counter()

        def job() -> bytes:
            picture = studio.picture(sent, "the frame").limit_size(_LONG_SIDE)
            mix = studio.mix(style, weight)
            steady, lock = cameras.steady(camera, mix)
            with lock:
                changes = ControlOptions(strength=strength, stroke_size=stroke_size, keep_color=keep_color, keep=keep)
                alpha = picture.alpha if has_alpha(picture) else None
                painted = steady.paint(fill(picture), styles=mix, alpha=alpha, **changes)
                return encode(replace(picture, pixels=painted, exif=None), "jpg", 85)

        painted = await give_up_when_gone(request, studio.run("camera", job))
        timing = {"server-timing": f"paint;dur={1000 * (time.perf_counter() - start):.0f}", "cache-control": "no-store"}
        return Response(painted, media_type="image/jpeg", headers=timing)

    return routes
