"""The field's table: every photo of a benchmark in every artwork of it, measured in all the ways that papers do.

`FOLDER/content` and `FOLDER/style` hold the pictures; StyleID's 20 photos and 40 artworks (Chung, Hyun and Heo, CVPR
2024) make 800 pairs, 512 x 512. What is painted is compared with photo and artwork:

* content, style: the losses of AdaIN, see :mod:`impasto.evaluate.quality`;
* CFSD: how far the likeness of places to each other has changed, see :class:`Similarities`;
* histogram: distance of the colours, see :func:`histogram_loss`;
* SWD: sliced Wasserstein distance of the features, see :func:`sliced_wasserstein`;
* SSIM: of the lumas of painting and photo.

Two rows are bounds: the photo itself, which keeps all content, and the artwork itself, which is nothing but style. A
measure that alone decided would take one of them for the best painter.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from pathlib import Path, PurePath

import numpy as np
from rich.table import Table

from impasto.errors import ImpastoError
from impasto.evaluate.quality import square
from impasto.extras import explain_missing
from impasto.files import write_file
from impasto.graph import GraphStylizer
from impasto.image import Pixels
from impasto.loader import load
from impasto.progress import track
from impasto.style import Style
from impasto.stylizer import Stylizer

with explain_missing(__name__):
    import torch
    import torch.nn.functional as F
    from torch import Tensor

    from impasto.evaluate.metrics import Observer, ssim
    from impasto.losses import content_loss, style_loss, style_statistics
    from impasto.place import StoredPicture, find_pictures

SIZE = 512
PHOTO, ARTWORK = "the photo", "the artwork"
_SPARSE = 10  # methods that optimise paint one pair of so many
_ROWS = 256  # of a self-similarity at once: what a processor's cache holds
_BINS, _SMALL, _WIDTH, _LEAST = 64, 256, 0.02, 1e-6  # of the histograms
_DIRECTIONS, _PLACES = 32, 65_536  # of a sliced Wasserstein distance
_DRAWS = 1000  # of the bootstrap


class Similarities:
    """How alike the places of a photo are to each other, to tell how far a painting has changed that.

    With F the features of relu3_1, [HW, C], divided by C, and S = softmax(F F^T) by rows. All of it is kept, for one
    photo is compared with many paintings: 2 GiB for 512 x 512.

    Args:
        photo: float32 [1, C, H, W].
    """

    def __init__(self, photo: Tensor) -> None:
        self._rows = [(products, products.softmax(1)) for products in self._multiply(photo)]

    @staticmethod
    def _multiply(tap: Tensor) -> Iterator[Tensor]:
        vectors = tap[0].flatten(1).T / tap.shape[1]
        others = vectors.T.contiguous()
        for rows in torch.split(vectors, _ROWS):
            yield rows @ others

    @torch.inference_mode()
    def cfsd(self, painted: Tensor) -> float:
        """Computes the content feature structural distance to a painting's features, of the photo's shape.

        It is the sum over rows of KL(S of the photo || S of the painting), after StyleID's code (Chung, Hyun and Heo
        2024). Theirs are the features of torchvision's VGG-19, ours those of the normalised one, whose scale is
        another: figures compare among themselves.
        """
        total = 0.0
        for (goal, weights), own in zip(self._rows, self._multiply(painted), strict=True):
            # With d = goal - own, KL is log E[exp(E[d] - d)] under S of the photo. Logarithms of both S, whose entries
            # are nearly one in HW, would leave three digits of the difference in float32.
            changes = own.sub_(goal)
            changes -= torch.linalg.vecdot(weights, changes)[:, None]
            total += torch.linalg.vecdot(weights, changes.expm1_()).log1p().double().sum().item()
        return total


def color_histogram(pixels: Pixels) -> Tensor:
    """Counts the colours of a picture, uint8 [H, W, 3], as HistoGAN does (Afifi et al. 2021, section 3.1): [3, 64, 64].

    For each channel the logarithms of its ratios to the two others, from -3 to 3, each pixel counted by its length as a
    vector, in bins with the kernel 1 / (1 + (d / 0.02)^2); all three sum to 1. Larger pictures are scaled to 256 x 256.
    """
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].double() / 255
    if max(image.shape[2:]) > _SMALL:
        image = F.interpolate(image, size=(_SMALL, _SMALL), mode="bilinear")
    colors = image[0].flatten(1)
    lengths = (colors.square().sum(0) + _LEAST).sqrt()
    logs = (colors + _LEAST).log()
    centers = torch.linspace(-3, 3, _BINS, dtype=torch.float64)

    def near(ratio: Tensor) -> Tensor:
        return 1 / (1 + ((ratio[:, None] - centers) / _WIDTH).square())

    pairs = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
    found = torch.stack([(lengths[:, None] * near(logs[a] - logs[b])).T @ near(logs[a] - logs[c]) for a, b, c in pairs])
    return found / found.sum()


def histogram_loss(first: Tensor, second: Tensor) -> float:
    """Computes the Hellinger distance of two :func:`color_histogram`, 0..1 (Afifi et al. 2021, equation 4)."""
    return float((first.sqrt() - second.sqrt()).norm() / 2**0.5)


def slices(taps: Sequence[Tensor]) -> list[Tensor]:
    """Projects the features of each tap, [1, C, H, W], on 32 directions, always the same, and sorts: [32, places].

    Of the finer taps only every second or fourth place across and down counts, so that none has more than 65,536.
    """
    found = []
    for features in taps:
        step = max(1, round((features.shape[2] * features.shape[3] / _PLACES) ** 0.5))
        places = features[0, :, ::step, ::step].flatten(1)
        directions = torch.randn(_DIRECTIONS, len(places), generator=torch.Generator().manual_seed(len(places)))
        found.append((F.normalize(directions, dim=1) @ places).sort(1).values)
    return found


def sliced_wasserstein(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Computes the squared sliced 2-Wasserstein distance of two :func:`slices`, summed over the taps.

    Of two clouds of feature vectors it is the mean, over directions, of the squared distance of their sorted
    projections (Heitz et al. 2021, equation 4).
    """
    return sum(float((a - b).square().mean()) for a, b in zip(first, second, strict=True))


