"""Commands that paint: stylize, style, sheet."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from impasto.cli.common import (
    STDIN,
    STDOUT,
    Batch,
    EngineOption,
    KeepColorOption,
    KeepOption,
    MaxPixelsOption,
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
    hold_source,
    load_painter,
    max_size_option,
    name_of,
    open_source,
    print_json,
    take_styles,
)
from impasto.errors import ImpastoError
from impasto.methods import METHODS

if TYPE_CHECKING:
    from impasto.controls import Controls, Mix
    from impasto.style import Style
    from impasto.stylizer import Quality, Stylizer


_HUGE = "Large photos"
#: With fewer pictures than this ONNX Runtime is done before OpenVINO has started.
_MANY = 8


@dataclass(frozen=True)
class _Job:
    """One picture to make: a photo, which of the styles to mix, and the file to write, or None for stdout."""

    photo: str
    styles: tuple[int, ...]
    out: Path | None


def stylize(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="What to paint.")],
    style: Annotated[list[str] | None, typer.Argument(metavar="STYLE", help="In which styles.")] = None,
    style_option: OptionalStyleOption = None,
    each: Annotated[bool, typer.Option("--each", help="One picture for each style, instead of a mix.")] = False,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="A file, a folder, a pattern with {photo} and {style}, or - for stdout.",
            show_default="{photo}-{style} here, in the photo's format",
        ),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="How much of each style in the mix, e.g. 2,1.")] = None,
    strength: Annotated[float, typer.Option(help="0 gives the photo back, 1 the full style.")] = 1.0,
    mask: Annotated[
        list[str] | None,
        typer.Option(help="Where a style goes (white), a picture of the photo's size: one for each style. Repeatable."),
    ] = None,
    keep_color: KeepColorOption = None,
    palette: PaletteOption = None,
    keep: KeepOption = None,
    stroke_size: StrokeSizeOption = None,
    style_size: StyleSizeOption = None,
    style_box: StyleBoxOption = None,
    style_mask: StyleMaskOption = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="As in the paper: the network alone, once, and strength between features.")
    ] = False,
    max_size: MaxSizeOption = None,
    max_pixels: MaxPixelsOption = None,
    format: Annotated[str | None, typer.Option(help="jpg, png, webp, avif, tiff, bmp or gif.")] = None,
    quality: Annotated[
        list[str] | None,
        typer.Option(
            metavar="best|1-100",
            help="best: then optimise the painting until each place looks to VGG-19 like the place of the style's "
            "picture most like it (nearest neighbours), a minute or two; needs PyTorch. Or 1 to 100: of JPEG, WebP and "
            "AVIF. Repeatable.",
            show_default="95",
        ),
    ] = None,
    huge: Annotated[
        bool,
        typer.Option(
            "--huge",
            help="Paint from file to file: TIFF, PNG or JPEG of any size, in little memory.",
            rich_help_panel=_HUGE,
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="With --huge: go on from what a stopped run has left.", rich_help_panel=_HUGE),
    ] = False,
    model: ModelOption = None,
    set_option: SetOption = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each picture.")] = False,
) -> None:
    """Paint photos in the style of any pictures.

    impasto stylize photo.jpg painting.jpg
    impasto stylize photo.jpg munch-scream klimt-kiss --weights 2,1
    impasto stylize photo.jpg sky.style ground.jpg --mask sky.png --mask ground.png
    impasto stylize *.jpg -s munch-scream -s klimt-kiss --each -o painted/
    impasto stylize photo.jpg painting.jpg --model gatys --set iterations=200

    The first argument is the photo, the others its styles: pictures, .style files, or names from impasto styles.
    Several styles are mixed, or with --mask go each into its own region, or with --each make a picture each.
    With --style all arguments are photos. A folder stands for the pictures in it, and - for stdin.

    Prints the paths of what it wrote. What cannot be read, painted or written is reported and left out; the exit code
    is then 2.
    """
    batch = Batch()
    arguments = style or []
    from impasto.checks import make_folder
    from impasto.style import gallery

    if photo in gallery() and not os.path.exists(photo):
        raise ImpastoError(f"{photo} is a style: give the photo first, impasto stylize PHOTO STYLE")
    photos, sources = ([photo, *arguments], style_option) if style_option else ([photo], arguments)
    attempt = batch.item if each else nullcontext  # of what is mixed none can be left out
    photos, sources = expand(photos, attempt=batch.item), expand(sources, ".style", attempt=attempt)
    if not photos:
        raise typer.Exit(2)
    if not sources:
        raise ImpastoError("no style given: impasto stylize PHOTO STYLE (`impasto styles` lists the shipped ones)")
    covers = [*(mask or []), *(style_mask or [])]
    if sum(source in STDIN for source in [*photos, *sources, *covers]) > 1:
        raise ImpastoError("only one picture can come from stdin")
    if each and (weights or mask):
        raise ImpastoError("--each makes one picture for each style: leave out --weights and --mask, which mix them")
    from impasto.controls import Controls, Mix, read_keep, read_weights

    controls = Controls(
        **given(
            strength=strength, keep_color=keep_color, palette=palette, stroke_size=stroke_size, style_size=style_size
        ),
        **read_keep(keep),
        plain=plain,
    )
    jobs = _plan(photos, sources, each, out, format, batch)
    there = {job for job in jobs if job.out is not None and os.path.isfile(job.out)}
    if not jobs:
        raise typer.Exit(2)
    _spare_inputs(jobs, [*photos, *sources, *covers, *([palette] if palette else [])])
    if any(job.out is None for job in jobs) and as_json:
        raise ImpastoError("the picture and --json cannot both go to stdout: name a file with --out")
    shares = read_weights(weights, len(sources))
    best, compression = _read_quality(quality or [])
    if huge and best:
        raise ImpastoError("--quality best refines a painting in one piece, and --huge paints strips: leave out one")
    if resume and not huge:
        raise ImpastoError("--resume goes with --huge: other pictures are painted anew")
    if huge and (max_size or format or max_pixels or any(job.photo in STDIN or job.out is None for job in jobs)):
        raise ImpastoError("--huge goes from file to file: leave out --max-size, --max-pixels, --format and -")

    if engine == precision == "auto" and model not in METHODS and not huge and len(jobs) < _MANY:
        engine = "onnxruntime"
    painter = load_painter(model, engine, threads, set_option, precision)
    limit = given(max_pixels=max_pixels)
    styles = take_styles(painter, sources, style_size, limit, attempt, style_box, style_mask)
    if out is not None and _names_folder(out):
        make_folder(Path(out))

    mixes = {
        job: Mix([styles[index] for index in job.styles], [shares[index] for index in job.styles])
        for job in jobs
        if styles.keys() >= set(job.styles)
    }
    if huge:
        painted = _paint_files(painter, mixes, controls, batch, masks=mask, quality=compression, resume=resume)
    else:
        writing = {"format": format, "quality": compression}
        masks = [hold_source(one) for one in mask] if mask else None
        options = {"masks": masks, "max_size": max_size, "quality": best} | limit
        painted = _paint(painter, mixes, controls, batch, writing, **options)
    for job, size, seconds in _track(painted, len(mixes)):
        if job.out is None:
            continue
        if as_json:
            print_json(_record(job, size, mixes[job], controls, painter, seconds))
        else:
            print(job.out)
        if job in there:
            print(f"impasto: replaced {job.out}", file=sys.stderr)
    batch.finish()


def _read_quality(values: list[str]) -> tuple[Quality | None, int]:
    """Reads what --quality was given: that of the painting, and that of the file."""
    numbers = [value for value in values if value != "best"]
    try:
        return "best" if "best" in values else None, int(numbers[-1]) if numbers else 95
    except ValueError:
        raise ImpastoError(f"quality is best, or from 1 to 100 for the file, not {numbers[-1]}") from None


def _plan(
    photos: list[str], styles: list[str], each: bool, out: str | None, format: str | None, batch: Batch
) -> list[_Job]:
    """Plans what to make and where to write it, checked as far as that goes without reading a picture."""
    from impasto.image import ENDINGS

    paintings = [(index,) for index in range(len(styles))] if each else [tuple(range(len(styles)))]
    count = len(photos) * len(paintings)
    if format is not None and format.lower() not in ENDINGS:
        raise ImpastoError(f"unknown picture format '{format}'; use one of {', '.join(ENDINGS)}")
    if out in STDOUT or (out is None and photos[0] in STDIN and count == 1):
        if count > 1:
            raise ImpastoError(f"{count} pictures cannot all go to stdout: give --out a folder or a pattern")
        if sys.stdout.isatty():
            raise ImpastoError("stdout is a terminal: name a file with --out, or send stdout to one")
        return [_Job(photos[0], paintings[0], None)]

    names = "{photo}-{style}."
    if out is None or _names_folder(out) or os.path.isdir(out):
        pattern = os.path.join(out or "", names)
    elif count > 1 and "{photo}" not in out and "{style}" not in out:
        raise ImpastoError(f"{count} pictures cannot all be written to {out}: give a folder, or a pattern: {names}jpg")
    else:
        pattern = out
    jobs: dict[Path, _Job] = {}
    for photo in photos:
        for indices in paintings:
            label = "+".join(name_of(styles[index]) for index in indices)
            name = pattern.replace("{photo}", name_of(photo)).replace("{style}", label)
            if pattern.endswith(names):
                name += format or _ending(photo)
            target = Path(name)
            with batch.item():
                _check_target(target, format, _names_folder(out))
                if target in jobs:
                    raise ImpastoError(
                        f"several pictures would be written to {target}: give a pattern that tells {photo} apart"
                    )
                jobs[target] = _Job(photo, indices, target)
    return list(jobs.values())


def _ending(photo: str) -> str:
    """The ending of a photo's own format; png where that is unknown, or would cost the picture its colours."""
    from impasto.image import ENDINGS

    ending = Path(photo).suffix[1:].lower()
    return ending if ending in ENDINGS and ending != "gif" else "png"


