"""The web page and the HTTP API: `impasto app`. Needs the extra ``impasto[app]``."""

from __future__ import annotations

import ipaddress
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from impasto import __version__
from impasto.errors import ImpastoError
from impasto.extras import explain_missing
from impasto.model import Model
from impasto.stylizer import Stylizer

with explain_missing(__name__):
    import uvicorn
    from fastapi import FastAPI
    from fastapi_offline import FastAPIOffline
    from starlette.types import ASGIApp

    from impasto.app import site
    from impasto.app.api import METHODS, router, say_errors_in_one_line
    from impasto.app.guard import Guard
    from impasto.app.studio import Limits, Shelf, Studio
    from impasto.app.wire import Protocol

__all__ = ["Limits", "build", "listen", "serve", "serve_in_browser", "warn_if_open"]

_ABOUT = (
    "Any photo in the style of any picture. Errors are one line of JSON: `error` says what is wrong and what to do."
)


def build(
    painter: Stylizer,
    limits: Limits | None = None,
    *,
    auth: tuple[str, str] | None = None,
    page: bool = True,
    clips: bool = True,
    uploaded: Shelf | None = None,
) -> FastAPI:
    """The web application, an ASGI app.

    Args:
        painter: what paints.
        limits: what one client may ask for.
        auth: user and password that every request must give (HTTP Basic), `/healthz` excepted.
        page: with the web page, not the API alone.
        clips: with the routes of clips, which are kept in this process.
        uploaded: where uploaded styles are kept; None keeps them in this process.
    """
    studio = Studio(painter, limits, uploaded)
    limits = studio.limits

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        studio.close()

    app: FastAPI = FastAPIOffline(
        title="impasto", version=__version__, description=_ABOUT, redoc_url=None, lifespan=life
    )
    app.state.studio = studio
    app.include_router(router(studio, with_clips=clips))
    say_errors_in_one_line(app)
    if page:
        site.mount(app, studio)

    def count(method: str, route: str, status: int) -> None:
        known = method if method in METHODS else "other"  # a client may send any word, and each would be kept
        studio.metrics.requests.labels(known, route, status).inc()

    app.add_middleware(
        Guard,
        auth=auth,
        largest=lambda path: limits.max_clip if path == "/v1/clips" else limits.max_upload,
        count=count,
    )
    return app


def serve(
    painter: Stylizer,
    limits: Limits | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    auth: tuple[str, str] | None = None,
    root_path: str = "",
) -> None:
    """Serves page and API until it is interrupted.

    Args:
        painter: what paints.
        limits: what one client may ask for.
        host: address to listen on; anything but this machine's own (127.0.0.1) opens the server to the network.
        port: 0 takes any that is free.
        auth: see :func:`build`.
        root_path: the path that a proxy in front serves it under, like "/impasto".
    """
    listener, address = _open(host, port, auth)
    app = build(painter, limits, auth=auth)
    _say(f"{address} (the page), {address}/docs (the API); Ctrl-C ends it")
    if not site.has_runtime():
        _say(f"the page cannot paint in the browser here: {site.NO_RUNTIME}")
    _run(app, listener, root_path)


def serve_in_browser(
    model: Model,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    auth: tuple[str, str] | None = None,
    root_path: str = "",
) -> None:
    """Serves the page that paints in the browser until it is interrupted.

    Args:
        model: what it paints with, see :func:`impasto.app.site.write_site`.
        host, port, auth, root_path: see :func:`serve`.
    """
    listener, address = _open(host, port, auth)
    with tempfile.TemporaryDirectory(prefix="impasto-") as folder:
        written = Path(folder) / "site"
        site.write_site(model, written)
        app = site.build(written, auth)
        _say(f"{address} (the page, which paints in the browser); Ctrl-C ends it")
        _run(app, listener, root_path)


def _open(host: str, port: int, auth: tuple[str, str] | None) -> tuple[socket.socket, str]:
    """Listens, and warns if anybody may come; gives the socket and its address."""
    listener = listen(host, port)
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    if not auth:
        warn_if_open(address, listener.getsockname()[0])
    return listener, address


def _say(text: str) -> None:
    print(f"impasto: {text}", file=sys.stderr, flush=True)


def _run(app: ASGIApp, listener: socket.socket, root_path: str) -> None:
    # What goes wrong in the application is logged by it; of the rest, connections still open at the end are no news.
    config = uvicorn.Config(
        app, http=Protocol, ws="none", log_level="critical", root_path=root_path, timeout_graceful_shutdown=1
    )
    uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; raises `ImpastoError` if there can be none."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except (OSError, OverflowError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or error
        raise ImpastoError(f"cannot listen on {host} port {port}: {said}; choose another --host or --port") from None


def warn_if_open(url: str, address: str) -> None:
    """Says so if a server without a password listens on an address of the network."""
    if not ipaddress.ip_address(address).is_loopback:
        _say(f"warning: {url} is open to the network, and anybody there may use it: give --auth USER:PASS")
