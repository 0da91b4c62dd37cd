"""Commands that train and measure: train, export, evaluate, bench."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from impasto.cli.common import (
    EngineOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    expand,
    given,
    load_painter,
    print_json,
    print_table,
)
from impasto.errors import ImpastoError


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
    size: Annotated[
        str | None,
        typer.Option(metavar="WIDTHxHEIGHT", help="Fix the size of the pictures.", show_default="any; oak 256x256"),
    ] = None,
    style: Annotated[str | None, typer.Option("--style", "-s", help="Build a style in; else it is an input.")] = None,
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
    impasto export oak camera/       # for OAK cameras, see docs/oak.md
    impasto export runs/mine/checkpoint.pt models/mine
    """
    import torch

    from impasto.graph import GraphStylizer
    from impasto.methods import METHODS
    from impasto.model import find_model

    if Path(source).is_file():
        _refuse("a checkpoint", to=to, size=size, style=style, strength=strength, model=model)
        from impasto.export import checkpoint

        print(checkpoint.export(Path(source), out, name or out.resolve().name, gallery, mean_with or ()))
        return
    if Path(source).suffix == ".pt":
        raise ImpastoError(f"there is no checkpoint {source}")
    _refuse("a model", name=name, gallery=gallery, mean_with=mean_with)
    sides = _size(size)
    if (model or source) in METHODS:
        raise ImpastoError(f"{model or source} is a method, not a network: only models can be exported")
    if source == "oak":
        _refuse("oak", to=to)
    else:
        find_model(source)  # and what follows: before anything takes time
        _refuse("a model", model=model)
        if strength is not None and style is None:
            raise ImpastoError("--strength builds in a strength with --style; without, it is an input of the file")
        from impasto.export.formats import format_of
        from impasto.export.runtimes import write_model

        format_of(out, to)
    if threads is not None:
        torch.set_num_threads(threads)
    painter = load_painter(model if source == "oak" else source, "onnxruntime", threads)
    assert isinstance(painter, GraphStylizer)
    taken = painter.style(style) if style else None
    if source == "oak":
        from impasto.export.oak import write_oak

        exported, estimates = write_oak(painter, out, **given(size=sides, style=taken, strength=strength))
    else:
        exported = write_model(painter, out, to, sides, taken, **given(strength=strength))
        estimates = []
    if as_json:
        print_json(exported.to_json() | {"estimates": [asdict(estimate) for estimate in estimates]})
    else:
        print(exported, *estimates, sep="\n")


def _refuse(what: str, **options: object) -> None:
    """Complains of an option that has no meaning for what is exported."""
    if unwanted := [*given(**options)]:
        raise ImpastoError(f"--{unwanted[0].replace('_', '-')} has no meaning for {what}: leave it out")