@dataclass(frozen=True)
class Measures:
    """What one painting scores; see the module."""

    content: float
    style: float
    cfsd: float
    histogram: float
    swd: float
    ssim: float

    def cells(self) -> list[str]:
        """Gives the figures as text, in order."""
        return [f"{value:.6g}" for value in astuple(self)]


NAMES = tuple(field.name for field in fields(Measures))
_HEADER = ["model", "photo", "artwork", *NAMES]


@dataclass(frozen=True)
class Row:
    """What a model scores: mean of each measure, and the interval that 95 of 100 benchmarks like this would give."""

    model: str
    pairs: int
    means: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


class _Look:
    """What is known of one picture, uint8 [512, 512, 3]."""

    def __init__(self, observe: Observer, pixels: Pixels) -> None:
        taps = observe.taps(pixels)
        self.pixels, self.relu3_1, self.content = pixels, taps[2], taps[3]
        self.statistics, self.slices, self.colors = style_statistics(taps), slices(taps), color_histogram(pixels)

    @cached_property
    def similarities(self) -> Similarities:
        return Similarities(self.relu3_1)

    def measure(self, photo: _Look, artwork: _Look) -> Measures:
        return Measures(
            content=content_loss(self.content, photo.content).item(),
            style=style_loss(self.statistics, artwork.statistics).item(),
            cfsd=0.0 if self is photo else photo.similarities.cfsd(self.relu3_1),
            histogram=histogram_loss(self.colors, artwork.colors),
            swd=sliced_wasserstein(self.slices, artwork.slices),
            ssim=ssim(self.pixels, photo.pixels),
        )


def run_benchmark(
    models: Sequence[str],
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
    limit: int | None = None,
) -> list[Row]:
    """Measures models on every pair of a benchmark; methods that optimise on a tenth of the pairs.

    Args:
        models: names of models, model folders or methods.
        folder: with `content` and `style` in it.
        out: a CSV file, a line for each painting. What is in it already is not painted again, so a run that was stopped
            goes on; give another name to begin anew.
        engine, threads, precision: see :func:`impasto.loader.load`.
        limit: take only so many photos.

    Raises:
        ImpastoError: a model, the folder or a picture cannot be read, `out` is of something else or cannot be written,
            or the VGG-19 weights are not on this machine.
    """
    photos, artworks = (find_pictures(os.path.join(folder, name)) for name in ("content", "style"))
    photos = photos[:limit]
    loaded = [(str(name), load(name, engine=engine, threads=threads, precision=precision)) for name in models]
    painters = {f"{name} {painter.fingerprint[:8]}": painter for name, painter in loaded}  # other weights, other lines
    out, known = Path(out), _read(Path(out))
    wanted = _list_pairs(painters, photos, artworks)
    missing = [pair for pair in wanted if pair not in known]
    if threads is not None:
        torch.set_num_threads(threads)
    lines = [_HEADER, *([*key, *measures.cells()] for key, measures in known.items())]
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    write_file(out, text.getvalue().encode())
    with out.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for key, measures in track(_measure(painters, photos, artworks, missing), "styleid", len(missing)):
            known[key] = measures
            writer.writerow([*key, *measures.cells()])
            file.flush()
    return [
        _average(model, {key: known[key] for key in wanted if key[0] == model}) for model in (PHOTO, ARTWORK, *painters)
    ]


