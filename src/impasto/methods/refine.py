"""Refining what was painted, for one picture that may take a minute: neighbours among features of the style's picture.

After Kolkin et al., "Neural neighbor style transfer" (2022): for each place of the painting that place of the style's
picture is found which is most like it, and the painting's pixels are optimised until VGG-19 sees the same at both. What
is asked for at a place has been painted somewhere, so that brush strokes stay whole; and where the painting is flat
nothing is gained by speckles, as it is with losses on the statistics of all places together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.alpha import weigh
from impasto.controls import Mix
from impasto.errors import ImpastoError
from impasto.image import Picture, Pixels, to_float
from impasto.mask import resize_regions
from impasto.methods.base import Before, Method
from impasto.methods.optimise import Descent, Objective, descend, rescale, spread
from impasto.octaves import BASE, Octave, Painted, resize
from impasto.stylizer import Plan

#: Long side in pixels up to which paintings are refined; a half and a quarter of it come first.
LARGEST = 1024
_STRIDES = {"relu1_1": 1, "relu2_1": 2, "relu3_1": 4, "relu4_1": 8}  # and the pixels from one feature to the next
_CELLS = 20_000  # of a picture at most: matching takes time with their square
_ITERATIONS = 20  # at a quarter of that; half as many at each finer size
_KEPT = 0.2  # of relu4_1's target, the photo's own part: without it faces are lost
_PHOTO = 0.5  # how far the photo counts in what is looked for, beside the painting
_SLACK = 0.1  # of a cosine, in which the neighbour of a neighbour's match is as good
_CHUNK = 1024  # cells matched at once


class Refiner(Method):
    """Optimises a painting as the module says, from a quarter of 1024 pixels to 1024.

    It has composition and colours already, so that few iterations do. Its own detail that is finer than what is
    optimised is put back as :mod:`impasto.octaves` does. Several styles are mixed in their features, by weights or by
    regions; strength mixes in the photo's.

    Raises:
        ImpastoError: a style of the mix is known as a vector only.
    """

    name = fingerprint = "refining"

    def __init__(self, mix: Mix) -> None:
        if unseen := [style.name for style in mix.styles if style.picture is None]:
            raise ImpastoError(f"refining looks at the painting, and the style {unseen[0]} has none: give its picture")
        super().__init__(None)
        self.options = Descent(iterations=_ITERATIONS, temporal_weight=0)
        self._zoom = 1.0

    def refine(
        self,
        content: Pixels,
        painting: Pixels,
        plan: Plan,
        shape: tuple[int, ...],
        regions: np.ndarray | None = None,
        alpha: Pixels | None = None,
    ) -> Pixels:
        """Refines a painting, uint8 [H, W, 3]; Ctrl-C ends it with the best so far.

        Args:
            content, plan, regions, alpha: what it was painted of, see :meth:`impasto.stylizer.Stylizer.paint`.
            shape: height and width of the whole photo, which `content` may be a smaller version of.
        """
        sides, stroke = painting.shape[:2], plan.controls.stroke_size
        scale = min(1.0, LARGEST / max(sides)) / max(1.0, stroke)  # larger strokes are refined smaller
        size = max(1, round(scale * sides[0])), max(1, round(scale * sides[1]))
        small = resize(painting, size)
        levels = max(1, min(3, round(math.log2(max(size) / LARGEST)) + 3))
        self.options = replace(self.options, start=small, levels=levels)
        self._zoom = min(size) / min(*shape, BASE) * stroke  # strokes have the size that they have in the painting
        refined = self.paint(
            resize(content, size),
            replace(plan, controls=replace(plan.controls, stroke_size=1.0)),
            None if regions is None else resize_regions(regions, size),
            alpha=None if alpha is None else resize(alpha, size),
        )
        return Octave(painting, Painted(refined, small)).everything()

    def render(
        self,
        content: Tensor,
        styles: list[tuple[Picture, float]],
        regions: Tensor | None,
        strength: float,
        alpha: Tensor | None = None,
        before: Sequence[Before] = (),
    ) -> Tensor:
        """See :meth:`Method.render`."""
        areas = None if regions is None else regions / regions.sum(0)

        @torch.no_grad()
        def objective(photo: Tensor, scale: float, painting: Tensor) -> Objective:
            # At full size the coarse forms are there: half of it showed relu4_1 twice as far.
            layers = list(_STRIDES)[: 3 if max(photo.shape[2:]) > LARGEST / 2 else 4]
            own, painted = (self.encoder.features(picture, layers) for picture in (photo, painting))
            height, width = photo.shape[2:]
            step = 4 if height * width <= 16 * _CELLS else 8
            grid = -(-height // step), -(-width // step)
            sought = describe(painted, grid, alpha) + _PHOTO * describe(own, grid, alpha)
            goals = {layer: torch.zeros_like(features) for layer, features in own.items()}
            for number, (style, weight) in enumerate(styles):
                seen, keys, shown = self._look(style, self._zoom * scale, layers, step)
                rows, columns = match(sought, keys, shown)
                for layer, features in seen.items():
                    share: float | Tensor = weight
                    if areas is not None:
                        share = F.interpolate(areas[[number]], own[layer].shape[2:], mode="area")
                    goals[layer] += share * transplant(features, rows, columns, _STRIDES[layer], step, own[layer])
            for layer, goal in goals.items():
                goals[layer] = own[layer].lerp(goal, strength * (1 - _KEPT if layer == "relu4_1" else 1))

            def total(picture: Tensor) -> Tensor:
                seen = self.encoder.features(picture, layers)
                return torch.stack([F.mse_loss(seen[layer], goal) for layer, goal in goals.items()]).sum()

            return total

        return descend(content, objective, self.options, self.name, before)

    def _look(
        self, style: Picture, scale: float, layers: Sequence[str], step: int
    ) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """Looks at a style's picture at a scale, never enlarged: features, those of cells, and which cells count."""
        picture = rescale(self._tensor(to_float(style.pixels)), min(1.0, scale))
        alpha = None if style.alpha is None else self._tensor(weigh(style.alpha))
        seen = self.encoder.features(picture, layers)
        height, width = picture.shape[2:]
        keys = describe(seen, (-(-height // step), -(-width // step)), alpha)
        shown = spread(alpha, keys)
        return seen, keys, None if shown is None else shown[0, 0] >= shown.max() / 2


def describe(features: Mapping[str, Tensor], grid: tuple[int, int], alpha: Tensor | None = None) -> Tensor:
    """What is seen in each cell of a picture: the features of all layers beside each other, [1, C, h, w].

    They are averaged over cells, centred, and brought to a mean square of 1 in each layer.

    Args:
        features: by layer, [1, any, any, any].
        grid: cells down and across.
        alpha: None, or [1, 1, any, any], by how much the pixels count.
    """
    found = []
    for one in features.values():
        cells = F.interpolate(one, grid, mode="area")
        weight = spread(alpha, cells)
        mean = cells.mean((2, 3), True) if weight is None else (cells * weight).sum((2, 3), True) / weight.sum()
        found.append((cells - mean) / (cells - mean).square().sum(1).mean().sqrt().clamp_min(1e-6))
    return torch.cat(found, 1)


def match(own: Tensor, keys: Tensor, shown: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """For each cell of a picture one of a style with the highest cosine of what is seen there, or nearly.

    Of cells beside each other in the picture, the second has that beside the first one's in the style where the cosine
    is as good but for `_SLACK`: first along the rows, then down the columns. So flat places are given a stretch of the
    style and not one cell of it again and again, which shows as a pattern.

    Args:
        own, keys: [1, C, h, w] and [1, C, H, W].
        shown: None, or which of the style's cells count, bool [H, W].

    Returns:
        its row and its column, long [h, w] each.
    """
    height, width = keys.shape[2:]
    own, keys = (F.normalize(one[0].flatten(1), dim=0).view(one.shape[1:]) for one in (own, keys))
    allowed = torch.ones(height, width, dtype=torch.bool, device=keys.device) if shown is None else shown
    numbers = allowed.flatten().nonzero()[:, 0]
    flat = keys.flatten(1)[:, numbers]
    found = [(part.T @ flat).max(1) for part in torch.split(own.flatten(1), _CHUNK, 1)]
    least = torch.cat([part.values for part in found]).view(own.shape[1:]) - _SLACK
    best = numbers[torch.cat([part.indices for part in found])].view(own.shape[1:])
    places = torch.stack([best // width, best % width])  # [2, h, w]
    for axis in (1, 0):
        step = torch.eye(2, dtype=torch.long, device=keys.device)[axis, :, None]
        limit = (height, width)[axis]
        lines = zip(*(one.unbind(axis - 2) for one in (places, own, least)), strict=True)
        before, _, _ = next(lines)
        for line, seen, enough in lines:
            beside = before + step
            inside = beside[axis] < limit
            rows, columns = beside = beside.where(inside, before)
            good = inside & allowed[rows, columns] & ((seen * keys[:, rows, columns]).sum(0) >= enough)
            line.copy_(beside.where(good, line))
            before = line
    return places[0], places[1]


def transplant(features: Tensor, rows: Tensor, columns: Tensor, stride: int, step: int, like: Tensor) -> Tensor:
    """The features of a picture whose cells are taken from other places.

    Args:
        features: of the picture that they are taken from, [1, C, H, W].
        rows, columns: the cell that is taken for each, long [h, w].
        stride, step: pixels from one feature to the next, and from one cell to the next.
        like: of the size of what is made, [1, C, any, any].
    """
    y, x = (stride * torch.arange(side, device=like.device) for side in like.shape[2:])
    y = y[:, None]
    here = y // step, x // step
    down = (rows[here] * step + y % step) // stride
    across = (columns[here] * step + x % step) // stride
    height, width = features.shape[2:]
    taken = features[:, :, down.clamp_max(height - 1), across.clamp_max(width - 1)]
    return taken.contiguous(memory_format=torch.channels_last)
