"""The camera of the page: the browser sends a frame, gets it back painted, and only then takes the next one.

So there is never more than one frame of a camera under way: whatever the speed of machine and network, the next frame
painted is the newest, and the delay cannot grow.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from impasto.app.studio import MOST_STYLES, Studio, encoded

if TYPE_CHECKING:
    from impasto.stylizer import Memory

_CAMERAS = 16  # whose running statistics are kept
_INERTIA = 0.9
_LONG_SIDE = 1280


class Cameras:
    """The running statistics of each camera, by an id that the browser chose; the one unused for longest goes."""

    def __init__(self) -> None:
        self._memories: OrderedDict[str, tuple[Memory, threading.Lock]] = OrderedDict()
        self._lock = threading.Lock()

    def memory(self, camera: str) -> tuple[Memory, threading.Lock]:
        """What a camera's frames hand on, and the lock to hold meanwhile."""
        from impasto.stylizer import Memory

        with self._lock:
            kept = self._memories.pop(camera, None) or (Memory(_INERTIA), threading.Lock())
            self._memories[camera] = kept
            while len(self._memories) > _CAMERAS:
                self._memories.popitem(last=False)
            return kept


def router(studio: Studio) -> APIRouter:
    """The camera's route; it belongs to the page, so the API's own list does not name it."""
    routes = APIRouter(include_in_schema=False)
    cameras = Cameras()

    @routes.post("/camera/frame")
    async def frame(
        request: Request,
        camera: Annotated[str, Query(pattern="^[0-9a-f-]{8,40}$")],
        style: Annotated[list[str], Query(min_length=1, max_length=MOST_STYLES)],
        weight: Annotated[list[float], Query(max_length=MOST_STYLES)] = [],  # noqa: B006 (FastAPI copies it)
        strength: Annotated[float, Query(ge=0, le=1)] = 1.0,
        keep_color: Literal["match", "luminance"] | None = None,
    ) -> Response:
        sent = await request.body()
        start = time.perf_counter()

        def job() -> bytes:
            styles = [studio.style(name) for name in style]
            memory, lock = cameras.memory(f"{camera} {style}")
            with lock:
                image = studio.stylize(
                    studio.picture(sent, "the frame"),
                    styles,
                    weights=weight,
                    strength=strength,
                    keep_color=keep_color,
                    max_size=_LONG_SIDE,
                    memory=memory,
                )
            return encoded(image, "jpg", 85)

        painted = await studio.run("camera", job)
        timing = {"server-timing": f"paint;dur={1000 * (time.perf_counter() - start):.0f}", "cache-control": "no-store"}
        return Response(painted, media_type="image/jpeg", headers=timing)

    return routes