_Key = tuple[str, str, str]  # model, photo, artwork


def _list_pairs(
    painters: Mapping[str, Stylizer], photos: Sequence[StoredPicture], artworks: Sequence[StoredPicture]
) -> list[_Key]:
    """Lists what is to be measured, photo by photo."""
    slow = {name for name, painter in painters.items() if not isinstance(painter, GraphStylizer)}
    return [
        (name, photo.name, artwork.name)
        for row, photo in enumerate(photos)
        for column, artwork in enumerate(artworks)
        for name in (PHOTO, ARTWORK, *painters)
        if name not in slow or (row + column) % _SPARSE == 0
    ]


def _measure(
    painters: Mapping[str, Stylizer],
    photos: Sequence[StoredPicture],
    artworks: Sequence[StoredPicture],
    missing: Sequence[_Key],
) -> Iterator[tuple[_Key, Measures]]:
    """Paints and measures what is missing, one photo after the other."""
    observe = Observer()
    by_name = [{entry.name: entry for entry in entries} for entries in (photos, artworks)]
    looks: dict[str, _Look] = {}  # at artworks, which all photos are painted in
    styles: dict[tuple[str, str], Style] = {}
    last: tuple[str, _Look] | None = None
    for key in missing:
        model, photo, artwork = key
        if last is None or last[0] != photo:
            last = photo, _Look(observe, square(by_name[0][photo], SIZE))
        if artwork not in looks:
            looks[artwork] = _Look(observe, square(by_name[1][artwork], SIZE))
        own, goal = last[1], looks[artwork]
        if model in (PHOTO, ARTWORK):
            yield key, (own if model == PHOTO else goal).measure(own, goal)
            continue
        painter = painters[model]
        if (model, artwork) not in styles:
            styles[model, artwork] = painter.style(goal.pixels, size=SIZE, name=PurePath(artwork).stem)
        painted = np.asarray(painter.stylize(own.pixels, styles[model, artwork]))
        yield key, _Look(observe, painted).measure(own, goal)


def _read(path: Path) -> dict[_Key, Measures]:
    """Reads what an earlier run has measured; a last line that was cut off is measured again."""
    if not path.exists():
        return {}
    try:
        text = path.read_text("utf-8")
        header, *lines = csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))
        if header != _HEADER:
            raise ValueError
        return {(model, photo, artwork): Measures(*map(float, figures)) for model, photo, artwork, *figures in lines}
    except (OSError, TypeError, ValueError):
        raise ImpastoError(f"{path} is no table of this benchmark: name another file") from None


def _average(model: str, scores: Mapping[_Key, Measures]) -> Row:
    values = {name: [getattr(measures, name) for measures in scores.values()] for name in NAMES}
    photos, artworks = ([key[side] for key in scores] for side in (1, 2))
    return Row(
        model,
        len(scores),
        {name: float(np.mean(own)) for name, own in values.items()},
        {name: bootstrap(own, photos, artworks) for name, own in values.items()},
    )


def bootstrap(values: Sequence[float], photos: Sequence[str], artworks: Sequence[str]) -> tuple[float, float]:
    """Estimates where 95 of 100 means would lie if photos and artworks were drawn anew (Efron's percentile interval).

    Both are drawn with replacement, and a pair counts as often as its photo and its artwork together: pairs of one
    photo are not independent, so drawing pairs would promise too much.
    """
    rows, columns = (np.unique(names, return_inverse=True)[1] for names in (photos, artworks))
    draw, own = np.random.default_rng(0), np.asarray(values)
    means = []
    for _ in range(_DRAWS):
        counts = [
            np.bincount(draw.integers(0, side.max() + 1, side.max() + 1), minlength=side.max() + 1)
            for side in (rows, columns)
        ]
        weights = counts[0][rows] * counts[1][columns]
        if weights.sum():
            means.append(np.average(own, weights=weights))
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def table(rows: Sequence[Row]) -> Table:
    """Lays the figures out for a terminal, each with its interval."""
    made = Table(title="Means over the pairs, with 95 % intervals", title_justify="left")
    for column in ("model", "pairs", *NAMES):
        made.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        cells = (
            f"{row.means[name]:.3f} ({row.intervals[name][0]:.3f} to {row.intervals[name][1]:.3f})" for name in NAMES
        )
        made.add_row(row.model, str(row.pairs), *cells)
    return made


def to_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Gives the figures, ready for ``json.dumps``."""
    return [{"model": row.model, "pairs": row.pairs, "means": row.means, "intervals": row.intervals} for row in rows]
