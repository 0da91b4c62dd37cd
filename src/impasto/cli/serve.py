"""Commands that stay up: app, camera."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from impasto.cli.common import EngineOption, ModelOption, StyleSizeOption, ThreadsOption, given
from impasto.errors import ImpastoError

if TYPE_CHECKING:
    from impasto.image import Pixels

_LIMITS = "Limits (what one client may ask for)"


def app(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.", min=0, max=65535)] = 7860,
    auth: Annotated[
        str | None,
        typer.Option(metavar="USER:PASS", envvar="IMPASTO_AUTH", help="Ask everybody for this name and password."),
    ] = None,
    in_browser: Annotated[
        bool, typer.Option("--in-browser", help="Serve the page that paints in the browser; nothing is uploaded.")
    ] = False,
    site: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="With --in-browser: write the page there, for any static host, and end."),
    ] = None,
    root_path: Annotated[str, typer.Option(help="Path that a proxy serves it under, like /impasto.")] = "",
    max_upload: Annotated[
        float | None, typer.Option(help="Megabytes of a request.", show_default="20", rich_help_panel=_LIMITS)
    ] = None,
    max_clip: Annotated[
        float | None, typer.Option(help="Megabytes of a video.", show_default="200", rich_help_panel=_LIMITS)
    ] = None,
    max_clip_seconds: Annotated[
        float | None, typer.Option(help="Of a video; no more is painted.", show_default="60", rich_help_panel=_LIMITS)
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(help="Of a picture.", show_default="12.5 million", rich_help_panel=_LIMITS)
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds a picture may take, waiting included.", show_default="60", rich_help_panel=_LIMITS),
    ] = None,
    queue: Annotated[
        int | None, typer.Option(help="Pictures that may wait.", show_default="32", rich_help_panel=_LIMITS)
    ] = None,
    model: ModelOption = None,
    engine: EngineOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Serve the web page and the HTTP API, to this machine alone unless --host says otherwise.

    impasto app
    impasto app --in-browser
    impasto app --in-browser --site FOLDER
    """
    user, colon, password = (auth or "").partition(":")
    if auth is not None and not (user and colon and password):
        raise ImpastoError("--auth takes a name and a password with a colon between them, like --auth me:secret")
    for name, value in given(max_upload=max_upload, max_clip=max_clip, max_clip_seconds=max_clip_seconds,
                             max_pixels=max_pixels, timeout=timeout).items():  # fmt: skip
        if not value > 0:
            raise ImpastoError(f"--{name.replace('_', '-')} must be more than 0, not {value:g}")

    where: dict[str, Any] = {
        "host": host, "port": port, "auth": (user, password) if auth else None, "root_path": root_path,
    }  # fmt: skip
    if site is not None and not in_browser:
        raise ImpastoError("--site writes the page that paints in the browser: give --in-browser too")
    if in_browser:
        limits_given = given(max_upload=max_upload, max_clip=max_clip, max_clip_seconds=max_clip_seconds,
                             max_pixels=max_pixels, timeout=timeout, queue=queue, threads=threads)  # fmt: skip
        if limits_given or engine != "auto":
            name = next(iter(limits_given), "engine").replace("_", "-")
            raise ImpastoError(
                f"--{name} means nothing with --in-browser, where the browser does the work: leave it out"
            )
        _in_browser(model, site, where)
        return

    from impasto.app import Limits, serve
    from impasto.stylizer import load

    limits = Limits(
        **given(
            max_upload=max_upload and int(max_upload * 1e6),
            max_clip=max_clip and int(max_clip * 1e6),
            max_clip_seconds=max_clip_seconds,
            max_pixels=max_pixels,
            timeout=timeout,
            queue=queue,
        )
    )
    painter = load(**given(model=model), engine=engine, threads=threads)
    serve(painter, limits, **where)


def _in_browser(model: str | None, site: Path | None, where: dict[str, Any]) -> None:
    from impasto.app import serve_in_browser
    from impasto.app.browser import write_site
    from impasto.model import find_model

    found = find_model(**given(name_or_path=model))
    if site is None:
        serve_in_browser(found, **where)
    else:
        write_site(found, site)
        print(f"wrote the page to {site}: put the folder on any host of static files")


def camera(
    style: Annotated[list[str], typer.Argument(metavar="STYLE...", help="One style, or several in equal parts.")],
    source: Annotated[str, typer.Option(help="Number of a camera, or a video to play.")] = "0",
    to: Annotated[Literal["window", "virtual"], typer.Option(help="A window, or a camera for other programs.")] = (
        "window"
    ),
    strength: Annotated[float, typer.Option(help="0 gives the camera's picture back, 1 the full style.")] = 1.0,
    keep_color: Annotated[
        Literal["match", "luminance"] | None, typer.Option(help="Keep the camera's colours: palette, or chroma.")
    ] = None,
    style_size: StyleSizeOption = None,
    max_size: Annotated[
        int | None, typer.Option(help="Long side in pixels that frames are painted at.", show_default="512")
    ] = None,
    model: ModelOption = None,
    engine: EngineOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Paint a camera live; the newest frame always wins, so the delay does not grow.

    impasto camera hokusai-great-wave
    impasto camera painting.jpg --source 1 --to virtual
    """
    from impasto.camera import Pace, VirtualCamera, Window, paint_live
    from impasto.stylizer import load

    with Window() if to == "window" else VirtualCamera() as screen:
        painter = load(**given(model=model), engine=engine, threads=threads)
        told = time.monotonic()

        def show(frame: Pixels, pace: Pace) -> bool:
            nonlocal told
            if to == "virtual" and time.monotonic() - told > 5:
                told = time.monotonic()
                print(f"impasto: {pace}", file=sys.stderr)
            return screen.show(frame, pace)

        pace = paint_live(
            painter, style, int(source) if source.isdecimal() else source, show,
            strength=strength, keep_color=keep_color, **given(style_size=style_size, max_size=max_size),
        )  # fmt: skip
    print(f"impasto: {pace.shown} frames, {pace.dropped} dropped", file=sys.stderr)
