"""Commands that train: train, fit."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, get_type_hints

import typer

from impasto.cli.common import (
    ContentOption,
    OptionalStylePicturesOption,
    SeedOption,
    ThreadsOption,
    given,
    short_side_option,
)
from impasto.errors import ImpastoError
from impasto.networks import NETWORKS

_SETTINGS = "Settings (what is left out is the network's recipe)"


def add_setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command, in place of its ``**settings``, an option for every setting of every network."""
    options: dict[str, inspect.Parameter] = {}
    for entry in NETWORKS.values():
        hints = get_type_hints(entry.settings)
        for name, facts in entry.settings.describe().items():
            option = typer.Option(help=facts["help"], rich_help_panel=_SETTINGS)
            annotation = Annotated[Optional[hints[name]], option]  # type: ignore[valid-type]  # noqa: UP045
            options.setdefault(
                name, inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            )
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    command.__signature__ = signature.replace(parameters=[*own, *options.values()])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in [*own, *options.values()]}
    return command


@add_setting_options
def train(
    network: Annotated[str, typer.Argument(metavar="|".join(NETWORKS), help="What to train.")],
    content: ContentOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for checkpoint and log.")],
    style: OptionalStylePicturesOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    start: Annotated[str | None, typer.Option(help="Begin with the weights of this model.")] = None,
    add: Annotated[
        list[str] | None, typer.Option(help="Picture of a style to teach the model of --start, all else frozen.")
    ] = None,
    norm: Annotated[
        Literal["instance", "batch", "renorm"] | None,
        typer.Option(help="How feedforward, johnson or ulyanov normalises.", show_default="instance, johnson: batch"),
    ] = None,
    width: Annotated[int | None, typer.Option(help="Channels, of all networks with styles of their own.")] = None,
    upsampling: Annotated[
        Literal["linear", "strided"] | None,
        typer.Option(help="How stylebank doubles sizes; strided as in its paper.", show_default="linear"),
    ] = None,
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
    short_side: Annotated[int, short_side_option(True)] = 512,
    device: Annotated[str | None, typer.Option(help="cpu, to leave an accelerator alone.")] = None,
    threads: ThreadsOption = None,
    **settings: Any,
) -> None:
    """Train a network: adain is the paper's decoder, compact the default model.

    On several devices: accelerate launch -m impasto train ...
    """
    if network not in NETWORKS:
        raise ImpastoError(f"no network {network}: choose {', '.join(NETWORKS)}")

    import torch

    from impasto.networks import choose_settings
    from impasto.train.loop import train as run
    from impasto.train.task import make_task

    if threads is not None:
        torch.set_num_threads(threads)
    chosen = choose_settings(network, **given(**settings))
    own = NETWORKS[network].network_class().own_styles
    if not style and not add:
        raise ImpastoError("no style to learn: give --style" + (", or --start and --add" if own else ""))
    if add and not (own and start):
        others = ", ".join(name for name, entry in NETWORKS.items() if entry.network_class().own_styles)
        raise ImpastoError(f"--add teaches the model of --start another style: for {others} only")
    pictures = {"style": style or [], "add": add or []} if own else {}
    task = make_task(
        network,
        chosen,
        start,
        **pictures,
        **given(norm=norm, width=width, upsampling=upsampling, decoder=decoder, layer=layer),
    )
    run(
        task,
        content,
        None if own else style,
        chosen,
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
    content: ContentOption,
    steps: Annotated[int | None, typer.Option(min=1, help="For each style.", show_default="40")] = None,
    style_weight: Annotated[
        float | None,
        typer.Option(min=0, help="More is nearer to the painting, and farther from the photo.", show_default="24"),
    ] = None,
    seed: SeedOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Fit the styles that come with a model to their paintings, by gradient; for your own: impasto style --fit."""
    import torch

    from impasto.train.fit import Fitting, fit_gallery

    if threads is not None:
        torch.set_num_threads(threads)
    print(fit_gallery(model, gallery, content, Fitting(**given(steps=steps, style_weight=style_weight, seed=seed))))
