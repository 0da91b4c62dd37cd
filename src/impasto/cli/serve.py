"""Commands that stay up: app, serve, camera."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from impasto.cli.common import (
    AddressOption,
    EngineOption,
    KeepColorOption,
    KeepOption,
    ModelOption,
    PaletteOption,
    PrecisionOption,
    StrokeSizeOption,
    StyleSizeOption,
    ThreadsOption,
    given,
    max_size_option,
)
from impasto.errors import ImpastoError
from impasto.extras import explain_missing

if TYPE_CHECKING:
    from impasto.image import Pixels

_LIMITS = "Limits (what one client may ask for)"
_MOST = 1_000_000_000  # of any limit, in its unit: as good as none
_SCALING = "Scaling, where --replicas is a range"

AuthOption = Annotated[
    str | None,
    typer.Option(metavar="USER:PASS", envvar="IMPASTO_AUTH", help="Ask everybody for this name and password."),
]
RootPathOption = Annotated[str, typer.Option(help="Path that a proxy serves it under, like /impasto.")]
MaxUploadOption = Annotated[
    float | None, typer.Option(help="Megabytes of a request.", show_default="50", rich_help_panel=_LIMITS)
]
MaxPixelsOption = Annotated[
    int | None, typer.Option(help="Of a picture.", show_default="50 million", rich_help_panel=_LIMITS)
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(help="Seconds a picture may take, waiting included.", show_default="120", rich_help_panel=_LIMITS),
]


def app(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.", min=0, max=65535)] = 7860,
    auth: AuthOption = None,
    in_browser: Annotated[
        bool, typer.Option("--in-browser", help="Serve the page that paints in the browser; nothing is uploaded.")
    ] = False,
    site: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="With --in-browser: write the page there, for any static host, and end."),
    ] = None,
    root_path: RootPathOption = "",
    max_upload: MaxUploadOption = None,
    max_clip: Annotated[
        float | None, typer.Option(help="Megabytes of a video.", show_default="200", rich_help_panel=_LIMITS)
    ] = None,
    max_clip_seconds: Annotated[
        float | None, typer.Option(help="Of a video; no more is painted.", show_default="60", rich_help_panel=_LIMITS)
    ] = None,
    max_pixels: MaxPixelsOption = None,
    timeout: TimeoutOption = None,
    queue: Annotated[
        int | None, typer.Option(help="Pictures that may wait.", show_default="32", rich_help_panel=_LIMITS)
    ] = None,
    model: ModelOption = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Serve the web page and the HTTP API, to this machine alone unless --host says otherwise.

    impasto app
    impasto app --in-browser
    impasto app --in-browser --site FOLDER
    """
    where: dict[str, Any] = {"host": host, "port": port, "auth": _read_credentials(auth), "root_path": root_path}
    limits = _read_limits(max_upload=max_upload, max_clip=max_clip, max_clip_seconds=max_clip_seconds,
                     max_pixels=max_pixels, timeout=timeout, queue=queue)  # fmt: skip
    if site is not None and not in_browser:
        raise ImpastoError("--site writes the page that paints in the browser: give --in-browser too")
    if in_browser:
        painting = {"engine": engine, "precision": precision, "threads": threads}
        if told := [*limits, *(name for name, value in painting.items() if value not in ("auto", None))]:
            raise ImpastoError(
                f"--{told[0].replace('_', '-')} means nothing with --in-browser, where the browser does the work: "
                "leave it out"
            )
        _serve_in_browser(model, site, where)
        return

    from impasto.app import Limits
    from impasto.app import serve as run
    from impasto.loader import load

    painter = load(**given(model=model), engine=engine, threads=threads, precision=precision)
    run(painter, Limits(**limits), **where)


def _serve_in_browser(model: str | None, site: Path | None, where: dict[str, Any]) -> None:
    from impasto.app import serve_in_browser
    from impasto.app.site import write_site
    from impasto.model import find_model

    found = find_model(**given(name_or_path=model))
    if site is None:
        serve_in_browser(found, **where)
    else:
        write_site(found, site)
        print(f"wrote the page to {site}: put the folder on any host of static files")


