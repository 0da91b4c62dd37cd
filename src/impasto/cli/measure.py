"""Commands that measure models: evaluate, bench, reproduce."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from impasto.cli.common import (
    PHOTOS,
    STYLE_PICTURES,
    EngineOption,
    JsonOption,
    MaxSizeOption,
    ModelOption,
    PrecisionOption,
    SetOption,
    ThreadsOption,
    expand,
    given,
    print_json,
    print_table,
    read_settings,
    size_option,
    style_option,
)
from impasto.errors import ImpastoError


def evaluate(
    models: Annotated[list[str], typer.Argument(help="Shipped models or model folders.")],
    style: Annotated[
        list[str] | None, style_option(f"{STYLE_PICTURES}; for a clip any style, too. Repeatable.", "PICTURES")
    ] = None,
    content: Annotated[list[str] | None, typer.Option(metavar="PICTURES", help=f"{PHOTOS}. Repeatable.")] = None,
    protocol: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            metavar="styleid FOLDER",
            help="Measure FOLDER/content in FOLDER/style, all pairs, in every way that papers do, with bounds.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="CSV file of a protocol's pairs; what it holds is kept.", show_default="styleid.csv"
        ),
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="Measure how steadily this clip is painted; --limit counts frames.")
    ] = None,
    gap: Annotated[
        int | None, typer.Option(help="Compare each frame of the clip with that so many before.", show_default="1")
    ] = None,
    max_size: MaxSizeOption = None,
    size: Annotated[int, size_option(", scaled to and cut out of the middle")] = 512,
    scales: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS,...",
            help="Paint photos as they are, and measure them scaled to each of these short sides, e.g. 512,1024,2048; "
            "--size is then that of styles.",
        ),
    ] = None,
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
    impasto evaluate adain gatys --protocol styleid benchmark/
    impasto evaluate adain --video clip.mp4 --style munch-scream
    """
    if protocol is not None:
        if style or content or record or any(value is not None for value in (video, gap, max_size, scales, html)):
            raise ImpastoError("--protocol names its own pictures: leave out all but --limit, --out and the engine")
        name, folder = protocol
        if name != "styleid":
            raise ImpastoError(f"there is no protocol {name}: there is styleid")
        from impasto.evaluate import benchmark

        rows = benchmark.run_benchmark(
            models, folder, out or "styleid.csv", engine=engine, threads=threads, precision=precision, limit=limit
        )
        if as_json:
            print_json(benchmark.to_json(rows))
        else:
            print_table(benchmark.table(rows))
        return
    if out is not None:
        raise ImpastoError("--out is for the pairs of a --protocol: leave it out")
    if not style:
        raise ImpastoError("--style is missing: give a folder of style pictures")
    if bool(content) == bool(video):
        raise ImpastoError("give either --content, a folder of photos, or --video, a clip")
    if video is not None:
        if html is not None or record or scales is not None:
            raise ImpastoError("--html, --record and --scales are for photos: leave them out with --video")
        from impasto.evaluate.video import evaluate_video

        clip = given(gap=gap, max_size=max_size, limit=limit)
        steadiness = evaluate_video(
            models, video, expand(style, ".style"), engine=engine, threads=threads, precision=precision, **clip
        )
        if as_json:
            print_json(steadiness.to_json())
        else:
            print_table(steadiness.table())
        return
    if gap is not None:
        raise ImpastoError("--gap is for clips: leave it out without --video")
    from impasto.evaluate import quality, report

    assert content
    if scales is not None and record:
        raise ImpastoError("--record is for one size: leave it out with --scales")
    evaluation = quality.evaluate(
        models, content, style, size=size, scales=_read_scales(scales), engine=engine, threads=threads,
        precision=precision, limit=limit,
    )  # fmt: skip
    if html is not None:
        evaluation.write_html(html)
    if record:
        for model in models:
            report.record(evaluation, model)
    if as_json:
        print_json(evaluation.to_json())
    else:
        print_table(evaluation.table())


def _read_scales(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError:
        raise ImpastoError(f"--scales takes numbers of pixels, like 512,1024, not {text or 'nothing'}") from None


def bench(
    model: ModelOption = None,
    engine: Annotated[list[str] | None, typer.Option(help="Repeatable.", show_default="all installed")] = None,
    size: Annotated[list[int] | None, size_option(". Repeatable", show_default="256, 512, 1024")] = None,
    threads: ThreadsOption = None,
    device: Annotated[
        str, typer.Option(help="An accelerator, as PyTorch names it, e.g. cuda: times PyTorch alone, on it.")
    ] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Time a model on this machine, beside VGG-19 AdaIN."""
    from impasto.evaluate import bench as benching

    report = benching.bench(**given(model=model, engines=engine, sizes=size, threads=threads, device=device))
    if find_spec("torch") is None:
        print("impasto: no PyTorch here, so VGG-19 AdaIN is not timed: pip install impasto[train]", file=sys.stderr)
    if as_json:
        print_json(report.to_json())
    else:
        print_table(report.table())


def reproduce(
    experiment: Annotated[
        Literal["losses", "speed", "controls", "ablation", "norms"],
        typer.Argument(metavar="losses|speed|controls|ablation|norms", help="Which experiment."),
    ],
    content: Annotated[list[str], typer.Option(metavar="PICTURES", help=f"{PHOTOS}. Repeatable.")],
    style: Annotated[list[str], style_option(f"{STYLE_PICTURES}. Repeatable.", "PICTURES")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the page and the CSV.")] = Path("reproduced"),
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="Model, model folder or method. Repeatable.", show_default="all; controls: adain"
        ),
    ] = None,
    set_option: SetOption = None,
    size: Annotated[int, size_option(", for controls; with --fast 256")] = 512,
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
    options = read_settings(set_option)
    if options and experiment not in ("losses", "speed"):
        raise ImpastoError("--set is for the methods in losses and speed: leave it out")
    make_folder(out)
    sources = content, style, out
    if experiment == "losses":
        paper.losses(*sources, fast=fast, options=options, **given(systems=model))
    elif experiment == "speed":
        paper.speed(*sources, fast=fast, options=options, **given(systems=model))
    elif experiment == "controls":
        controls(*sources, size=256 if fast else size, **given(model=model and model[0]))
    elif experiment == "ablation":
        paper.ablation(*sources, **given(steps=steps or (40 if fast else None)))
    else:
        paper.norms(*sources, **given(steps=steps or (150 if fast else None)))
    print(out / f"{experiment}.html")
