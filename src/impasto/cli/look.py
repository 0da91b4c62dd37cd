"""Commands that show and fetch what there is: styles, models, info, fetch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from impasto.cli.common import JsonOption, ModelOption, print_json, print_table


def styles(model: ModelOption = None, as_json: JsonOption = False) -> None:
    """List the styles that a model knows by name: the paintings that ship, or those that it was trained on."""
    from impasto.model import find_model
    from impasto.style import gallery

    paintings = gallery()
    names = find_model(model).gallery if model is not None else paintings
    if as_json:
        print_json([paintings[name].describe() if name in paintings else {"name": name} for name in names])
        return
    if not all(name in paintings for name in names):
        print(*names, sep="\n")
        return
    from rich.table import Table

    table = Table("name", "title", "artist", "year", box=None)
    for painting in (paintings[name] for name in names):
        table.add_row(painting.name, painting.title, painting.artist, painting.year)
    print_table(table)


def models(as_json: JsonOption = False) -> None:
    """List the models that ship and the methods, what each is good for, and whether it runs here.

    How good they were measured to be is told with --json.
    """
    from importlib.util import find_spec

    from impasto.extras import EXTRAS
    from impasto.methods import METHODS
    from impasto.model import shipped_models
    from impasto.vgg19 import locate

    encoder = None if locate() else "impasto fetch vgg19"
    torch = None if find_spec("torch") else f"pip install impasto[{EXTRAS['torch']}]"
    rows: list[dict[str, Any]] = [
        {
            "name": model.name,
            "description": model.card.description or model.card.network,
            "bytes": sum(file.stat().st_size for file in model.folder.iterdir()),
            "quality": model.card.quality,
            "styles": len(model.gallery),
            "missing": encoder if model.card.encoder else None,
        }
        for model in shipped_models()
    ]
    for name, method in METHODS.items():
        rows.append({"name": name, "description": method.description, "bytes": 0, "quality": None, "styles": 0,
                     "missing": torch or encoder})  # fmt: skip
    if as_json:
        print_json([row | {"usable": row["missing"] is None} for row in rows])
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("name", "what it is good for", "size", "styles", "runs here", box=None)
    for row in rows:
        usable = f"no: {row['missing']}" if row["missing"] else "yes"
        size = f"{row['bytes'] / 1e6:.1f} MB" if row["bytes"] else "-"
        cells = row["name"], row["description"], size, str(row["styles"] or "-"), usable
        table.add_row(*map(escape, cells))  # a [train] would be taken for markup, and not be shown
    print_table(table)


def info(as_json: JsonOption = False) -> None:
    """Show versions, engines, the cache, and where VGG-19 and VGG-16 are."""
    import platform
    from importlib import metadata

    import onnxruntime

    from impasto import __version__
    from impasto.engine import installed_engines
    from impasto.vgg16 import FILES
    from impasto.vgg19 import cache_folder, find_files, locate

    def versions(*names: str) -> Iterator[tuple[str, str]]:
        for name in names:
            with contextlib.suppress(metadata.PackageNotFoundError):
                yield name, metadata.version(name)

    vgg19, vgg16 = locate(), next(find_files(FILES), None)
    facts = {
        "impasto": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **dict(versions("numpy", "pillow", "onnxruntime", "openvino", "torch")),
        "engines": installed_engines(),
        "onnxruntime providers": onnxruntime.get_available_providers(),
        "processor threads": os.cpu_count(),
        "cache": str(cache_folder()),
        "vgg19": str(vgg19) if vgg19 else None,
        "vgg16": str(vgg16) if vgg16 else None,
    }
    if as_json:
        print_json(facts)
        return
    for name, fact in facts.items():
        print(f"{name:22}", ", ".join(fact) if isinstance(fact, list) else fact or f"not here: impasto fetch {name}")


def fetch(
    name: Annotated[str, typer.Argument(help="What to fetch: vgg19 or vgg16.")],
    url: Annotated[str | None, typer.Option(help="Fetch it from here instead.")] = None,
    sha256: Annotated[str | None, typer.Option(help="What the file must hash to.")] = None,
) -> None:
    """Fetch weights that do not ship into the cache.

    vgg19 (77 MB) is for adain-relu3_1, adain-vgg19, methods and training; vgg16 (528 MB) for what asks for it by name.
    """
    from impasto import fetch as fetching

    print(fetching.fetch(name, url=url, sha256=sha256))
