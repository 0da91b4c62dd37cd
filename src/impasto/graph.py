"""What paints by a content graph: a model that an engine runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from impasto.engine import Engine, Inputs, open_engine
from impasto.errors import ImpastoError
from impasto.image import Pixels, to_float, to_uint8
from impasto.model import Model
from impasto.style import Style, blend
from impasto.stylizer import SMALLEST, Memory, Stylizer
from impasto.tile import THUMBNAIL, InMemory, Scene, TileStatistics, Tiling, aligned, paint_in_memory

if TYPE_CHECKING:
    from impasto.engine.onnxruntime import StyleGraph

_WHOLE = np.ones((1, 1, 1, 1), np.float32)
_REFERENCE_TOLERANCE = 4.0  # of 255, on means of 16 x 16 pixels


class GraphStylizer(Stylizer):
    """A model whose content graph an engine runs: one forward pass for a picture, or for each tile of a large one.

    Attributes:
        tile_above: pixels above which a photo is painted by tiles; as many as fit into 4 GB of memory.
        tile: side of the tiles in pixels.

    Args:
        model: which model.
        engine: see :func:`impasto.engine.open_engine`.
        threads: processor threads; None leaves one for each physical core.
        precision, device: see :func:`impasto.engine.open_engine`. Styles are taken in float32 whatever the precision.
    """

    def __init__(
        self,
        model: Model,
        engine: str = "auto",
        threads: int | None = None,
        precision: str = "auto",
        device: str | None = None,
    ) -> None:
        self.model = model
        self.engine = open_engine(model, engine, threads, precision, device)
        self._threads = threads
        self.name, self.fingerprint, self.gallery = model.name, model.fingerprint, model.gallery
        self.engine_name, self.device = self.engine.name, self.engine.device
        if self.engine.precision != "fp32":
            self.engine_name += f" {self.engine.precision}"
        # VGG-19 takes 1,200 bytes for each pixel, the others 250.
        self.tile_above = 3_000_000 if model.card.get("encoder") else 16_000_000
        self.tile = 1024

    def take(self, pixels: Pixels, name: str) -> Style:
        """A picture's style comes from the statistics that the network uses when it runs on it at strength 0."""
        if self.model.trained_styles:
            raise self._unknown_style()
        _, used = self._run(pixels, self.any_style, _WHOLE, 0.0, engine=self._exact)
        tensor = used if self._style_graph is None else self._style_graph(used, to_float(_grown(pixels)))
        return Style(name, tensor[0], self.fingerprint, pixels)

    @cached_property
    def _exact(self) -> Engine:
        """Takes styles, which are kept and exchanged: in float32. Otherwise that is ONNX Runtime, always installed."""
        if self.engine.precision == "fp32":
            return self.engine
        return open_engine(self.model, "onnxruntime", self._threads, "fp32")

    @cached_property
    def _style_graph(self) -> StyleGraph | None:
        graph = self.model.style_graph()
        if graph is None:
            return None
        from impasto.engine.onnxruntime import StyleGraph

        return StyleGraph(self.model, graph, self._threads)

    def paint(
        self,
        content: Pixels,
        styles: Mapping[Style, float],
        regions: np.ndarray | None,
        strength: float,
        memory: Memory | None = None,
        tile_statistics: TileStatistics = "exact",
    ) -> Pixels:
        """See :meth:`Stylizer.paint`. Mixing is exact, since the network is affine in the style tensor."""
        height, width = content.shape[:2]
        if memory is None and height * width > (self.tile_above if tile_statistics == "exact" else THUMBNAIL):
            tiling = self.tiling(InMemory(content, regions), styles, regions is not None, strength)
            return paint_in_memory(tiling, content, tile_statistics)
        tensors = _tensors(styles, regions is not None)
        return self._painted(content, tensors, _WHOLE if regions is None else regions, strength, memory)

    def tiling(self, scene: Scene, styles: Mapping[Style, float], by_region: bool, strength: float) -> Tiling:
        """A picture cut to tiles, to be painted in the controls of :meth:`paint`."""
        tensors = _tensors(styles, by_region)

        def run(
            pixels: Pixels, mask: np.ndarray, stats: np.ndarray, inertia: np.ndarray
        ) -> tuple[np.ndarray, np.ndarray]:
            return self._run(pixels, tensors, mask, strength, stats, inertia, recurring=True)

        return Tiling(scene, self.model, run, len(tensors), self.tile)

    def reconstruct(self, photo: Pixels) -> Pixels:
        """What the network alone makes of a photo at strength 0, uint8 [H, W, 3] of the same size."""
        return self._painted(photo, self.any_style, _WHOLE, 0.0)

    def _own(self, style: Style) -> Style:
        if style.tensor.shape != (self.model.style_size,):
            raise ImpastoError(
                f"the style {style.name} is not of the model {self.name}: take it again from its picture"
            )
        return super()._own(style)

    def _from_gallery(self, name: str) -> Style:
        if self.model.trained_styles and name not in self.gallery:
            raise self._unknown_style()
        return super()._from_gallery(name)

    def _unknown_style(self) -> ImpastoError:
        known = ", ".join(self.gallery)
        return ImpastoError(f"the model {self.name} only knows the styles it was trained on: choose {known}")

    @property
    def any_style(self) -> np.ndarray:
        """[1, S], to go in where strength is 0 and no style counts."""
        return np.ones((1, self.model.style_size), np.float32)

    def _painted(
        self, pixels: Pixels, style: np.ndarray, mask: np.ndarray, strength: float, memory: Memory | None = None
    ) -> Pixels:
        if memory is not None:
            memory.meet(style, strength)
        stats, inertia = None, 0.0
        if memory is not None and memory.stats is not None and memory.share:
            stats, inertia = memory.stats, memory.inertia * memory.share
        image, used = self._run(pixels, style, mask, strength, stats, inertia, recurring=memory is not None)
        if memory is not None:
            memory.stats = used
        return to_uint8(image)[: pixels.shape[0], : pixels.shape[1]]

    def _run(
        self,
        pixels: Pixels,
        style: np.ndarray,
        mask: np.ndarray,
        strength: float,
        stats: np.ndarray | None = None,
        inertia: float | np.ndarray = 0.0,
        *,
        engine: Engine | None = None,
        recurring: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Painted image and statistics used, see :class:`impasto.engine.Inputs`; a side may be grown to 16 pixels."""
        if stats is None:
            stats = np.ones((len(style), self.model.stats_size), np.float32)  # at an inertia of 0 it does not count
        grown = _grown(pixels)
        if mask.shape[2:] != (1, 1):
            beyond = [(0, after - before) for before, after in zip(pixels.shape[:2], grown.shape[:2], strict=True)]
            mask = aligned(np.pad(mask, [(0, 0), (0, 0), *beyond], mode="symmetric"), max(self.model.strides))
        inputs = Inputs(
            to_float(grown),
            style,
            mask,
            strength=np.array(strength, np.float32),
            stats=stats,
            inertia=np.full(self.model.stats_size, inertia, np.float32),
        )
        return (engine or self.engine).run(inputs, recurring=recurring)


def _grown(pixels: Pixels) -> Pixels:
    """The picture [H, W, 3], mirrored at its right and bottom edge until it is as large as a network needs."""
    beyond = [(0, max(0, SMALLEST - side)) for side in pixels.shape[:2]]
    return np.pad(pixels, [*beyond, (0, 0)], mode="symmetric") if any(after for _, after in beyond) else pixels


def reference(stylizer: GraphStylizer) -> np.ndarray:
    """What a model makes of a small test picture: means of 16 x 16 pixels, [4, 4, 3].

    The style is that of the picture's negative, or the first of the styles that the model was trained on.
    """
    y, x = np.mgrid[0:64, 0:64]
    test = np.stack([4 * x, 4 * y, 127 * (1 + np.sin((x * y) / 60))], 2).astype(np.uint8)
    trained = stylizer.model.trained_styles
    style = stylizer.gallery[trained[0]] if trained else stylizer.take(255 - test, "negative")
    painted = stylizer.paint(test, {style: 1.0}, None, 1.0)
    means: np.ndarray = painted.reshape(4, 16, 4, 16, 3).mean((1, 3))
    return means


def check(stylizer: GraphStylizer) -> None:
    """Paints the test picture of the model's card, so that a model which computes nonsense here is noticed at once."""
    card = stylizer.model.card["int8"] if stylizer.engine.precision == "int8" else stylizer.model.card
    if np.abs(reference(stylizer) - card["reference"]).max() > _REFERENCE_TOLERANCE:
        raise ImpastoError(
            f"model {stylizer.model.name} gives a wrong picture on {stylizer.engine.name} ({stylizer.engine.device}): "
            "try another engine, or install impasto again"
        )


def _tensors(styles: Mapping[Style, float], by_region: bool) -> np.ndarray:
    """Style tensors [K, S]: one for each region, or that of the mix."""
    return np.stack([style.tensor for style in styles]) if by_region else blend(styles).tensor[None]
