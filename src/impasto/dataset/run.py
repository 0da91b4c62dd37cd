"""A data set in, its paintings out, on a Ray cluster or on the cores of one machine."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data

from impasto.checks import read_whole
from impasto.cluster import Pool, join, locate_model
from impasto.dataset.manifest import Manifest, ManifestRow
from impasto.dataset.paint import SourcePainter
from impasto.dataset.recipe import Recipe
from impasto.errors import ImpastoError
from impasto.loader import load
from impasto.place import PICTURES, Place
from impasto.progress import track
from impasto.style import Style, pack_palette, unpack_palette

_BLOCK = 32  # pictures at most that one worker is given at a time: what is done anew when it is killed


@dataclass(frozen=True)
class DatasetResult:
    """What :func:`stylize_dataset` did.

    Attributes:
        rows: the manifest, sorted by output.
        broken_styles: style pictures that cannot be read, with the reason; they were passed over.
        seconds: that painting took.
    """

    rows: list[ManifestRow]
    broken_styles: dict[str, str]
    seconds: float

    @property
    def errors(self) -> list[ManifestRow]:
        """Rows of what cannot be read, and of paintings that their format or the output folder cannot hold."""
        return [row for row in self.rows if row.error]


def stylize_dataset(
    source: str,
    styles: Sequence[str],
    out: str,
    recipe: Recipe | None = None,
    *,
    model: str = "adain",
    engine: str = "auto",
    precision: str = "fp32",
    workers: int | None = None,
    threads: int = 1,
    address: str | None = None,
    fail_fast: bool = False,
) -> DatasetResult:
    """Paints every picture of a data set and writes it under the same name elsewhere, with a manifest.

    What a picture becomes is decided by its name and the recipe alone: a rerun, another order or another number of
    workers give the same bytes. Run again, it goes on where it stopped, and paints anew what is missing or differs from
    what its row in the manifest says.

    Args:
        source: a folder, or a tar shard, by path or by any URL that fsspec understands. Shards (WebDataset) come out as
            shards, with everything in them that is not a photo.
        styles: folders of pictures, single pictures, ``.style`` files, or names of shipped styles.
        out: the folder to write to, likewise.
        recipe: how to paint.
        model, engine, precision: see :func:`impasto.load`; a method works too, slowly. Where sizes change from picture
            to picture int8 is no faster.
        workers: painters at a time; None for as many as the cluster has room for.
        threads: processor threads of each. One is best where pictures are small and many.
        address: of a running Ray cluster; None starts one on this machine.
        fail_fast: stop at the first picture that cannot be read or painted.

    Raises:
        ImpastoError: nothing to do, an output that cannot be written, or, with `fail_fast`, a broken picture. What was
            painted until then stays, and the next run goes on from there.
    """
    recipe = recipe or Recipe()
    workers = None if workers is None else read_whole(1, workers=workers)
    threads = read_whole(1, threads=threads)
    pictures, target = Place(source), Place(out)
    if private := next((place for place in (pictures, target) if place.is_private), None):
        raise ImpastoError(f"{private} is in the memory of this process, which the painters cannot see: give a folder")
    if pictures.holds(target) or target.holds(pictures):
        raise ImpastoError(f"{out} and {source} lie in one another: write the paintings somewhere else")
    names = pictures.find(PICTURES | {"tar"})
    if not names:
        raise ImpastoError(f"no pictures and no tar shards in {source}")
    named = _list_styles(styles)
    manifest = Manifest(target)
    manifest.save()  # the folder is made and written to before the work begins
    pool = _join_cluster(address, workers, threads)
    loading = {"model": locate_model(model), "engine": engine, "precision": precision, "threads": threads}
    taken, broken = _take_styles(named, loading, recipe.style_size, pool)
    items = _pair_with_known(names, manifest)
    arguments = {**loading, "source": pictures, "out": target, "recipe": recipe, "styles": ray.put(taken)}
    start = time.monotonic()
    try:
        for result in track(_work_through(items, _PicturePainter, arguments, pool), "Painting", len(items)):
            if result["fatal"]:
                raise ImpastoError(f"{json.loads(result['fatal'])}; what is done stays, run it again to go on")
            rows = [ManifestRow(**row) for row in json.loads(result["rows"])]
            manifest.add(rows)
            if fail_fast and (wrong := next((row for row in rows if row.error), None)):
                raise ImpastoError(f"{wrong.input}: {wrong.error}")
    except BaseException:
        manifest.save()
        raise
    target.sweep()
    return DatasetResult(manifest.finish(), broken, time.monotonic() - start)


def _pair_with_known(names: Sequence[str], manifest: Manifest) -> list[dict[str, Any]]:
    """What a worker is given: each picture or shard, with the rows that earlier runs have left of it.

    As JSON, for Ray takes no text that is none, as names of files may be.
    """
    known: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for row in manifest.known.values():
        for name in (row.input, row.input.partition(".tar/")[0] + ".tar"):
            if name in known:
                known[name].append(asdict(row))
    return [{"item": json.dumps([name, rows])} for name, rows in known.items()]


def _join_cluster(address: str | None, workers: int | None, threads: int) -> Pool:
    """Joins a cluster, or starts one on this machine; no more workers than wanted."""
    pool = join(address, threads)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return pool._replace(workers=min(workers or pool.workers, pool.workers))


def _work_through(
    items: list[dict[str, Any]], worker: type, arguments: dict[str, Any], pool: Pool
) -> Iterator[dict[str, Any]]:
    """Has workers make something of each item; gives it as it comes. One that dies is replaced, its items done anew."""
    size = max(1, min(_BLOCK, len(items) // (4 * pool.workers)))
    blocks = -(-len(items) // size)
    data = ray.data.from_items(items, override_num_blocks=blocks).map(
        worker,
        fn_constructor_kwargs=arguments,
        compute=ray.data.ActorPoolStrategy(size=min(pool.workers, blocks)),
        num_cpus=0 if pool.gpus else pool.cores,
        num_gpus=pool.gpus,
    )
    yield from data.iter_rows()


def _list_styles(sources: Sequence[str]) -> list[dict[str, Any]]:
    """What a worker is given: each picture of a style, or what else is one."""
    items = []
    for source in sources:
        place = Place(source)
        names = place.find(PICTURES) if place.exists() and not source.endswith(".style") else []
        path = str(Path(source).resolve()) if Path(source).exists() else source
        found = [(place.absolute_url, name, "") for name in names] or [("", source, path)]
        items += [{"item": json.dumps(one)} for one in found]
    return items


def _take_styles(
    items: list[dict[str, Any]], loading: dict[str, Any], size: int, pool: Pool
) -> tuple[list[Style], dict[str, str]]:
    """Takes the styles; gives them sorted by name, and for those that cannot be taken, why."""
    taken, broken = [], {}
    results = _work_through(items, _StyleTaker, {**loading, "size": size}, pool)
    for result in track(results, "Taking styles", len(items)):
        name, why = json.loads(result["said"])
        if why:
            broken[name] = why
        else:
            palette = unpack_palette(result["palette"].reshape(4, 3)) if len(result["palette"]) else None
            taken.append(Style(name, np.asarray(result["tensor"], np.float32), result["model"], palette=palette))
    if not taken:
        name, why = next(iter(broken.items()))
        raise ImpastoError(f"no style can be taken; {name}: {why}")
    return sorted(taken, key=lambda style: style.name), broken


class _StyleTaker:
    """A worker that takes styles."""

    def __init__(self, size: int, **loading: Any) -> None:
        self._stylizer, self._size = load(**loading), size

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        folder, name, path = json.loads(item["item"])
        try:
            source = Place(folder).read(name) if folder else path
            style = self._stylizer.style(source, size=self._size, name=name)
        except ImpastoError as error:
            nothing = np.empty(0, np.float32)
            return {"said": json.dumps([name, str(error)]), "tensor": nothing, "palette": nothing, "model": ""}
        palette = np.empty(0, np.float32) if style.palette is None else pack_palette(style.palette).ravel()
        said = json.dumps([name, ""])
        return {"said": said, "tensor": style.tensor, "palette": palette, "model": style.model}


class _PicturePainter:
    """A worker that paints pictures and shards."""

    def __init__(self, source: Place, out: Place, recipe: Recipe, styles: Any, **loading: Any) -> None:
        self._painter = SourcePainter(load(**loading), source, out, ray.get(styles), recipe)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        name, rows = json.loads(item["item"])
        try:
            rows = self._painter.paint(name, {row["output"]: ManifestRow(**row) for row in rows})
        except ImpastoError as error:
            return {"rows": "[]", "fatal": json.dumps(str(error))}
        return {"rows": json.dumps([asdict(row) for row in rows]), "fatal": ""}
