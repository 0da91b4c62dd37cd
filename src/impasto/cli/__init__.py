"""The command line: it parses, calls the library and prints."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from importlib import import_module
from keyword import iskeyword
from typing import Annotated, Any

import typer
import typer.core

from impasto.cli.common import UsageError, complain
from impasto.errors import ImpastoError, IncompleteWarning
from impasto.extras import explain_missing

_PANELS = {
    "Paint": {"stylize": "paint", "video": "video", "dataset": "dataset", "style": "paint", "sheet": "paint"},
    "Live": {"app": "serve", "serve": "serve", "camera": "serve"},
    "Look around": {"styles": "look", "models": "look", "info": "look", "fetch": "look"},
    "Train and measure": {
        "train": "train",
        "export": "export",
        "import": "export",
        "quantize": "export",
        "fit": "train",
        "evaluate": "measure",
        "bench": "measure",
        "reproduce": "measure",
    },
}
#: The commands by name, each with the module that defines it.
COMMANDS = {name: module for panel in _PANELS.values() for name, module in panel.items()}

#: Options that had another name until 0.1, which goes on working for a release.
RENAMED = {
    "dataset": {"--styles": "--style", "--size": "--short-side"},
    "sheet": {"--size": "--max-size"},
}

#: Of these stderr is ours: a decoder that complains about a file has been heard by us already, and so has Ray.
_PAINTING = {"stylize", "style", "sheet", "dataset"}


class _Command(typer.core.TyperCommand):
    """A command whose help gives no type for flags, and which alone prints its help if it needs more."""

    def get_params(self, ctx: Any) -> list[Any]:
        parameters: list[Any] = super().get_params(ctx)
        for parameter in parameters:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
        return parameters

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and any(parameter.required for parameter in self.params):
            print(ctx.get_help(), end="")
            ctx.exit(2)
        parsed: list[str] = super().parse_args(ctx, _rename_options(args, RENAMED.get(self.name or "", {})))
        return parsed


def _rename_options(arguments: list[str], names: dict[str, str]) -> list[str]:
    """Gives options by their old names the new ones, and says so."""
    renamed = list(arguments)
    for number, argument in enumerate(renamed):
        name, equals, value = argument.partition("=")
        if argument == "--":
            break
        if name in names:
            renamed[number] = f"{names[name]}{equals}{value}"
            complain(f"{name} is now {names[name]}; the old name will be gone in the next release")
    return renamed


def build(names: Collection[str] = COMMANDS) -> typer.Typer:
    """Builds the command line with the commands of these names; each takes time, for its module and its options."""
    app = typer.Typer(
        help="Any picture in any style, at once: [bold]impasto stylize PHOTO STYLE[/bold]. "
        "A style is any picture, or the name of one that ships.",
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_impasto)
    for panel, commands in _PANELS.items():
        for name in filter(commands.__contains__, names):
            module = import_module(f"impasto.cli.{commands[name]}")
            command = getattr(module, f"{name}_" if iskeyword(name) else name)
            app.command(name, cls=_Command, rich_help_panel=panel)(command)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0, or 2 for whatever the user can put right, said in one line on stderr."""
    for library in (
        "PIL",
        "ray",
    ):  # damaged EXIF, what Ray will do in its next release: of no use to who wants a picture
        warnings.filterwarnings("ignore", module=rf"{library}\b")
    if isinstance(sys.stdout, io.TextIOWrapper):
        codecs.register_error("impasto.names", _encode_name)
        sys.stdout.reconfigure(errors="impasto.names")  # names of files need not be text, nor stdout know all letters
    arguments = sys.argv[1:] if arguments is None else arguments
    first = arguments[0] if arguments else ""  # a slip of the hand is told by all that there is
    names: Collection[str] = [first] if first in COMMANDS else [] if first == "--version" else COMMANDS
    try:
        with explain_missing("this"):
            code = build(names)(arguments, prog_name="impasto", standalone_mode=False)
        sys.stdout.flush()
    except ImpastoError as error:
        code = complain(str(error))
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "impasto"
        code = complain(f"{error.format_message().rstrip('.')}; see {command} --help")
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or what is left would fail again at exit
        code = complain(f"cannot write to stdout: {error.strerror}")
    sys.exit(code or 0)


def _encode_name(error: UnicodeError) -> tuple[bytes, int]:
    """Gives letters that cannot be encoded as the file system has them."""
    assert isinstance(error, UnicodeEncodeError)
    return error.object[error.start : error.end].encode("utf-8", "surrogateescape"), error.end


def _impasto(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from impasto import __version__

        print(f"impasto {__version__}")
        raise typer.Exit
    if context.invoked_subcommand in _PAINTING:
        context.with_resource(_mute_libraries())
        context.with_resource(_complain_of_pictures())
    if context.invoked_subcommand is None:
        print(context.get_help(), end="")


@contextlib.contextmanager
def _mute_libraries() -> Iterator[None]:
    """Keeps off stderr what C libraries print there by themselves; what Python prints goes on."""
    kept, null, stderr = os.dup(2), os.open(os.devnull, os.O_WRONLY), sys.stderr
    os.dup2(null, 2)
    os.close(null)
    if isinstance(stderr, io.TextIOWrapper) and stderr is sys.__stderr__:  # and not what a host program has put there
        sys.stderr = open(kept, "w", buffering=1, encoding=stderr.encoding, errors=stderr.errors, closefd=False)  # noqa: SIM115
    try:
        yield
    finally:
        sys.stderr = stderr
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def _complain_of_pictures() -> Iterator[None]:
    """Says of each picture of which some is missing that it is so, on a line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", IncompleteWarning)
        show = warnings.showwarning

        def tell(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if issubclass(category, IncompleteWarning):
                complain(str(message))
            else:
                show(message, category, *place, **options)

        warnings.showwarning = tell
        yield
