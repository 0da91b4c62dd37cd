"""What the commands share: options and printing."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from impasto.errors import ImpastoError

if TYPE_CHECKING:
    from rich.console import RenderableType

# typer brings its own copy of click, or uses the installed one; both call the base of BadParameter UsageError.
UsageError: Any = typer.BadParameter.__base__

EXTRAS = {
    "torch": "train",
    "onnx": "train",
    "accelerate": "train",
    "tensorboard": "train",
    "matplotlib": "train",
    "openvino": "openvino",
    "fastapi": "app",
    "fastapi_offline": "app",
    "gradio": "app",
    "prometheus_client": "app",
    "pyvirtualcam": "camera",
    "uvicorn": "app",
}

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
    typer.Option("--set", metavar="NAME=VALUE", help="An option of a method, like iterations=100. Repeatable."),
]
EngineOption = Annotated[str, typer.Option(help="auto, onnxruntime, openvino or torch.")]
ThreadsOption = Annotated[int | None, typer.Option(help="Processor threads.", show_default="one for each core")]
StyleSizeOption = Annotated[
    int | None,
    typer.Option(help="Stroke size: the style picture's short side is scaled to this many pixels.", show_default="512"),
]
MaxPixelsOption = Annotated[int | None, typer.Option(help="Refuse larger pictures.", show_default="200 million")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def complain(message: str) -> int:
    """Says on one line of stderr what is wrong; returns the exit code that goes with it."""
    print("impasto:", message.replace("\n", " "), file=sys.stderr)
    return 2


def given(**options: Any) -> dict[str, Any]:
    """The options that were given, so that the library's own defaults stand for the others."""
    return {name: value for name, value in options.items() if value is not None}


def settings(assignments: list[str] | None) -> dict[str, str]:
    """What `SetOption` was given: values by name, as text."""
    pairs = [assignment.partition("=") for assignment in assignments or []]
    if wrong := [name for name, equals, _ in pairs if not name or not equals]:
        raise ImpastoError(f"--set takes NAME=VALUE, like iterations=100, not {wrong[0] or '='}")
    if taken := [name for name, _, _ in pairs if name in ("model", "engine", "threads")]:
        raise ImpastoError(f"{taken[0]} is not an option of a method: give --{taken[0]} instead")
    return {name: value for name, _, value in pairs}


def print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False))


def print_table(table: RenderableType) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 160).print(table)
