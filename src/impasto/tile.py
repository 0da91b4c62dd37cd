"""Huge pictures, tile by tile: in bounded memory, without seams, and the same to the pixel as in one piece.

What a network makes of a pixel depends on what lies within its reach, and on the content statistics of the picture.
So each tile is run with a halo as wide as the reach, and all tiles with the statistics of the whole picture. Those of
a layer can only be measured once all layers that it depends on use theirs: the tiles are gone through several times.
In a pass over the tiles statistics pool exactly (Chan, Golub and LeVeque 1979); the halo is there twice, so it counts
for nothing. One more pass paints.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import NamedTuple, Protocol

import numpy as np

from impasto.controls import TileStatistics
from impasto.image import Pixels, to_uint8
from impasto.model import Model
from impasto.progress import meter
from impasto.style import EPS

THUMBNAIL = 1_000_000  # pixels of the small version of a picture that statistics can be taken from
WHOLE = np.ones((1, 1, 1, 1), np.float32)  # the mask of one style for the whole picture
_HALO = 1e-6  # weight of the halo in statistics: where a region has no other pixel, its statistics stay defined
_NOWHERE = 1e-12  # weight of a region where it is not, for the same reason


class Span(NamedTuple):
    """A stretch of one side of the picture: what a tile shows, and what of it counts."""

    outer: slice
    inner: slice

    @property
    def within(self) -> slice:
        """The stretch that counts, in pixels from the beginning of `outer`."""
        return slice(self.inner.start - self.outer.start, self.inner.stop - self.outer.start)


class Tile(NamedTuple):
    """One of the parts that a picture is cut to."""

    rows: Span
    columns: Span


def cut_side(length: int, window: int, halo: int, stride: int) -> list[Span]:
    """Cuts a side to stretches of up to `window` pixels, whose inner parts cover it once.

    All begin at multiples of `stride`, as the features do, and are of one length but for the last, which may be up to
    a stride shorter: engines prepare themselves for every new size.

    Args:
        length: of the side in pixels.
        window, halo: multiples of `stride`; an inner part keeps `halo` away from where the picture is cut.
        stride: pixels.

    >>> [(span.inner.start, span.inner.stop) for span in cut_side(96, 64, 16, 4)]
    [(0, 48), (48, 96)]
    """
    if length <= window:
        return [Span(slice(0, length), slice(0, length))]
    last = -(-(length - window) // stride) * stride
    starts = [*range(0, last, window - 2 * halo), last]
    cuts = [0, *(start + halo for start in starts[1:]), length]
    return [
        Span(slice(start, min(start + window, length)), slice(*cut))
        for start, cut in zip(starts, pairwise(cuts), strict=True)
    ]


class Scene(Protocol):
    """A picture that need not lie in memory, and where the styles go in it.

    Attributes:
        height, width: in pixels.
    """

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    def pixels(self, rows: slice, columns: slice) -> Pixels:
        """A part of the picture, uint8 [h, w, 3]."""
        ...

    def regions(self, rows: slice, columns: slice) -> np.ndarray | None:
        """That part of the regions, float32 [K, 1, h, w], see :class:`impasto.mask.Regions`."""
        ...


@dataclass(frozen=True)
class InMemory:
    """A picture, uint8 [H, W, 3], and its regions, float32 [K, 1, H, W] or None."""

    picture: Pixels
    mask: np.ndarray | None

    @property
    def height(self) -> int:
        return int(self.picture.shape[0])

    @property
    def width(self) -> int:
        return int(self.picture.shape[1])

    def pixels(self, rows: slice, columns: slice) -> Pixels:
        return self.picture[rows, columns]

    def regions(self, rows: slice, columns: slice) -> np.ndarray | None:
        return None if self.mask is None else self.mask[:, :, rows, columns]


class Run(Protocol):
    """The content graph in a certain look, see :class:`impasto.engine.Inputs`."""

    def __call__(
        self, pixels: Pixels, mask: np.ndarray, stats: np.ndarray, inertia: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]: ...


class Known(NamedTuple):
    """Content statistics as far as they are known.

    Attributes:
        stats: float32 [K, T].
        known: float32 [T], 1 where a statistic is that of the whole picture, 0 where it is still to be measured.
    """

    stats: np.ndarray
    known: np.ndarray


class Tiling:
    """A picture cut to tiles, and what is done with them.

    Args:
        scene: the picture.
        model: what paints it; its card knows reach and strides.
        run: runs it in the look that is asked for.
        regions: K, how many.
        window: side of a tile with its halo, in pixels.

    Attributes:
        tiles: row by row.
    """

    def __init__(self, scene: Scene, model: Model, run: Run, regions: int, window: int) -> None:
        self._scene, self._model, self._run, self._regions = scene, model, run, regions
        stride = max(model.strides)
        halo = -(-model.reach // stride) * stride
        window = max(window // stride * stride, 2 * halo + stride)
        rows, columns = (cut_side(length, window, halo, stride) for length in (scene.height, scene.width))
        self.tiles = [Tile(*tile) for tile in product(rows, columns)]
        ends = np.cumsum([0, *(2 * channels for channels in model.channels)])
        self._layers = [slice(*pair) for pair in pairwise(ends.tolist())]

    @property
    def nothing(self) -> Known:
        """What is known before the first pass."""
        size = self._model.stats_size
        return Known(np.ones((self._regions, size), np.float32), np.zeros(size, np.float32))

    def passes_left(self, known: Known) -> int:
        """How many times the tiles have to be measured for what is not known yet."""
        return sum(not known.known[self._layers[layers[0]]].all() for layers in self._passes)

    def measure(
        self, known: Known, done: Callable[[], None], save: Callable[[Known], None] | None = None
    ) -> np.ndarray:
        """Measures the content statistics [K, T] of the whole picture.

        Args:
            known: what is there already; :attr:`nothing` to begin with.
            done: called after each tile.
            save: called after each pass.
        """
        for layers in self._passes[len(self._passes) - self.passes_left(known) :]:
            known = self._measure_pass(layers, known, done)
            if save is not None:
                save(known)
        return known.stats

    def measure_thumbnail(self) -> np.ndarray:
        """Measures the content statistics [K, T] of a small version of the picture."""
        pixels, regions = shrink_scene(self._scene)
        _, used = self._run(pixels, self._fill_mask(regions, pixels.shape[:2]), *self.nothing)
        return used

    def paint(self, stats: np.ndarray, tiles: list[Tile], done: Callable[[], None]) -> Iterator[tuple[Tile, Pixels]]:
        """Paints tiles with content statistics [K, T]; gives their inner parts, uint8 [h, w, 3]."""
        for tile in tiles:
            pixels, regions = self._view(tile)
            mask = WHOLE if regions is None else self._fill_mask(regions, pixels.shape[:2])
            image, _ = self._run(pixels, mask, stats, np.ones(stats.shape[1], np.float32))
            yield tile, to_uint8(image[:, :, tile.rows.within, tile.columns.within])
            done()

    def _view(self, tile: Tile) -> tuple[Pixels, np.ndarray | None]:
        """Cuts out picture and regions under a tile, its halo included."""
        rows, columns = tile.rows.outer, tile.columns.outer
        return self._scene.pixels(rows, columns), self._scene.regions(rows, columns)

    def _fill_mask(self, regions: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
        """Makes a mask [K, 1, h, w] that is above 0 everywhere."""
        if regions is None:
            return np.ones((1, 1, *shape), np.float32)
        mask: np.ndarray = np.maximum(regions, np.float32(_NOWHERE))
        return mask

    def _measure_pass(self, layers: list[int], known: Known, done: Callable[[], None]) -> Known:
        """Goes over the tiles once for the statistics of these layers, which depend on none but what is known."""
        pools = {layer: _Pool(self._regions, self._model.channels[layer]) for layer in layers}
        for tile in self.tiles:
            pixels, regions = self._view(tile)
            weight = np.full(pixels.shape[:2], _HALO, np.float32)
            weight[tile.rows.within, tile.columns.within] = 1
            mask = self._fill_mask(regions, pixels.shape[:2]) * weight
            _, used = self._run(pixels, mask, *known)
            for layer, pool in pools.items():
                pool.add(used[:, self._layers[layer]], sum_weight(mask, self._model.strides, layer))
            done()
        stats, flags = known.stats.copy(), known.known.copy()
        for layer, pool in pools.items():
            stats[:, self._layers[layer]], flags[self._layers[layer]] = pool.statistics(), 1
        return Known(stats, flags)

    @cached_property
    def _passes(self) -> list[list[int]]:
        """The layers that are measured in each pass: all that depend on none but those of the passes before.

        Not every layer depends on all before it: skip connections are adapted, too, and at strength 0 none depends on
        any. So the statistics of one layer after the other are changed a little, and it is seen whose others' change.
        """
        count = len(self._layers)
        test = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        mask = np.ones((self._regions, 1, 1, 1), np.float32)
        _, own = self._run(test, mask, *self.nothing)
        needs: list[set[int]] = [set() for _ in range(count)]
        for layer, here in enumerate(self._layers if count > 1 else []):
            flags = self.nothing.known
            flags[here] = 1
            _, used = self._run(test, mask, np.float32(1.25) * own, flags)
            for index, there in enumerate(self._layers):
                if index != layer and not np.array_equal(used[:, there], own[:, there]):
                    needs[index].add(layer)
        passes: list[list[int]] = []
        left = set(range(count))
        while left:
            ready = sorted(index for index in left if not needs[index] & left)
            passes.append(ready)
            left -= set(ready)
        return passes


def shrink_scene(scene: Scene) -> tuple[Pixels, np.ndarray | None]:
    """Scales picture and regions of a scene down to a million pixels or so: each the mean of a rectangle."""
    scale = min(1.0, (THUMBNAIL / (scene.height * scene.width)) ** 0.5)
    tops, lefts = (
        np.linspace(0, length, max(1, round(length * scale)), endpoint=False).astype(int)
        for length in (scene.height, scene.width)
    )
    sizes = np.diff([*lefts, scene.width])
    pixels, regions = [], []
    for top, bottom in pairwise([*tops.tolist(), scene.height]):
        rows = slice(top, bottom), slice(0, scene.width)
        sums = np.add.reduceat(scene.pixels(*rows).sum(0, dtype=np.float32), lefts, axis=0)
        pixels.append(np.rint(sums / (sizes * (bottom - top))[:, None]).astype(np.uint8))
        masks = scene.regions(*rows)
        if masks is not None:
            regions.append(np.add.reduceat(masks.sum(2), lefts, axis=2) / (sizes * (bottom - top)))
    return np.stack(pixels), np.stack(regions, 2).astype(np.float32) if regions else None


class _Pool:
    """Statistics [K, 2C] of a whole, from those of its parts."""

    def __init__(self, regions: int, channels: int) -> None:
        self._weight = np.zeros((regions, 1))
        self._mean = np.zeros((regions, channels))
        self._squares = np.zeros((regions, channels))  # weighted sum of squared deviations from the mean

    def add(self, used: np.ndarray, weight: np.ndarray) -> None:
        """Adds a part: its statistics, and its weight for each region, [K]."""
        mean, std = np.split(used.astype(np.float64), 2, axis=1)
        weight = weight[:, None]
        total = self._weight + weight
        apart = mean - self._mean
        self._squares += weight * (std**2 - EPS) + apart**2 * (self._weight * weight / total)
        self._mean += apart * (weight / total)
        self._weight = total

    def statistics(self) -> np.ndarray:
        variance = np.maximum(self._squares / self._weight, 0)
        return np.concatenate([self._mean, np.sqrt(variance + EPS)], axis=1)


def align_mask(mask: np.ndarray, stride: int) -> np.ndarray:
    """Continues a mask [K, 1, h, w] at its far ends to multiples of `stride`, as the features are continued.

    Then its pixels lie under the features in the same way whatever the size, and that of a part of a picture is the
    part of its mask.
    """
    height, width = mask.shape[2:]
    beyond = [(0, 0), (0, 0), (0, -height % stride), (0, -width % stride)]
    return np.pad(mask, beyond, mode="edge") if height % stride or width % stride else mask


def sum_weight(mask: np.ndarray, strides: list[int], layer: int) -> np.ndarray:
    """Sums a mask [K, 1, h, w] over the features of a layer, as the content graph resizes it: float64 [K].

    Linear interpolation to 1/s of the size takes of every s x s pixels the mean of the four in the middle.
    """
    mask, stride = align_mask(mask, max(strides))[:, 0], strides[layer]
    low, high = max(0, stride // 2 - 1), stride // 2
    rows = (mask[:, low::stride] + mask[:, high::stride]) / 2
    total: np.ndarray = (rows[:, :, low::stride] + rows[:, :, high::stride]).sum((1, 2), dtype=np.float64) / 2
    return total


def paint_in_memory(tiling: Tiling, picture: Pixels, way: TileStatistics) -> Pixels:
    """Paints a picture, uint8 [H, W, 3], by tiles; shows progress."""
    painted = np.empty_like(picture)
    passes = tiling.passes_left(tiling.nothing) if way == "exact" else 0
    with show_tiles((passes + 1) * len(tiling.tiles)) as tick:
        stats = tiling.measure(tiling.nothing, tick) if passes else tiling.measure_thumbnail()
        for tile, part in tiling.paint(stats, tiling.tiles, tick):
            painted[tile.rows.inner, tile.columns.inner] = part
    return painted


@contextlib.contextmanager
def show_tiles(total: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """Shows progress over the tiles of all passes: gives a function to be called after each."""
    with meter("Painting tiles", total) as show:

        def tick() -> None:
            nonlocal done
            done += 1
            show(done, total)

        yield tick
