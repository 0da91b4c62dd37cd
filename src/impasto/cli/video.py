"""The command that paints clips: video."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from impasto.cli.common import (
    EngineOption,
    JsonOption,
    KeepColorOption,
    KeepOption,
    MaxSizeOption,
    ModelOption,
    OptionalStyleOption,
    PaletteOption,
    PrecisionOption,
    SetOption,
    StrokeSizeOption,
    StyleBoxOption,
    StyleMaskOption,
    StyleSizeOption,
    ThreadsOption,
    complain,
    expand,
    given,
    load_painter,
    name_of,
    print_json,
    take_styles,
)
from impasto.errors import ImpastoError

if TYPE_CHECKING:
    from impasto.style import Style
    from impasto.video import KeyFrames, VideoResult

_KEY = re.compile(r"(.+)@(\d+(?:\.\d+)?)s?")
_NUMBER = r"[-_.]?%\d*d"
_PREVIEW_SECONDS, _PREVIEW_SIZE = 3, 320
_STABLE = "Stable in time"
_FILE = "The file"


def video(
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="What to paint, - for stdin.")],
    style: Annotated[list[str] | None, typer.Argument(metavar="STYLE[@TIME]", help="In which styles.")] = None,
    style_option: OptionalStyleOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write, - for stdout.", show_default="{clip}-{style} here"),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="How much of each style in the mix, e.g. 2,1.")] = None,
    strength: Annotated[
        str, typer.Option(help="0 gives the clip back, 1 the full style; or key frames, e.g. 0@0s,1@4s.")
    ] = "1",
    mask: Annotated[
        list[str] | None,
        typer.Option(help="Where a style goes (white), a clip or a picture: one for each style. Repeatable."),
    ] = None,
    keep_color: KeepColorOption = None,
    palette: PaletteOption = None,
    keep: KeepOption = None,
    stroke_size: StrokeSizeOption = None,
    style_size: StyleSizeOption = None,
    style_box: StyleBoxOption = None,
    style_mask: StyleMaskOption = None,
    max_size: MaxSizeOption = None,
    start: Annotated[float | None, typer.Option(help="Begin here, in seconds.")] = None,
    end: Annotated[float | None, typer.Option(help="End here, in seconds.")] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help=f"Only the first {_PREVIEW_SECONDS} seconds, small.")
    ] = False,
    inertia: Annotated[
        float | None,
        typer.Option(help="Share of running statistics, 0 to 1.", show_default="0.9", rich_help_panel=_STABLE),
    ] = None,
    blend: Annotated[
        float | None,
        typer.Option(help="Share of the frame before, 0 to 1.", show_default="0.7", rich_help_panel=_STABLE),
    ] = None,
    no_flow: Annotated[
        bool, typer.Option("--no-flow", help="Leave the frame before out, as --blend 0.", rich_help_panel=_STABLE)
    ] = False,
    fps: Annotated[
        str | None,
        typer.Option(help="Frames a second, as 25 or 30000/1001.", show_default="the clip's", rich_help_panel=_FILE),
    ] = None,
    codec: Annotated[
        Literal["h264", "h265", "vp9", "av1", "prores"] | None,
        typer.Option(
            help="How to encode.", show_default="h264, for webm vp9, for transparent mov prores", rich_help_panel=_FILE
        ),
    ] = None,
    crf: Annotated[
        int | None,
        typer.Option(
            help="Quality, smaller is better: to 51 for h264 and h265, to 63 for vp9 and av1.",
            show_default="h264: 18, h265: 22, else 28",
            rich_help_panel=_FILE,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from what a killed run has left.", rich_help_panel=_FILE)
    ] = False,
    model: ModelOption = None,
    set_option: SetOption = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Paint a clip in the style of any pictures, without flicker, sound and subtitles kept.

    impasto video clip.mp4 painting.jpg
    impasto video clip.mp4 munch-scream -o painted.webm --max-size 640 --preview
    impasto video clip.mp4 munch-scream@0s klimt-kiss@4s
    impasto video clip.mp4 sky.jpg ground.jpg --mask sky.mp4 --mask ground.mp4

    Several styles are mixed; with a time, in seconds of the clip, they are key frames and fade into each other; with
    --mask each goes into its own region. Writes mp4, m4v, mov, mkv, webm and gif; numbered pictures, frame-%05d.png,
    are read and written, too, at --fps. Ctrl-C finishes the file with what is done.

    Clips go through pipes, too; one whose name has no ending, like stdout, gets Matroska.

    Prints the path of what it wrote.
    """
    from impasto.video import stylize_video

    sources = [*(style or []), *(style_option or [])]
    if not sources:
        raise ImpastoError("no style given: impasto video CLIP STYLE (`impasto styles` lists the shipped ones)")
    names, times = _read_keys(sources)
    if times and (weights or mask):
        raise ImpastoError("styles with times are faded: leave out --weights and --mask")
    names = names if times else expand(names, ".style")
    clip = Path("/dev/stdin") if str(clip) == "-" else clip
    target = Path("/dev/stdout") if str(out) == "-" else out or _default_target(clip, names)
    to_stdout = _is_stdout(target)
    if to_stdout and as_json:
        raise ImpastoError("the clip and --json cannot both go to stdout: name a file with --out")
    if to_stdout and sys.stdout.isatty():
        raise ImpastoError("stdout is a terminal: name a file with --out, or send stdout to one")
    inputs = (str(clip), *names, *(mask or []), *(style_mask or []), *([palette] if palette else []))
    read = {os.path.realpath(path) for path in inputs}
    if os.path.realpath(target) in read:
        raise ImpastoError(f"{target} is an input and would be overwritten: choose another --out")
    if no_flow and blend:
        raise ImpastoError("--no-flow leaves the frame before out: leave out --blend")
    if preview:
        soon = (start or 0) + _PREVIEW_SECONDS
        end = soon if end is None else min(end, soon)
        max_size = min(max_size or _PREVIEW_SIZE, _PREVIEW_SIZE)

    from impasto.controls import Controls, Mix, read_keep, read_weights
    from impasto.progress import meter

    shares = read_weights(weights, len(names))
    controls = Controls(
        **given(keep_color=keep_color, palette=palette, stroke_size=stroke_size, style_size=style_size),
        **read_keep(keep),
    )

    painter = load_painter(model, engine, threads, set_option, precision)
    styles = list(take_styles(painter, names, style_size, {}, boxes=style_box, masks=style_mask).values())
    with _catch_interrupt() as stop, meter("Painting") as show:
        result = stylize_video(
            painter,
            clip,
            _fade(styles, times) if times else Mix(styles, shares),
            target,
            controls,
            strength=_read_numbers("--strength", strength),
            masks=mask,
            fps=_read_rate(fps),
            resume=resume,
            progress=show,
            stop=stop,
            **given(
                max_size=max_size, start=start, end=end, codec=codec, crf=crf, inertia=inertia,
                blend=0 if no_flow else blend,
            ),
        )  # fmt: skip
    if as_json:
        print_json(_record(clip, result, [taken.name for taken in styles], painter.name, painter.engine_name))
    elif not to_stdout:
        print(result.path)
    _report(result, resume)
    if result.stopped:
        raise typer.Exit(130)


