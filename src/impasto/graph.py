"""What paints by a content graph: a model that an engine runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from impasto.alpha import weigh
from impasto.checks import SMALLEST
from impasto.color import ColorMap, Palette, optimal_map, palette_of
from impasto.engine import Engine, Inputs, open_engine
from impasto.errors import ImpastoError, first_line
from impasto.image import Pixels, to_float, to_uint8
from impasto.mask import resize_regions
from impasto.model import Model
from impasto.octaves import (
    FINER,
    LARGEST_BASE,
    Octave,
    Painted,
    Recolored,
    choose_sizes,
    keep_coarse,
    recolor,
    resize,
    shrink,
)
from impasto.progress import track
from impasto.style import Style, pack_palette, unpack_palette
from impasto.stylizer import Memory, Plan, Stylizer
from impasto.tile import WHOLE, align_mask, cut_octave, paint_tiles

if TYPE_CHECKING:
    from impasto.engine.onnxruntime import StyleSession

#: How far the colours of a photo are moved to those of the painting before it is painted, or of what they shall be.
PALETTE_SHARE, OTHER_PALETTE_SHARE = 0.5, 1.0
#: Pixels above which a second octave is painted by tiles, and their side.
TILE_ABOVE, TILE = 3_000_000, 1024
_REFERENCE_TOLERANCE = 4.0  # of 255, on means of 16 x 16 pixels


class GraphStylizer(Stylizer):
    """A model whose content graph an engine runs: a forward pass for each octave of a picture.

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
        self.threads = threads
        self._opened_with = engine, threads, precision, device
        self.name, self.fingerprint, self.gallery = model.name, model.fingerprint, model.gallery
        self.engine_name, self.device = self.engine.name, self.engine.device
        if self.engine.precision != "fp32":
            self.engine_name += f" {self.engine.precision}"

    def __reduce__(self) -> tuple[type[GraphStylizer], tuple[Any, ...]]:
        """Pickles what it was opened with: whoever unpickles it opens the same files anew, with threads of its own."""
        return type(self), (self.model, *self._opened_with)

    def take(self, pixels: Pixels, name: str, alpha: Pixels | None = None) -> Style:
        """Takes a picture's style from the statistics that the network uses when it runs on it at strength 0.

        A graph that makes the style of these looks at the picture, too, and there all of its pixels count alike: at the
        rest of what is partly transparent it sees more of the same, as that is what colours are continued by.
        """
        if self.model.trained_styles:
            raise self._unknown_style_error()
        mask = WHOLE if alpha is None else weigh(alpha)
        _, used = self._run(pixels, self.any_style, mask, 0.0, engine=self._style_engine)
        tensor = used if self._style_graph is None else self._style_graph(used, to_float(pad_to_minimum(pixels)))
        palette = unpack_palette(pack_palette(palette_of(pixels, alpha)))  # so that a style is what its file will say
        return Style(name, tensor[0], self.fingerprint, pixels, palette, alpha)

    @cached_property
    def _style_engine(self) -> Engine:
        """Takes styles, in float32 since they are exchanged: by ONNX Runtime, where the engine is of less precision."""
        if self.engine.precision == "fp32":
            return self.engine
        return open_engine(self.model, "onnxruntime", self.threads, "fp32")

    @cached_property
    def _style_graph(self) -> StyleSession | None:
        graph = self.model.style_graph()
        if graph is None:
            return None
        from impasto.engine.onnxruntime import StyleSession

        return StyleSession(self.model, graph, self.threads)

    def paint(
        self,
        content: Pixels,
        plan: Plan,
        regions: np.ndarray | None = None,
        memory: Memory | None = None,
        large: Pixels | None = None,
        alpha: Pixels | None = None,
    ) -> Pixels:
        """Paints as :meth:`Stylizer.paint` says, coarse to fine; frames once, with their own detail put back.

        Mixing is exact, since the network is affine in the style tensor.
        """
        if plan.controls.plain:
            large = None
            if content.shape[0] * content.shape[1] > LARGEST_BASE:
                raise ImpastoError(f"plain paints in one piece, up to {LARGEST_BASE / 1e6:g} million pixels: "
                                   "scale the photo down (--max-size)")  # fmt: skip
        photo = content if large is None else large
        sizes = choose_sizes(photo.shape[:2], plan.controls.stroke_size, once=memory is not None)
        if plan.controls.plain:
            sizes = [photo.shape[:2]]
        if sizes[0][0] >= content.shape[0]:  # what is finer would not be seen
            del sizes[1:]
        photos = shrink(photo, sizes)
        masks = None if regions is None else [resize_regions(regions, photo.shape[:2]) for photo in photos]
        alphas = None if alpha is None else [resize(alpha, photo.shape[:2]) for photo in photos]
        painted, maps = self.paint_octaves(photos, plan, masks, memory, alphas)
        return Octave(Recolored(content, maps, Octave(content, mask=regions).regions), painted).everything()

    def paint_octaves(
        self,
        photos: Sequence[Pixels],
        plan: Plan,
        masks: Sequence[np.ndarray] | None = None,
        memory: Memory | None = None,
        alphas: Sequence[Pixels] | None = None,
    ) -> tuple[Painted, list[ColorMap]]:
        """Paints the octaves of a picture, each over the one before, see :mod:`impasto.octaves`.

        Args:
            photos: uint8 [h, w, 3], the photo at the size of each octave, coarse to fine.
            plan: see :meth:`paint`.
            masks: the regions of the styles at these sizes, float32 [K, 1, h, w]; None where they are mixed everywhere.
            memory: of the frames before, for the first octave.
            alphas: of the photo at these sizes, uint8 [h, w]; None where it is opaque.

        Returns:
            The last octave, and how the colours of the photo were moved, see :class:`impasto.octaves.Recolored`.
        """
        by_region = masks is not None
        maps = self._move_colors(photos[0], plan, by_region, memory, None if alphas is None else alphas[0])
        if alphas is not None:  # without regions, the mask of a single one
            weights = [weigh(alpha) for alpha in alphas]
            masks = weights if masks is None else [mask * weight for mask, weight in zip(masks, weights, strict=True)]
        tensors, painted = plan.mix.tensors(by_region), None
        if memory is not None:
            memory.meet(tensors, plan.controls.strength)
        for step, photo in enumerate(photos):
            mask = masks[step] if masks is not None else None
            octave = Octave(recolor(photo, maps, mask), painted, mask)
            strength = plan.controls.strength * (FINER if step else 1)
            if painted is not None and octave.height * octave.width > TILE_ABOVE and self.model.card.reach is not None:
                coarser = WHOLE if masks is None else masks[step - 1]
                painting = self._paint_tiles(octave, painted, tensors, coarser, strength)
            else:
                painting = self._paint_whole(octave, tensors, strength, memory)
            if painted is not None:
                painting = keep_coarse(painting, painted.painting)
            painted = Painted(painting, octave.photo)
        assert painted is not None  # there is one octave at least
        return painted, maps

    def _move_colors(
        self, photo: Pixels, plan: Plan, by_region: bool, memory: Memory | None, alpha: Pixels | None
    ) -> list[ColorMap]:
        """Finds the maps that move a photo's colours towards those of its styles: one for each region, or one, or none.

        There is none where colours are kept or the painting is plain, and where a style's are not known.
        """
        controls, share = plan.controls, PALETTE_SHARE
        styles = plan.mix.styles if by_region else [plan.mix.blend()]
        palettes = [style.palette for style in styles]
        if isinstance(controls.palette, Palette):
            palettes, share = [controls.palette], OTHER_PALETTE_SHARE
        share *= controls.strength
        stays = controls.plain or controls.keep_color is not None or controls.palette == "photo"
        if stays or None in palettes or not share:
            return []
        own = palette_of(photo[::3, ::3], None if alpha is None else alpha[::3, ::3])
        if memory is not None:
            own = memory.palette = own if memory.palette is None else own.mix(memory.palette, memory.inertia)
        return [optimal_map(own, palette, share) for palette in palettes if palette is not None]

    def _paint_whole(self, octave: Octave, tensors: np.ndarray, strength: float, memory: Memory | None) -> Pixels:
        """Paints an octave in one piece, with its own statistics or those that frames hand on."""
        stats, inertia = None, 0.0
        if memory is not None and memory.stats is not None and memory.share:
            stats, inertia = memory.stats, memory.inertia * memory.share
        mask = WHOLE if octave.mask is None else octave.mask
        image, used = self._run(
            octave.everything(), tensors, mask, strength, stats, inertia, recurring=memory is not None
        )
        if memory is not None:
            memory.stats = used
        return to_uint8(image)[: octave.height, : octave.width]

    def _paint_tiles(
        self, octave: Octave, coarser: Painted, tensors: np.ndarray, mask: np.ndarray, strength: float
    ) -> Pixels:
        """Paints an octave by tiles, which share the statistics of the octave before; shows progress."""
        _, stats = self._run(coarser.painting[:, :], tensors, mask, strength)

        def run(pixels: Pixels, mask: np.ndarray) -> np.ndarray:
            return self._run(pixels, tensors, mask, strength, stats, 1.0, recurring=True)[0]

        canvas = replace(octave, photo=octave.everything(), coarser=None)
        painting = np.empty((octave.height, octave.width, 3), np.uint8)
        tiles = cut_octave(canvas, self.model, TILE)
        for tile, part in track(paint_tiles(canvas, tiles, run), "Painting tiles", len(tiles)):
            painting[tile.rows.inner, tile.columns.inner] = part
        return painting

    def reconstruct(self, photo: Pixels) -> Pixels:
        """Runs the network alone on a photo at strength 0: uint8 [H, W, 3] of the same size."""
        return self.run_network(photo, self.any_style, 0.0)

    def run_network(self, photo: Pixels, style: np.ndarray, strength: float) -> Pixels:
        """Runs the network alone on a photo, once and in one piece, with a style tensor [1, S]."""
        image, _ = self._run(photo, style, WHOLE, strength)
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
        engine = engine or self.engine
        try:
            painted, used = engine.run(inputs, recurring=recurring)
        except Exception as error:  # the engines' own errors have nothing in common
            raise ImpastoError(f"{engine.name} cannot run the model {self.name}: {first_line(error)}") from error
        fits = painted.shape == inputs.image.shape and used.shape == (len(style), self.model.stats_size)
        if not fits or not np.isfinite(painted.sum()) or not np.isfinite(used.sum()):
            raise ImpastoError(f"the model {self.name} computes no picture on {engine.name}: export it again")
        return painted, used


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
    painted = stylizer.run_network(test, style.tensor[None], 1.0)
    means: np.ndarray = painted.reshape(4, 16, 4, 16, 3).mean((1, 3))
    return means


def check_reference(stylizer: GraphStylizer) -> None:
    """Paints the test picture of the model's card, so that a model which computes nonsense here is noticed at once."""
    expected = stylizer.model.reference(stylizer.engine.precision)
    if np.abs(paint_reference(stylizer) - expected).max() > _REFERENCE_TOLERANCE:
        raise ImpastoError(
            f"model {stylizer.model.name} gives a wrong picture on {stylizer.engine.name} ({stylizer.engine.device}): "
            f"try another engine, or {stylizer.model.remedy}"
        )
