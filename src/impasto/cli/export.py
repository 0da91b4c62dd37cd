"""Commands that make models, and files for other runtimes: export, import, quantize."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from impasto.cli.common import (
    A_STYLE,
    ContentOption,
    JsonOption,
    ModelOption,
    SeedOption,
    StylePicturesOption,
    ThreadsOption,
    given,
    load_painter,
    print_json,
    size_option,
    style_option,
)
from impasto.errors import ImpastoError

if TYPE_CHECKING:
    from impasto.export.exported import Exported
    from impasto.export.oak import Estimate


def export(
    source: Annotated[
        str, typer.Argument(metavar="MODEL|oak|CHECKPOINT", help="A model; oak; or what impasto train wrote.")
    ],
    out: Annotated[
        Path, typer.Argument(help="The file to write; for oak a folder; for a checkpoint the model folder to make.")
    ],
    to: Annotated[
        Literal["onnx", "openvino", "torch", "executorch", "coreml"] | None,
        typer.Option(help="The format.", show_default="what the file's name ends in"),
    ] = None,
    size: Annotated[str | None, size_option(", or WIDTHxHEIGHT", show_default="any; oak 256x256")] = None,
    style: Annotated[str | None, style_option(f"{A_STYLE}, to build in; else it is an input.")] = None,
    strength: Annotated[
        float | None, typer.Option(min=0, max=1, help="Strength to build in with the style.", show_default="1")
    ] = None,
    model: ModelOption = None,
    name: Annotated[str | None, typer.Option(help="The new model's name.", show_default="the folder's")] = None,
    gallery: Annotated[
        Path | None, typer.Option(help="Folder of pictures named like the shipped styles, to put into a new model.")
    ] = None,
    mean_with: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECKPOINT|MODEL", help="A new model's weights: the mean with this one's. Repeatable."),
    ] = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a file for another runtime of a model, or a model of a training checkpoint.

    impasto export adain out.onnx --size 512x512 --style klimt-kiss
    impasto export adain out.xml     # .onnx, .xml (OpenVINO), .pt2 (torch.export), .pte (ExecuTorch), .mlpackage
    impasto export oak camera/       # for OAK cameras, see docs/guide/oak.md
    impasto export runs/mine/checkpoint.pt models/mine
    """
    import torch

    if Path(source).is_file():
        _refuse("a checkpoint", to=to, size=size, style=style, strength=strength, model=model)
        from impasto.export import checkpoint

        print(checkpoint.export(Path(source), out, name or out.resolve().name, gallery, mean_with or ()))
        return
    if Path(source).suffix == ".pt":
        raise ImpastoError(f"there is no checkpoint {source}")
    _refuse("a model", name=name, gallery=gallery, mean_with=mean_with)
    if threads is not None:
        torch.set_num_threads(threads)
    exported, estimates = _write(source, out, to, _read_size(size), style, strength, model, threads)
    if as_json:
        print_json(exported.to_json() | {"estimates": [asdict(estimate) for estimate in estimates]})
    else:
        print(exported, *estimates, sep="\n")


def _write(
    source: str,
    out: Path,
    to: str | None,
    size: tuple[int, int] | None,
    style: str | None,
    strength: float | None,
    model: str | None,
    threads: int | None,
) -> tuple[Exported, list[Estimate]]:
    """Writes a model for another runtime or for OAK cameras, once all options are known to make sense."""
    from impasto.export.formats import format_of
    from impasto.export.oak import write_oak
    from impasto.export.runtimes import write_model
    from impasto.graph import GraphStylizer
    from impasto.methods import METHODS
    from impasto.model import find_model

    if (model or source) in METHODS:
        raise ImpastoError(f"{model or source} is a method, not a network: only models can be exported")
    if source == "oak":
        _refuse("oak", to=to)
    else:
        find_model(source)  # and what follows: before anything takes time
        _refuse("a model", model=model)
        if strength is not None and style is None:
            raise ImpastoError("--strength builds in a strength with --style; without, it is an input of the file")
        format_of(out, to)
    painter = load_painter(model if source == "oak" else source, "onnxruntime", threads)
    assert isinstance(painter, GraphStylizer)
    taken = painter.style(style) if style else None
    if source == "oak":
        return write_oak(painter, out, **given(size=size, style=taken, strength=strength))
    return write_model(painter, out, to, size, taken, **given(strength=strength)), []


def _refuse(what: str, **options: object) -> None:
    """Complains of an option that has no meaning for what is exported."""
    if unwanted := [*given(**options)]:
        raise ImpastoError(f"--{unwanted[0].replace('_', '-')} has no meaning for {what}: leave it out")


def _read_size(text: str | None) -> tuple[int, int] | None:
    """Reads what --size was given, as height and width."""
    if text is None:
        return None
    width, x, height = text.lower().partition("x")
    height = height if x else width
    if not (width.isdecimal() and height.isdecimal()):
        raise ImpastoError(f"--size takes the side of a square or WIDTHxHEIGHT, like 512 or 512x384, not {text}")
    return int(height), int(width)


def import_(
    network: Annotated[Literal["adain"], typer.Argument(help="The network that the weights are of: adain.")],
    source: Annotated[Path, typer.Argument(metavar="FILE", help="decoder.pth, or decoder_iter_*.pth.tar.")],
    out: Annotated[Path, typer.Argument(help="The model folder to make.")],
    encoder: Annotated[
        Path | None,
        typer.Option(help="vgg_normalised.pth, to go into the model.", show_default="the VGG-19 that is found"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The new model's name.", show_default="the folder's")] = None,
) -> None:
    """Make a model of a decoder that others have published: that of AdaIN's authors in PyTorch, or one like it.

    impasto import adain decoder.pth models/authors
    impasto stylize -m models/authors --plain photo.jpg painting.jpg
    """
    from impasto.export.published import import_decoder

    print(import_decoder(source, out, name, encoder))


def quantize(
    model: Annotated[str, typer.Argument(help="A model folder, changed in place, or the name of a shipped model.")],
    content: ContentOption,
    style: StylePicturesOption,
    pairs: Annotated[
        int | None, typer.Option(help="Of a photo and a style, to find the scales on.", show_default="96")
    ] = None,
    seed: SeedOption = None,
) -> None:
    """Add a graph in eight bits to a compact model: for OpenVINO, more than twice as fast, nearly the same pictures."""
    from impasto.export import quantize as quantizing

    print(quantizing.quantize(model, content, style, **given(pairs=pairs, seed=seed)))
