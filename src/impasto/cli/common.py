"""What the commands share: options and printing."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from impasto.checks import one_for_each
from impasto.errors import ImpastoError
from impasto.files import is_special

if TYPE_CHECKING:
    from rich.console import RenderableType

    from impasto.image import ImageSource
    from impasto.style import Style
    from impasto.stylizer import Stylizer


# typer brings its own copy of click, or uses the installed one; both call the base of BadParameter UsageError.
UsageError: Any = typer.BadParameter.__base__


def style_option(help: str, metavar: str = "STYLE") -> Any:
    """Declares --style, under one name wherever a command takes styles."""
    return typer.Option("--style", "-s", metavar=metavar, help=help, show_default=False)


def size_option(more: str = "", **options: Any) -> Any:
    """Declares --size, with what there is to add to its meaning: it is never a limit, nor one side of two."""
    return typer.Option("--size", help=f"Exact size of the pictures in pixels: the side of a square{more}.", **options)


def max_size_option(default: str | bool) -> Any:
    """Declares --max-size, with what stands for it where it is not given."""
    help = "Long side of the result in pixels; what is smaller stays as it is."
    return typer.Option("--max-size", help=help, show_default=default)


def short_side_option(default: str | bool) -> Any:
    """Declares --short-side, with what stands for it where it is not given."""
    return typer.Option(
        "--short-side", help="Short side in pixels that pictures are scaled to first.", show_default=default
    )


# What paints takes styles; what learns or measures takes pictures, for a style alone does not show what to come near.
A_STYLE = "A style: a picture, a .style file, or a name from impasto styles"
_STYLES = style_option(f"{A_STYLE}; a folder stands for its pictures. Repeatable.")
STYLE_PICTURES = "A folder or tar shard of style pictures, here or by URL"
PHOTOS = "A folder or tar shard of photos, here or by URL"
_STYLE_PICTURES = style_option(f"{STYLE_PICTURES}. Repeatable.", "PICTURES")
StyleOption = Annotated[list[str], _STYLES]
OptionalStyleOption = Annotated[list[str] | None, _STYLES]
StylePicturesOption = Annotated[list[str], _STYLE_PICTURES]
OptionalStylePicturesOption = Annotated[list[str] | None, _STYLE_PICTURES]
ContentOption = Annotated[list[str], typer.Option("--content", metavar="PICTURES", help=f"{PHOTOS}. Repeatable.")]
MaxSizeOption = Annotated[int | None, max_size_option("as it is")]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="A shipped model, a method, or a model folder: impasto models lists them.",
        show_default="adain",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="An option of a method, like iterations=100. Repeatable. For gatys, style_loss=mmd_gaussian is the "
        "maximum mean discrepancy with a Gaussian kernel by random features, mmd_gaussian_exact that over all pairs of "
        "pixels: for small pictures.",
    ),
]
EngineOption = Annotated[str, typer.Option(help="auto, onnxruntime, openvino or torch.")]
PrecisionOption = Annotated[
    Literal["auto", "fp32", "fp16", "int8"],
    typer.Option(help="int8: on OpenVINO; auto takes it where the processor is made for it. fp16: on torch, for GPUs."),
]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="Processor threads.", show_default="one for each core")]
StyleSizeOption = Annotated[
    int | None,
    typer.Option(
        help="Short side in pixels that a style picture is scaled to before its style is taken: which of its features "
        "count. For larger or finer strokes, see --stroke-size.",
        show_default="512",
    ),
]
StrokeSizeOption = Annotated[
    float | None,
    typer.Option(help="How large strokes are: 2 twice as large, 0.5 half as large; 0.25 to 4.", show_default="1"),
]
SeedOption = Annotated[int | None, typer.Option(help="Of what is drawn by chance.", show_default="0")]
AddressOption = Annotated[
    str | None, typer.Option(help="Of a running Ray cluster.", show_default="one is started here")
]
KeepColorOption = Annotated[
    Literal["match", "luminance"] | None,
    typer.Option(help="Keep the colours there were: their palette (match), or their chroma (luminance)."),
]
PaletteOption = Annotated[
    str | None,
    typer.Option(
        metavar="painting|photo|FILE",
        help="Colours: half the way to the painting's, those there are, or those of another picture.",
        show_default="painting",
    ),
]
KeepOption = Annotated[
    str | None,
    typer.Option(
        metavar="person|face[=SHARE]",
        help="Paint people, or their faces, less: how much of the photo remains there, 0 to 1.",
    ),
]
StyleBoxOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="L,T,R,B",
        help="The part of a picture that its style is taken from, in pixels: one for all, or for each. Repeatable.",
    ),
]
StyleMaskOption = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="Likewise as a picture of its size, white where it counts. Repeatable."),
]
MaxPixelsOption = Annotated[int | None, typer.Option(help="Refuse larger pictures.", show_default="200 million")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


#: What stands for the standard streams.
STDIN = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def complain(message: str) -> int:
    """Says on one line of stderr what is wrong; returns the exit code that goes with it."""
    print("impasto:", printable(message), file=sys.stderr)
    return 2


class Batch:
    """Several things to make, of which one that cannot be made is reported, and the others are made.

    Attributes:
        failed: whether there was one.
    """

    def __init__(self) -> None:
        self.failed = False

    @contextlib.contextmanager
    def item(self) -> Iterator[None]:
        """Makes one of them: what is wrong with it is said, and goes no further."""
        try:
            yield
        except ImpastoError as error:
            complain(str(error))
            self.failed = True

    def finish(self) -> None:
        """Exits with 2 if one could not be made."""
        if self.failed:
            raise typer.Exit(2)


#: Is entered to do something with one item of several: ``Batch.item``, or what lets an error end it all.
Attempt = Callable[[], AbstractContextManager[None]]


def printable(text: str) -> str:
    """Makes one line that a terminal shows and does not obey, whatever names of files are in the text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text.replace("\n", " "))


