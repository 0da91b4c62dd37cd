"""Commands that stay up: app."""

from __future__ import annotations

from typing import Annotated

import typer

from impasto.cli.common import EngineOption, ModelOption, ThreadsOption, given
from impasto.errors import ImpastoError

_LIMITS = "Limits (what one client may ask for)"


def app(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.", min=0, max=65535)] = 7860,
    auth: Annotated[
        str | None,
        typer.Option(metavar="USER:PASS", envvar="IMPASTO_AUTH", help="Ask everybody for this name and password."),
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
    """Serve the web page and the HTTP API, to this machine alone unless --host says otherwise."""
    user, colon, password = (auth or "").partition(":")
    if auth is not None and not (user and colon and password):
        raise ImpastoError("--auth takes a name and a password with a colon between them, like --auth me:secret")
    for name, value in given(max_upload=max_upload, max_clip=max_clip, max_clip_seconds=max_clip_seconds,
                             max_pixels=max_pixels, timeout=timeout).items():  # fmt: skip
        if not value > 0:
            raise ImpastoError(f"--{name.replace('_', '-')} must be more than 0, not {value:g}")

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
    serve(painter, limits, host=host, port=port, auth=(user, password) if auth else None, root_path=root_path)
