"""Commands that train: train, fit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from impasto.cli.common import ThreadsOption, given
from impasto.errors import ImpastoError

_SETTINGS = "Settings (what is left out is the network's recipe)"


def train(
    context: typer.Context,
    network: Annotated[
        Literal["adain", "compact", "feedforward", "cin", "stylebank"],
        typer.Argument(metavar="adain|compact|feedforward|cin|stylebank", help="What to train."),
    ],
    content: Annotated[list[str], typer.Option(help="Folder, tar shard or URL of content pictures. Repeatable.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint and log.")],
    style: Annotated[
        list[str] | None, typer.Option(help="Folder, tar shard or URL of style pictures. Repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    start: Annotated[str | None, typer.Option(help="Begin with the weights of this model.")] = None,
    add: Annotated[
        list[str] | None, typer.Option(help="Picture of a style to teach the model of --start, all else frozen.")
    ] = None,
    norm: Annotated[
        Literal["instance", "batch", "renorm"] | None,
        typer.Option(help="How feedforward normalises.", show_default="instance"),
    ] = None,
    width: Annotated[int | None, typer.Option(help="Channels, for feedforward, cin and stylebank.")] = None,
    decoder: Annotated[
        Literal["adain", "concat", "bn", "in"] | None,
        typer.Option(help="What decodes for adain: the paper's decoder, or one of its comparisons."),
    ] = None,
    layer: Annotated[
        Literal["relu3_1", "relu4_1"] | None,
        typer.Option(help="Where adain's encoder ends.", show_default="relu4_1, as in the paper"),
    ] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Save and stop after so long.")] = None,
    save_minutes: Annotated[float, typer.Option(help="Time between checkpoints.")] = 10.0,
    short_side: Annotated[int, typer.Option(help="Size that training pictures are kept at.")] = 512,
    device: Annotated[str | None, typer.Option(help="cpu, to leave an accelerator alone.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads.")] = None,
    steps: Annotated[int | None, typer.Option(rich_help_panel=_SETTINGS)] = None,
    batch: Annotated[int | None, typer.Option(rich_help_panel=_SETTINGS)] = None,
    accumulate: Annotated[int | None, typer.Option(help="Batches to a step.", rich_help_panel=_SETTINGS)] = None,
    crop: Annotated[int | None, typer.Option(help="Side in pixels.", rich_help_panel=_SETTINGS)] = None,
    scale: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Range of the crop's side as a share of the short side.", rich_help_panel=_SETTINGS),
    ] = None,
    optimiser: Annotated[
        Literal["adam", "muon"] | None,
        typer.Option(help="Muon suits the decoder of adain.", rich_help_panel=_SETTINGS),
    ] = None,
    lr: Annotated[float | None, typer.Option(rich_help_panel=_SETTINGS)] = None,
    schedule: Annotated[Literal["paper", "cosine"] | None, typer.Option(rich_help_panel=_SETTINGS)] = None,
    warmup: Annotated[int | None, typer.Option(help="Steps.", rich_help_panel=_SETTINGS)] = None,
    clip: Annotated[float | None, typer.Option(help="Largest norm of the gradient.", rich_help_panel=_SETTINGS)] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of the weights' average.", rich_help_panel=_SETTINGS)] = None,
    content_weight: Annotated[float | None, typer.Option(rich_help_panel=_SETTINGS)] = None,
    content_target: Annotated[
        Literal["adain", "photo"] | None,
        typer.Option(help="Features that the content loss compares with.", rich_help_panel=_SETTINGS),
    ] = None,
    style_weight: Annotated[float | None, typer.Option(rich_help_panel=_SETTINGS)] = None,
    style_softness: Annotated[
        float | None,
        typer.Option(help="Style losses above this count ever less; 0: all in full.", rich_help_panel=_SETTINGS),
    ] = None,
    identity_weight: Annotated[float | None, typer.Option(rich_help_panel=_SETTINGS)] = None,
    tv_weight: Annotated[float | None, typer.Option(help="Of the total variation.", rich_help_panel=_SETTINGS)] = None,
    smooth_weight: Annotated[
        float | None, typer.Option(help="Of what becomes of smooth skies, for compact.", rich_help_panel=_SETTINGS)
    ] = None,
    style_size: Annotated[
        int | None,
        typer.Option(help="Short side in pixels of the pictures of a network's own styles.", rich_help_panel=_SETTINGS),
    ] = None,
    guess_weight: Annotated[
        float | None, typer.Option(help="Of what the style encoder misses of VGG-19.", rich_help_panel=_SETTINGS)
    ] = None,
    encoder_steps: Annotated[
        int | None, typer.Option(help="First steps, spent on the style encoder alone.", rich_help_panel=_SETTINGS)
    ] = None,
    fit_crops: Annotated[
        int | None,
        typer.Option(help="Crops that a fresh decoder of adain is first fitted to.", rich_help_panel=_SETTINGS),
    ] = None,
    autoencoder_steps: Annotated[
        int | None, typer.Option(help="First steps, spent on reconstruction alone.", rich_help_panel=_SETTINGS)
    ] = None,
    pairings: Annotated[
        int | None, typer.Option(help="Styles for each content crop of a batch.", rich_help_panel=_SETTINGS)
    ] = None,
    style_emphasis: Annotated[
        float | None,
        typer.Option(help="Draw style pictures by their difficulty to this power.", rich_help_panel=_SETTINGS),
    ] = None,
    varied_share: Annotated[
        float | None,
        typer.Option(help="Share of styles turned, recoloured, stretched, pasted together.", rich_help_panel=_SETTINGS),
    ] = None,
    brushed_share: Annotated[
        float | None,
        typer.Option(help="Share of styles made up: directed strokes, outlined forms.", rich_help_panel=_SETTINGS),
    ] = None,
    bold_share: Annotated[
        float | None,
        typer.Option(help="Share of styles made sharper and starker.", rich_help_panel=_SETTINGS),
    ] = None,
    graphic_share: Annotated[
        float | None,
        typer.Option(help="Share of styles drawn: shapes, lines, dots.", rich_help_panel=_SETTINGS),
    ] = None,
    grained_share: Annotated[
        float | None,
        typer.Option(help="Share of styles given the grain of paper or canvas.", rich_help_panel=_SETTINGS),
    ] = None,
    precision: Annotated[Literal["auto", "fp32", "bf16"] | None, typer.Option(rich_help_panel=_SETTINGS)] = None,
    seed: Annotated[int | None, typer.Option(rich_help_panel=_SETTINGS)] = None,
) -> None:
    """Train a network: adain is the paper's decoder, compact the default model.

    On several devices: accelerate launch -m impasto train ...
    """
    from dataclasses import fields

    import torch

    from impasto.train.loop import Settings
    from impasto.train.loop import train as run
    from impasto.train.tasks import OWN_STYLES, RECIPES, make_task

    if threads is not None:
        torch.set_num_threads(threads)
    chosen = given(**{field.name: context.params[field.name] for field in fields(Settings)})
    own = network in OWN_STYLES
    if not style and not add:
        raise ImpastoError("no style to learn: give --style" + (", or --start and --add" if own else ""))
    if add and not (own and start):
        raise ImpastoError(f"--add teaches the model of --start another style: for {', '.join(OWN_STYLES)} only")
    pictures = {"style": style or [], "add": add or []} if own else {}
    settings = Settings(**{**RECIPES[network], **chosen})
    task = make_task(
        network, settings, start, **pictures, **given(norm=norm, width=width, decoder=decoder, layer=layer)
    )
    run(
        task,
        content,
        None if own else style,
        settings,
        out,
        resume=resume,
        max_minutes=max_minutes,
        save_minutes=save_minutes,
        short_side=short_side,
        device=device,
    )


def fit(
    model: Annotated[str, typer.Argument(help="A model folder, changed in place, or the name of a shipped model.")],
    gallery: Annotated[Path, typer.Option(help="Folder of pictures named like the shipped styles.")],
    content: Annotated[list[str], typer.Option(help="Folder or tar of photos. Repeatable.")],
    steps: Annotated[int | None, typer.Option(min=1, help="For each style.", show_default="40")] = None,
    style_weight: Annotated[
        float | None,
        typer.Option(min=0, help="More is nearer to the painting, and farther from the photo.", show_default="24"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Which crops are drawn.", show_default="0")] = None,
    threads: ThreadsOption = None,
) -> None:
    """Fit the styles that come with a model to their paintings, by gradient; for your own: impasto style --fit."""
    import torch

    from impasto.train.fit import Fitting, fit_gallery

    if threads is not None:
        torch.set_num_threads(threads)
    print(fit_gallery(model, gallery, content, Fitting(**given(steps=steps, style_weight=style_weight, seed=seed))))