def serve(
    address: AddressOption = None,
    replicas: Annotated[str, typer.Option(help="How many, or a range to scale in, like 2..8.")] = "1",
    threads: Annotated[int, typer.Option(help="Processor threads of each replica.")] = 1,
    host: Annotated[str, typer.Option(help="Address that every node listens on; 0.0.0.0 opens it to the network.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    auth: AuthOption = None,
    root_path: RootPathOption = "",
    target: Annotated[
        float | None,
        typer.Option(help="Requests at a time, for each replica, to aim at.", show_default="2",
                     rich_help_panel=_SCALING),
    ] = None,
    up_delay: Annotated[
        float | None,
        typer.Option(help="Seconds before there are more.", show_default="10", rich_help_panel=_SCALING),
    ] = None,
    down_delay: Annotated[
        float | None,
        typer.Option(help="Seconds before there are fewer.", show_default="300", rich_help_panel=_SCALING),
    ] = None,
    max_upload: MaxUploadOption = None,
    max_pixels: MaxPixelsOption = None,
    timeout: TimeoutOption = None,
    queue: Annotated[
        int | None,
        typer.Option(help="Pictures that may wait for one replica.", show_default="32", rich_help_panel=_LIMITS),
    ] = None,
    model: ModelOption = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
) -> None:  # fmt: skip
    """Serve the HTTP API from many processes or machines, on Ray Serve.

    impasto serve --replicas 2
    impasto serve --address auto --replicas 2..16 --host 0.0.0.0 --auth me:secret
    """
    _read_credentials(auth)
    limits = _read_limits(max_upload=max_upload, max_pixels=max_pixels, timeout=timeout, queue=queue)
    with explain_missing("impasto.serve", extra="serve"):
        from pydantic import ValidationError

        from impasto.app import Limits
        from impasto.serve import Options
        from impasto.serve import serve as run

    chosen = given(model=model, target=target, up_delay=up_delay, down_delay=down_delay, auth=auth)
    try:
        options = Options(
            engine=engine, precision=precision, threads=threads, replicas=replicas, limits=Limits(**limits), **chosen
        )
    except ValidationError as error:
        faults = [f"--{fault['loc'][0]}: {fault['msg']}".replace("_", "-") for fault in error.errors()]
        raise ImpastoError("; ".join(faults)) from None
    run(options, address=address, host=host, port=port, root_path=root_path)


def _read_credentials(auth: str | None) -> tuple[str, str] | None:
    """Reads user and password."""
    user, colon, password = (auth or "").partition(":")
    if auth is not None and not (user and colon and password):
        raise ImpastoError("--auth takes a name and a password with a colon between them, like --auth me:secret")
    return (user, password) if auth else None


def _read_limits(**options: float | None) -> dict[str, Any]:
    """Reads those of the limits that were given, in the library's units."""
    limits: dict[str, Any] = given(**options)
    for name, value in limits.items():
        option = f"--{name.replace('_', '-')}"
        if name == "queue" and value < 0:
            raise ImpastoError(f"{option} must be 0 or more, not {value}")
        if name != "queue" and not 0 < value <= _MOST:
            raise ImpastoError(f"{option} must be more than 0, and at most {_MOST:,}, not {value:g}")
    return limits | {name: int(limits[name] * 1e6) for name in ("max_upload", "max_clip") if name in limits}


def camera(
    style: Annotated[list[str], typer.Argument(metavar="STYLE...", help="One style, or several in equal parts.")],
    source: Annotated[str, typer.Option(help="Number of a camera, or a video to play.")] = "0",
    to: Annotated[Literal["window", "virtual"], typer.Option(help="A window, or a camera for other programs.")] = (
        "window"
    ),
    strength: Annotated[float, typer.Option(help="0 gives the camera's picture back, 1 the full style.")] = 1.0,
    keep_color: KeepColorOption = None,
    palette: PaletteOption = None,
    keep: KeepOption = None,
    stroke_size: StrokeSizeOption = None,
    style_size: StyleSizeOption = None,
    max_size: Annotated[int | None, max_size_option("512")] = None,
    model: ModelOption = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Paint a camera live; the newest frame always wins, so the delay does not grow.

    impasto camera hokusai-great-wave
    impasto camera painting.jpg --source 1 --to virtual
    """
    from impasto.camera import Pace, VirtualCamera, Window, paint_live
    from impasto.controls import Controls, read_keep
    from impasto.loader import load

    controls = Controls(
        **given(
            strength=strength, keep_color=keep_color, palette=palette, stroke_size=stroke_size, style_size=style_size
        ),
        **read_keep(keep),
    )

    with Window() if to == "window" else VirtualCamera() as screen:
        painter = load(**given(model=model), engine=engine, threads=threads, precision=precision)
        told = time.monotonic()

        def show(frame: Pixels, pace: Pace) -> bool:
            nonlocal told
            if to == "virtual" and time.monotonic() - told > 5:
                told = time.monotonic()
                print(f"impasto: {pace}", file=sys.stderr)
            return screen.show(frame, pace)

        device = int(source) if source.isdecimal() else source
        pace = paint_live(painter, style, device, show, controls, **given(max_size=max_size))
    print(f"impasto: {pace.shown} frames, {pace.dropped} dropped", file=sys.stderr)