def _read_keys(sources: Sequence[str]) -> tuple[list[str], list[float]]:
    """Reads styles, and the times they were given with, if any were."""
    found = [None if os.path.exists(source) else _KEY.fullmatch(source) for source in sources]
    if not any(found):
        return list(sources), []
    if not all(found):
        without = next(source for source, key in zip(sources, found, strict=True) if key is None)
        raise ImpastoError(f"{without} has no time: give all styles one, like {without}@4s, or none")
    return [key[1] for key in found if key], [float(key[2]) for key in found if key]


def _fade(styles: Sequence[Style], times: Sequence[float]) -> KeyFrames[Any]:
    """Makes key frames of styles; those of one time are mixed."""
    from impasto.controls import Mix
    from impasto.video import KeyFrames

    groups: dict[float, list[Style]] = {}
    for taken, time in zip(styles, times, strict=True):
        groups.setdefault(time, []).append(taken)
    return KeyFrames({time: Mix(group) for time, group in groups.items()})


def _read_numbers(option: str, text: str) -> float | KeyFrames[float]:
    """Reads a number, or key frames of it: 0.5, or 0@0s,1@4s."""
    from impasto.video import KeyFrames

    try:
        if "@" not in text:
            return float(text)
        keys = [key.strip().removesuffix("s").split("@") for key in text.split(",")]
        return KeyFrames({float(time): float(number) for number, time in keys})
    except ValueError:
        raise ImpastoError(f"{option} takes a number, or numbers with times, like 0@0s,1@4s, not {text}") from None


def _read_rate(text: str | None) -> Fraction | None:
    try:
        return None if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ImpastoError(f"--fps takes a number or a ratio, like 25 or 30000/1001, not {text}") from None


def _is_stdout(target: Path) -> bool:
    """Tells whether a clip is to be written to where the path of what was written would be printed."""
    try:
        return target.as_posix().startswith("/dev/") and os.path.samestat(os.stat(target), os.fstat(1))
    except OSError:
        return False


def _default_target(clip: Path, styles: Sequence[str]) -> Path:
    from impasto.video.encode import CONTAINERS, PICTURES

    container, _ = CONTAINERS.get(clip.suffix.lower(), (PICTURES, ()))
    ending = ".mp4" if container == PICTURES else clip.suffix
    return Path(f"{re.sub(_NUMBER, '', clip.stem) or 'clip'}-{'+'.join(name_of(style) for style in styles)}{ending}")


@contextlib.contextmanager
def _catch_interrupt() -> Iterator[threading.Event]:
    """Gives an event that the first Ctrl-C sets; the second ends the program as ever."""
    from impasto.video import StoppedError

    stop = threading.Event()

    def interrupted(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        stop.set()
        print("impasto: finishing the file; Ctrl-C once more gives it up", file=sys.stderr)

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield stop
    except StoppedError as error:
        complain(str(error))
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGINT, before)


def _report(result: VideoResult, resume: bool) -> None:
    """Says on stderr what the person should know beside the path."""
    if result.broken:
        complain(f"{result.broken} broken frames were passed over")
    if result.left_out:
        complain(f"left out of {result.path.name}: {', '.join(result.left_out)}")
    if result.stopped:
        complain(f"stopped after {result.frames} frames" + ("; --resume goes on from there" if resume else ""))


def _record(clip: Path, result: VideoResult, styles: list[str], model: str, engine: str) -> dict[str, object]:
    return {
        "clip": str(clip),
        "out": str(result.path),
        "width": result.width,
        "height": result.height,
        "frames": result.frames,
        "length": round(result.length, 3),
        "styles": styles,
        "model": model,
        "engine": engine,
        "cuts": result.cuts,
        "broken": result.broken,
        "left_out": result.left_out,
        "stopped": result.stopped,
        "seconds": round(result.seconds, 3),
        "frames_per_second": round(result.frames_per_second, 2),
    }