def given(**options: Any) -> dict[str, Any]:
    """Picks the options that were given, so that the library's own defaults stand for the others."""
    return {name: value for name, value in options.items() if value is not None}


def read_settings(assignments: list[str] | None) -> dict[str, str]:
    """Reads what `SetOption` was given: values by name, as text."""
    pairs = [assignment.partition("=") for assignment in assignments or []]
    if wrong := [name for name, equals, _ in pairs if not name or not equals]:
        raise ImpastoError(f"--set takes NAME=VALUE, like iterations=100, not {wrong[0] or '='}")
    if taken := [name for name, _, _ in pairs if name in ("model", "engine", "threads", "precision")]:
        raise ImpastoError(f"{taken[0]} is not an option of a method: give --{taken[0]} instead")
    return {name: value for name, _, value in pairs}


def load_painter(
    model: str | None,
    engine: str,
    threads: int | None,
    set_option: list[str] | None = None,
    precision: str = "auto",
) -> Stylizer:
    """Loads the model or method that the options name."""
    from impasto.loader import load

    return load(**given(model=model), engine=engine, threads=threads, precision=precision, **read_settings(set_option))


def take_styles(
    painter: Stylizer,
    sources: Sequence[str],
    style_size: int | None,
    limit: dict[str, int],
    attempt: Attempt = nullcontext,
    boxes: Sequence[str] | None = None,
    masks: Sequence[str] | None = None,
) -> dict[int, Style]:
    """Takes the styles that arguments name, by the arguments' numbers; where an attempt fails there is none."""
    from impasto.mask import read_box

    options = given(size=style_size) | limit
    corners = one_for_each("--style-box", list(map(read_box, boxes or [])), len(sources))
    covers = one_for_each("--style-mask", list(map(hold_source, masks or [])), len(sources))
    styles: dict[int, Style] = {}
    for number, (source, box, mask) in enumerate(zip(sources, corners, covers, strict=True)):
        with attempt():
            styles[number] = painter.style(open_source(source), name=name_of(source), box=box, mask=mask, **options)
    if style_size is not None and styles and all(style.picture is None for style in styles.values()):
        raise ImpastoError(
            "--style-size needs the picture of a style: saved and shipped styles keep the size they have"
        )
    return styles


def expand(arguments: Sequence[str], *also: str, attempt: Attempt = nullcontext) -> list[str]:
    """Replaces folders by the pictures in them, in order, and by files with the endings in `also`."""
    found: list[str] = []
    for argument in arguments:
        if os.path.isdir(argument):  # False, too, for what is too long for a path
            with attempt():
                found += _list_pictures(argument, also)
        else:
            found.append(argument)
    return found


def _list_pictures(folder: str, also: Sequence[str]) -> list[str]:
    """Lists the files in a folder with the ending of a picture, links to nothing among them: reading them will tell."""
    from impasto.image import ENDINGS

    endings = {*(f".{ending}" for ending in ENDINGS), *also}
    try:
        paths = sorted(Path(folder).iterdir())
    except OSError as error:
        raise ImpastoError(f"cannot read the folder {folder}: {error.strerror}") from None
    files = [p for p in paths if p.suffix.lower() in endings and (os.path.isfile(p) or not os.path.exists(p))]
    if not files:
        raise ImpastoError(f"there are no pictures in the folder {folder}")
    return [str(p) for p in files]


def name_of(source: str) -> str:
    """What a photo or style is called in file names."""
    return "stdin" if source in STDIN else Path(source).stem


def open_source(source: str) -> ImageSource:
    """Gives what an argument names: a path, or the picture on stdin."""
    return sys.stdin.buffer.read() if source in STDIN else source


def hold_source(source: str) -> ImageSource:
    """Gives what an argument names, to be read more than once: of a pipe, what comes out of it."""
    if source in STDIN or is_special(source):
        return sys.stdin.buffer.read() if source in STDIN else Path(source).read_bytes()
    return source


def print_json(value: object) -> None:
    """Prints JSON; letters that stdout does not have, and bytes of names that are no text, as Python escapes them."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(value)
    print(text)


def print_table(table: RenderableType) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 160).print(table)