def _names_folder(out: str | None) -> bool:
    """Whether an --out says that it is a folder, which need not be there yet."""
    return out is not None and out.endswith(("/", os.sep))


def _check_target(target: Path, format: str | None, made: bool = False) -> None:
    """Raises `ImpastoError` for a name that nothing can be written to; its folder is there, or will be `made`."""
    from impasto.image import ENDINGS

    if not made and not os.path.isdir(target.parent):
        raise ImpastoError(f"cannot write {target}: there is no folder {target.parent}; create it first")
    if format is None and target.suffix[1:].lower() not in ENDINGS:
        raise ImpastoError(f"cannot write {target}: end its name in one of {', '.join(ENDINGS)}, or give --format")


def _spare_inputs(jobs: list[_Job], inputs: list[str]) -> None:
    """Raises `ImpastoError` if a file that is read would be written."""
    reading = {os.path.realpath(path) for path in inputs}
    for job in jobs:
        if job.out is not None and os.path.realpath(job.out) in reading:
            raise ImpastoError(f"{job.out} is an input and would be overwritten: choose another --out")


#: A picture that was made: its width and height, and the seconds that it took.
_Made = tuple[_Job, tuple[int, int], float]


def _paint(
    painter: Stylizer,
    mixes: Mapping[_Job, Mix],
    controls: Controls,
    batch: Batch,
    writing: dict[str, Any],
    **options: Any,
) -> Iterator[_Made]:
    """Paints and writes job after job. A photo is read once."""
    from impasto.image import read_image, write_image

    limit = given(max_pixels=options.get("max_pixels"))
    for photo, group in groupby(mixes, key=lambda job: job.photo):
        start = time.perf_counter()
        with batch.item():
            picture = read_image(open_source(photo), **limit)
            for job in group:
                with batch.item():
                    painted = painter.stylize_picture(picture, mixes[job], controls, **options)
                    write_image(job.out or sys.stdout.buffer, painted, **writing)
                    if job.out is None:
                        sys.stdout.buffer.flush()
                    yield job, painted.size, time.perf_counter() - start
                start = time.perf_counter()


