"""What the commands share: options and printing."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

# typer brings its own copy of click, or uses the installed one; both call the base of BadParameter UsageError.
UsageError: Any = typer.BadParameter.__base__

EXTRAS = {"torch": "train", "onnx": "train", "accelerate": "train", "tensorboard": "train", "matplotlib": "train",
          "openvino": "openvino"}

ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="A shipped model or a model folder.", show_default="adain")
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


def print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False))


def print_table(table: RenderableType) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 160).print(table)
