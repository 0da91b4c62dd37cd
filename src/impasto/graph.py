"""What paints by a content graph: a model that an engine runs."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from impasto.controls import SMALLEST, Controls, Mix
from impasto.engine import Engine, Inputs, open_engine
from impasto.errors import ImpastoError
from impasto.image import Pixels, to_float, to_uint8
from impasto.model import Model
from impasto.style import Style
from impasto.stylizer import Memory, Plan, Stylizer
from impasto.tile import THUMBNAIL, WHOLE, InMemory, Scene, Tiling, align_mask, paint_in_memory

if TYPE_CHECKING:
    from impasto.engine.onnxruntime import StyleSession

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
        self.tile_above = 3_000_000 if model.card.encoder else 16_000_000
        self.tile = 1024

    def take(self, pixels: Pixels, name: str) -> Style:
        """Takes a picture's style from the statistics that the network uses when it runs on it at strength 0."""
        if self.model.trained_styles:
            raise self._unknown_style_error()
        _, used = self._run(pixels, self.any_style, WHOLE, 0.0, engine=self._style_engine)
        tensor = used if self._style_graph is None else self._style_graph(used, to_float(pad_to_minimum(pixels)))
        return Style(name, tensor[0], self.fingerprint, pixels)

    @cached_property
    def _style_engine(self) -> Engine:
        """Takes styles, in float32 since they are exchanged: by ONNX Runtime, where the engine is of less precision."""
        if self.engine.precision == "fp32":
            return self.engine
        return open_engine(self.model, "onnxruntime", self._threads, "fp32")

    @cached_property
    def _style_graph(self) -> StyleSession | None:
        graph = self.model.style_graph()
        if graph is None:
            return None
        from impasto.engine.onnxruntime import StyleSession

        return StyleSession(self.model, graph, self._threads)

    def paint(
        self, content: Pixels, plan: Plan, regions: np.ndarray | None = None, memory: Memory | None = None
    ) -> Pixels:
        """Paints as :meth:`Stylizer.paint` says. Mixing is exact, since the network is affine in the style tensor."""
        height, width = content.shape[:2]
        way = plan.controls.tile_statistics
        if memory is None and height * width > (self.tile_above if way == "exact" else THUMBNAIL):
            tiling = self.tile_scene(InMemory(content, regions), plan, regions is not None)
            return paint_in_memory(tiling, content, way)
        tensors, strength = plan.mix.tensors(regions is not None), plan.controls.strength
        if memory is not None:
            memory.meet(tensors, strength)
        stats, inertia = None, 0.0
        if memory is not None and memory.stats is not None and memory.share:
            stats, inertia = memory.stats, memory.inertia * memory.share
        mask = WHOLE if regions is None else regions
        image, used = self._run(content, tensors, mask, strength, stats, inertia, recurring=memory is not None)
        if memory is not None:
            memory.stats = used
        return to_uint8(image)[:height, :width]

    def tile_scene(self, scene: Scene, plan: Plan, by_region: bool) -> Tiling:
        """Cuts a picture to tiles, to be painted as a plan says; `by_region` where the scene has regions."""
        tensors = plan.mix.tensors(by_region)

        def run(
            pixels: Pixels, mask: np.ndarray, stats: np.ndarray, inertia: np.ndarray
        ) -> tuple[np.ndarray, np.ndarray]:
            return self._run(pixels, tensors, mask, plan.controls.strength, stats, inertia, recurring=True)

        return Tiling(scene, self.model, run, len(tensors), self.tile)

    def reconstruct(self, photo: Pixels) -> Pixels:
        """Runs the network alone on a photo at strength 0: uint8 [H, W, 3] of the same size."""
        image, _ = self._run(photo, self.any_style, WHOLE, 0.0)
        return to_uint8(image)[: photo.shape[0], : photo.shape[1]]

    def _check_own(self, style: Style) -> Style:
        if style.tensor.shape != (self.model.style_size,):
            raise ImpastoError(
                f"the style {style.name} is not of the model {self.name}: take it again from its picture"
            )
        return super()._check_own(style)

    def _find_shipped(self, name: str) -> Style:
        if self.model.trained_styles and name not in self.gallery:
            raise self._unknown_style_error()
        return super()._find_shipped(name)

    def _unknown_style_error(self) -> ImpastoError:
        known = ", ".join(self.gallery)
        return ImpastoError(f"the model {self.name} only knows the styles it was trained on: choose {known}")

    @property
    def any_style(self) -> np.ndarray:
        """A style tensor [1, S] to go in where strength is 0 and no style counts."""
        return np.ones((1, self.model.style_size), np.float32)

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
        """Runs the graph: gives painted image and statistics used, each side of 16 pixels or more."""
        if stats is None:
            stats = np.ones((len(style), self.model.stats_size), np.float32)  # at an inertia of 0 it does not count
        grown = pad_to_minimum(pixels)
        if mask.shape[2:] != (1, 1):
            beyond = [(0, after - before) for before, after in zip(pixels.shape[:2], grown.shape[:2], strict=True)]
            mask = align_mask(np.pad(mask, [(0, 0), (0, 0), *beyond], mode="symmetric"), max(self.model.strides))
        inputs = Inputs(
            to_float(grown),
            style,
            mask,
            strength=np.array(strength, np.float32),
            stats=stats,
            inertia=np.full(self.model.stats_size, inertia, np.float32),
        )
        return (engine or self.engine).run(inputs, recurring=recurring)


def pad_to_minimum(pixels: Pixels) -> Pixels:
    """Mirrors a picture [H, W, 3] at its right and bottom edge until it is as large as a network needs."""
    beyond = [(0, max(0, SMALLEST - side)) for side in pixels.shape[:2]]
    return np.pad(pixels, [*beyond, (0, 0)], mode="symmetric") if any(after for _, after in beyond) else pixels


def paint_reference(stylizer: GraphStylizer) -> np.ndarray:
    """Paints a small test picture; gives its means of 16 x 16 pixels, [4, 4, 3].

    The style is that of the picture's negative, or the first of the styles that the model was trained on.
    """
    y, x = np.mgrid[0:64, 0:64]
    test = np.stack([4 * x, 4 * y, 127 * (1 + np.sin((x * y) / 60))], 2).astype(np.uint8)
    trained = stylizer.model.trained_styles
    style = stylizer.gallery[trained[0]] if trained else stylizer.take(255 - test, "negative")
    painted = stylizer.paint(test, Plan(Mix([style]), Controls()))
    means: np.ndarray = painted.reshape(4, 16, 4, 16, 3).mean((1, 3))
    return means


def check_reference(stylizer: GraphStylizer) -> None:
    """Paints the test picture of the model's card, so that a model which computes nonsense here is noticed at once."""
    expected = stylizer.model.reference(stylizer.engine.precision)
    if np.abs(paint_reference(stylizer) - expected).max() > _REFERENCE_TOLERANCE:
        raise ImpastoError(
            f"model {stylizer.model.name} gives a wrong picture on {stylizer.engine.name} ({stylizer.engine.device}): "
            "try another engine, or install impasto again"
        )