def _paint_files(
    painter: Stylizer, mixes: Mapping[_Job, Mix], controls: Controls, batch: Batch, **options: Any
) -> Iterator[_Made]:
    """Paints job after job from file to file, without reading a picture whole."""
    from impasto.huge import stylize_file

    for job, mix in mixes.items():
        start = time.perf_counter()
        assert job.out is not None  # stdout is none for --huge
        try:
            with batch.item():
                size = stylize_file(painter, job.photo, mix, job.out, controls, **options)
                yield job, size, time.perf_counter() - start
        except KeyboardInterrupt:
            complain("stopped: the same command with --resume goes on from there")
            raise


def _track(painted: Iterable[_Made], total: int) -> Iterable[_Made]:
    """Shows progress where there is more than one picture to make."""
    from impasto.progress import track

    return track(painted, "Painting", total) if total > 1 else painted


def _record(
    job: _Job, size: tuple[int, int], mix: Mix, controls: Controls, painter: Stylizer, seconds: float
) -> dict[str, object]:
    return {
        "photo": job.photo,
        "out": str(job.out),
        "width": size[0],
        "height": size[1],
        "styles": [style.name for style in mix.styles],
        "weights": list(mix.weights),
        "strength": controls.strength,
        "stroke_size": controls.stroke_size,
        "plain": controls.plain,
        "model": painter.name,
        "engine": painter.engine_name,
        "device": painter.device,
        "seconds": round(seconds, 3),
    }


