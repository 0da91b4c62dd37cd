"""The command for whole data sets."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from impasto.cli.common import (
    AddressOption,
    EngineOption,
    JsonOption,
    KeepColorOption,
    ModelOption,
    PrecisionOption,
    SeedOption,
    StrokeSizeOption,
    StyleOption,
    StyleSizeOption,
    given,
    print_json,
    printable,
    short_side_option,
)


def dataset(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Folder of pictures or tar shards.")],
    style: StyleOption,
    out: Annotated[str, typer.Option("--out", "-o", help="Folder to write to.")],
    per_image: Annotated[int | None, typer.Option(help="Styles for each picture.", show_default="1")] = None,
    strength: Annotated[
        str | None,
        typer.Option(help="How much style, or a range to draw it from, like 0.5..1.", show_default="1"),
    ] = None,
    short_side: Annotated[int | None, short_side_option("as they are")] = None,
    crop: Annotated[int | None, typer.Option(help="Then cut out the centre square of this side.")] = None,
    keep_color: KeepColorOption = None,
    stroke_size: StrokeSizeOption = None,
    style_size: StyleSizeOption = None,
    members: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Which pictures in shards are photos, like *.jpg; the others are copied.",
            show_default="KEY.jpg before KEY.png and so on, not KEY.seg.png",
        ),
    ] = None,
    seed: SeedOption = None,
    model: ModelOption = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "fp32",
    workers: Annotated[
        int | None,
        typer.Option(
            help="Painters at a time, on Ray if more than 1.", show_default="1, or all there is room for once they pay"
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads of each painter.", show_default="1")] = None,
    address: AddressOption = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first broken picture.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a finished set in --out that was painted otherwise.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Paint a whole data set, each picture in a style drawn by its name. Run it again to go on after a stop.

    SRC, --style and --out take URLs of folders, too, like s3://photos/train.

    What cannot be read or written is reported and passed over; the exit code is then 2.
    """
    from impasto.controls import read_range
    from impasto.dataset import Recipe, stylize_dataset

    drawn = given(per_image=per_image, short_side=short_side, crop=crop, keep_color=keep_color, stroke_size=stroke_size,
                  style_size=style_size, members=members, seed=seed)  # fmt: skip
    if strength is not None:
        drawn["strength"] = read_range(strength)
    chosen = given(model=model, engine=engine, precision=precision, workers=workers, threads=threads, address=address)
    result = stylize_dataset(source, style, out, Recipe(**drawn), fail_fast=fail_fast, overwrite=overwrite, **chosen)
    for name, why in result.broken_styles.items():
        print(printable(f"passed over the style {name}: {why}"), file=sys.stderr)
    for row in result.errors:
        print(printable(f"passed over {row.input}: {row.error}"), file=sys.stderr)
    done = len(result.rows) - len(result.errors)
    if as_json:
        print_json({"paintings": done, "errors": len(result.errors), "seconds": round(result.seconds, 1)})
    else:
        print(f"{out}: {done} paintings" + (f", {len(result.errors)} passed over" if result.errors else ""))
    if result.errors or result.broken_styles:
        raise typer.Exit(2)