def _size(text: str | None) -> tuple[int, int] | None:
    """What --size was given, as height and width."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ImpastoError(f"--size takes WIDTHxHEIGHT, like 512x384, not {text}")
    return int(height), int(width)


def quantize(
    model: Annotated[str, typer.Argument(help="A model folder, changed in place, or the name of a shipped model.")],
    content: Annotated[list[str], typer.Option(help="Folder or tar of photos. Repeatable.")],
    style: Annotated[list[str], typer.Option(help="Folder or tar of style pictures. Repeatable.")],
    pairs: Annotated[
        int | None, typer.Option(help="Of a photo and a style, to find the scales on.", show_default="96")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Which pairs are drawn.", show_default="0")] = None,
) -> None:
    """Add a graph in eight bits to a compact model: for OpenVINO, more than twice as fast, nearly the same pictures."""
    from impasto.export import quantize as quantizing

    print(quantizing.quantize(model, content, style, **given(pairs=pairs, seed=seed)))


def evaluate(
    models: Annotated[list[str], typer.Argument(help="Shipped models or model folders.")],
    style: Annotated[str, typer.Option(help="Folder of style pictures; for a clip also one, or the name of a style.")],
    content: Annotated[Path | None, typer.Option(help="Folder of photos.")] = None,
    video: Annotated[
        Path | None, typer.Option(help="Measure how steadily this clip is painted; --limit counts frames.")
    ] = None,
    max_size: Annotated[int | None, typer.Option(help="Scale the clip down to this long side.")] = None,
    size: Annotated[int, typer.Option(help="Short side in pixels; the centre square of it is taken.")] = 512,
    limit: Annotated[int | None, typer.Option(help="Take only so many photos.")] = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
    html: Annotated[Path | None, typer.Option(help="Also write a page with a contact sheet.")] = None,
    record: Annotated[bool, typer.Option("--record", help="Write the results into the models' cards.")] = False,
) -> None:
    """Measure content loss, style loss, SSIM and seconds on pairs of pictures; or the warping error on a clip.

    impasto evaluate adain --content photos/ --style paintings/
    impasto evaluate adain --video clip.mp4 --style munch-scream
    """
    if (content is None) == (video is None):
        raise ImpastoError("give either --content, a folder of photos, or --video, a clip")
    if video is not None:
        if html is not None or record:
            raise ImpastoError("--html and --record are for photos: leave them out with --video")
        from impasto.evaluate.video import evaluate_video

        steadiness = evaluate_video(
            models,
            video,
            expand([style], ".style"),
            max_size=max_size,
            limit=limit,
            engine=engine,
            threads=threads,
            precision=precision,
        )
        if as_json:
            print_json(steadiness.to_json())
        else:
            print_table(steadiness.table())
        return
    from impasto.evaluate import quality as evaluating

    assert content is not None

    evaluation = evaluating.evaluate(
        models, content, style, size=size, engine=engine, threads=threads, precision=precision, limit=limit
    )
    if html is not None:
        evaluation.write_html(html)
    if record:
        for model in models:
            evaluating.record(evaluation, model)
    if as_json:
        print_json(evaluation.to_json())
    else:
        print_table(evaluating.table(evaluation))


def bench(
    model: ModelOption = None,
    engine: Annotated[list[str] | None, typer.Option(help="Repeatable.", show_default="all installed")] = None,
    size: Annotated[list[int] | None, typer.Option(help="Repeatable.", show_default="256, 512, 1024")] = None,
    threads: ThreadsOption = None,
    device: Annotated[
        str, typer.Option(help="An accelerator, as PyTorch names it, e.g. cuda: times PyTorch alone, on it.")
    ] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Time a model on this machine, beside VGG-19 AdaIN."""
    from impasto.evaluate import bench as benching

    report = benching.bench(**given(model=model, engines=engine, sizes=size, threads=threads, device=device))
    if as_json:
        print_json(report.to_json())
    else:
        print_table(report.table())


def reproduce(
    experiment: Annotated[
        Literal["losses", "speed", "controls", "ablation", "norms"],
        typer.Argument(metavar="losses|speed|controls|ablation|norms", help="Which experiment."),
    ],
    content: Annotated[Path, typer.Option(help="Folder of photos.")],
    style: Annotated[Path, typer.Option(help="Folder of style pictures.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the page and the CSV.")] = Path("reproduced"),
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="Model, model folder or method. Repeatable.", show_default="all; controls: adain"
        ),
    ] = None,
    size: Annotated[int, typer.Option(help="Side in pixels, for controls; with --fast 256.")] = 512,
    steps: Annotated[int | None, typer.Option(min=1, help="Of each training, for ablation and norms.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Fewer pairs, iterations and steps: minutes.")] = False,
    threads: ThreadsOption = None,
) -> None:
    """Repeat an experiment of the AdaIN paper on your pictures.

    losses: content and style loss of every system, and how long Gatys' method takes to get there.
    speed: seconds for a picture. controls: strength, mixing, colours, regions.
    ablation: the paper's four decoders, trained. norms: instance against batch normalisation, trained.
    """
    from impasto.checks import make_folder
    from impasto.evaluate import paper
    from impasto.evaluate.controls import controls

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    if model and experiment in ("ablation", "norms"):
        raise ImpastoError(f"{experiment} trains its own networks: leave out --model")
    if experiment == "controls" and model and len(model) > 1:
        raise ImpastoError("controls are those of one model: give --model once")
    make_folder(out)
    sources = str(content), str(style), out
    if experiment == "losses":
        paper.losses(*sources, fast=fast, **given(systems=model))
    elif experiment == "speed":
        paper.speed(*sources, fast=fast, **given(systems=model))
    elif experiment == "controls":
        controls(*sources, size=256 if fast else size, **given(model=model and model[0]))
    elif experiment == "ablation":
        paper.ablation(*sources, **given(steps=steps or (40 if fast else None)))
    else:
        paper.norms(*sources, **given(steps=steps or (150 if fast else None)))
    print(out / f"{experiment}.html")