def style(
    picture: Annotated[str, typer.Argument(metavar="PICTURE", help="The picture to learn from.")],
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="The .style file to write.", show_default="{picture}.style")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the style.", show_default="the picture's name")] = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit the style to its picture: some seconds, for a closer one.")
    ] = False,
    fit_photos: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PHOTOS",
            help="Fit it by VGG-19 itself (impasto\\[train]), painting the photos of a folder or tar. Repeatable.",
        ),
    ] = None,
    fit_steps: Annotated[int | None, typer.Option(min=1, help="How long to fit.", show_default="40")] = None,
    style_size: StyleSizeOption = None,
    style_box: StyleBoxOption = None,
    style_mask: StyleMaskOption = None,
    max_pixels: MaxPixelsOption = None,
    model: ModelOption = None,
    engine: EngineOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Save the style of a picture, a few kilobytes to use in its place.

    impasto style painting.jpg -o painting.style
    impasto style painting.jpg --style-box 0,0,400,300 -o sky.style
    impasto style painting.jpg --fit                   # some seconds for a closer style
    impasto style painting.jpg --fit-photos photos/    # half a minute for the closest; any photos will do
    """
    target = Path(out or f"{name_of(picture)}.style")
    if target.suffix.lower() != ".style":
        raise ImpastoError(f"cannot write {target}: end its name in .style, so that it is known for a style")
    _spare_inputs([_Job(picture, (0,), target)], [picture, *(style_mask or [])])
    painter = load_painter(model, engine, threads)
    limit = given(max_pixels=max_pixels)
    taken = take_styles(painter, [picture], style_size, limit, boxes=style_box, masks=style_mask)[0]
    if fit_photos:
        taken = _fit(painter, taken, fit_photos, fit_steps, threads)
    elif fit:
        from impasto.fitting import fit_style

        taken = fit_style(painter, taken, **given(steps=fit_steps))
    elif fit_steps is not None:
        raise ImpastoError("--fit-steps goes with --fit")
    replace(taken, name=name or taken.name).save(target)
    print(target)


def _fit(painter: Stylizer, style: Style, photos: list[str], steps: int | None, threads: int | None) -> Style:
    import torch

    from impasto.train.data import Pictures
    from impasto.train.fit import Fitting, fit_styles

    if threads is not None:
        torch.set_num_threads(threads)
    [fitted] = fit_styles(painter, [style], Pictures(photos, label="photos"), Fitting(**given(steps=steps)))
    return fitted


def sheet(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="The photo to paint.")],
    styles: Annotated[
        list[str] | None, typer.Argument(metavar="STYLE", help="Which styles.", show_default="all that ship")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The picture to write.", show_default="{photo}-sheet.jpg")
    ] = None,
    columns: Annotated[int | None, typer.Option(help="Pictures to a row.", show_default="for about 4 : 3")] = None,
    max_size: Annotated[int | None, max_size_option("400")] = None,
    stroke_size: StrokeSizeOption = None,
    style_size: StyleSizeOption = None,
    max_pixels: MaxPixelsOption = None,
    model: ModelOption = None,
    set_option: SetOption = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Paint a photo in every shipped style, on one labelled sheet.

    A style that cannot be taken is reported and left out; the exit code is then 2.
    """
    from impasto import sheet as sheets
    from impasto.image import write_image

    batch = Batch()
    sources = expand(styles or [], ".style", attempt=batch.item)
    target = out or Path(f"{name_of(photo)}-sheet.jpg")
    _check_target(target, None)
    _spare_inputs([_Job(photo, (0,), target)], [photo, *sources])
    painter = load_painter(model, engine, threads, set_option, precision)
    limit = given(max_pixels=max_pixels)
    taken = list(take_styles(painter, sources, style_size, limit, batch.item).values()) if styles else None
    if taken == []:
        raise typer.Exit(2)
    options = given(max_size=max_size, stroke_size=stroke_size) | limit
    page = sheets.sheet(painter, open_source(photo), taken, columns=columns, **options)
    write_image(target, page)
    print(target)
    batch.finish()
