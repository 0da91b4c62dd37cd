"""A data set in, its paintings out: painted in this process, or by workers where those are the quicker."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from impasto.checks import read_whole
from impasto.cluster import locate_model
from impasto.dataset.crew import Crew
from impasto.dataset.manifest import Manifest, ManifestRow
from impasto.dataset.paint import SourcePainter
from impasto.dataset.recipe import Recipe
from impasto.errors import ImpastoError, IncompleteWarning
from impasto.methods import METHODS
from impasto.model import find_model
from impasto.place import PICTURES, Place, is_shard
from impasto.progress import track
from impasto.style import Style
from impasto.stylizer import Stylizer


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
    overwrite: bool = False,
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
        workers: painters at a time. 1 paints in this process, more are started on Ray; None begins in this process, and
            starts as many as there is room for if more than :data:`impasto.dataset.crew.WORTH` seconds of work are
            left, or shards to paint.
        threads: processor threads of each. One is best where pictures are small and many.
        address: of a running Ray cluster, for all of the work; None starts one on this machine where it pays.
        fail_fast: stop at the first picture that cannot be read or painted.
        overwrite: replace a finished set in `out` that was painted otherwise; else that is an error.

    Raises:
        ImpastoError: nothing to do, fewer styles than each picture is to be painted in, an output that cannot be
            written or holds another set, or, with `fail_fast`, a broken picture. What was painted until then stays, and
            the next run goes on from there.
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
    _require_styles(recipe, len(named))
    manifest = Manifest(target)
    if not manifest.finished:
        manifest.save()  # the folder is made and written to before the work begins
    loading = {"model": locate_model(model), "engine": engine, "precision": precision, "threads": threads}
    shards = len(names) > 1 and any(map(is_shard, names))  # one alone may be long work
    crew = Crew(loading, workers, threads, address, at_once=shards and not manifest.finished)
    taken, broken = _take_styles(named, recipe.style_size, crew, {} if model in METHODS else find_model(model).gallery)
    _require_styles(recipe, len(taken))
    if not overwrite:
        _spare_finished(manifest, recipe, taken, out)
    items = _pair_with_known(names, manifest)
    start = time.monotonic()
    try:
        job = _Painting(pictures, target, taken, recipe)
        for rows in track(crew.work_through(job, items), "Painting", len(items)):
            try:
                manifest.add(rows)
            except ImpastoError as error:
                raise _say_it_stays(error) from None
            if fail_fast and (wrong := next((row for row in rows if row.error), None)):
                raise ImpastoError(f"{wrong.input}: {wrong.error}")
    except BaseException:
        with contextlib.suppress(ImpastoError):  # what went wrong first is what is told
            manifest.save()
        raise
    target.sweep()
    rows = manifest.finish()
    if overwrite:
        painted = {row.output for row in rows if row.sha256}
        for output in manifest.finished.keys() - painted:
            if ".tar/" not in output:
                target.remove(output)
    return DatasetResult(rows, broken, time.monotonic() - start)


def _require_styles(recipe: Recipe, count: int) -> None:
    if count < recipe.per_image:
        styles = "style" if count == 1 else "styles"
        raise ImpastoError(
            f"--per-image {recipe.per_image} paints each picture in {recipe.per_image} different styles, and there "
            f"{'is' if count == 1 else 'are'} only {count} {styles}: give more of them"
        )


def _spare_finished(manifest: Manifest, recipe: Recipe, styles: Sequence[Style], out: str) -> None:
    """Raises `ImpastoError` if there is a finished set of which a painting would be made in another way now."""
    made = [row for row in manifest.finished.values() if row.sha256]
    digests = [recipe.digest(style.digest()) for style in styles]
    for row in made:
        drawn = [(styles[number].name, digests[number], at) for number, at in recipe.draw(row.input, len(styles))]
        same = (row.style, row.recipe, row.strength) in drawn and row.seed == recipe.seed
        if not same or row.model != styles[0].model:
            break
    else:
        return
    before = sorted({row.style for row in made})
    if set(before) <= {style.name for style in styles}:
        how = "that were painted otherwise"
    else:
        how = f"in {', '.join(before[:3])}" + (f" and {len(before) - 3} more" if len(before) > 3 else "")
    raise ImpastoError(
        f"{out} holds a finished set of {len(made)} paintings {how}: give another --out, or --overwrite to replace it"
    )


def _pair_with_known(names: Sequence[str], manifest: Manifest) -> list[tuple[str, list[ManifestRow]]]:
    """What is painted at a time: each picture or shard, with the rows that earlier runs have left of it."""
    known: dict[str, list[ManifestRow]] = {name: [] for name in names}
    for row in manifest.known.values():
        for name in (row.input, row.input.partition(".tar/")[0] + ".tar"):
            if name in known:
                known[name].append(row)
    return list(known.items())


@dataclass(frozen=True)
class _Painting:
    """The job of painting a picture or shard, see `SourcePainter`."""

    source: Place
    out: Place
    styles: Sequence[Style]
    recipe: Recipe

    def __call__(self, open_model: Callable[[], Stylizer], item: tuple[str, list[ManifestRow]]) -> list[ManifestRow]:
        name, rows = item
        painter = SourcePainter(open_model, self.source, self.out, self.styles, self.recipe)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", IncompleteWarning)  # which nobody would hear from a worker
                return painter.paint(name, {row.output: row for row in rows})
        except ImpastoError as error:
            raise _say_it_stays(error) from None


def _say_it_stays(error: ImpastoError) -> ImpastoError:
    return ImpastoError(f"{error}; what is done stays, run it again to go on")


def _list_styles(sources: Sequence[str]) -> list[tuple[str, str, str]]:
    """What styles are taken from: the folder's URL, the name, and of what is in no folder its whole path or name."""
    items = []
    for source in sources:
        place = Place(source)
        names = place.find(PICTURES) if place.exists() and not source.endswith(".style") else []
        path = str(Path(source).resolve()) if Path(source).exists() else source
        items += [(place.absolute_url, name, "") for name in names] or [("", source, path)]
    return items


def _take_styles(
    items: list[tuple[str, str, str]], size: int, crew: Crew, shipped: Mapping[str, Style]
) -> tuple[list[Style], dict[str, str]]:
    """Takes the styles; gives them sorted by name, and for those that cannot be taken, why.

    Those that come with the model need no network, which would take longer to open than a finished set to check.
    """
    others = [item for item in items if item[2] not in shipped]
    taken = [shipped[path] for _, _, path in items if path in shipped]
    broken = {}
    if others:
        for name, style in track(crew.work_through(_StyleTaking(size), others), "Taking styles", len(others)):
            if isinstance(style, Style):
                taken.append(style)
            else:
                broken[name] = style
    if not taken:
        name, why = next(iter(broken.items()))
        raise ImpastoError(f"no style can be taken; {name}: {why}")
    return sorted(taken, key=lambda style: style.name), broken


@dataclass(frozen=True)
class _StyleTaking:
    """The job of taking a style at a size: gives its name with the style, or with why there is none."""

    size: int

    def __call__(self, open_model: Callable[[], Stylizer], item: tuple[str, str, str]) -> tuple[str, Style | str]:
        folder, name, path = item
        stylizer = open_model()
        try:
            source = Place(folder).read(name) if folder else path
            style = stylizer.style(source, size=self.size, name=name)
        except ImpastoError as error:
            return name, str(error)
        return name, replace(style, picture=None, alpha=None) if style.tensor.size else style
