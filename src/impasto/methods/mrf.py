"""Li and Wand, "Combining Markov random fields and convolutional neural networks for image synthesis" (CVPR 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from impasto.checks import require_at_least
from impasto.errors import ImpastoError
from impasto.image import Picture, Pixels
from impasto.losses import PatchLoss
from impasto.methods.base import SMALLEST, Before, Method
from impasto.methods.optimise import Descent, optimise
from impasto.nets.patches import CHUNK


@dataclass(frozen=True)
class MRFOptions(Descent):
    """Options of :class:`MRF`; see also :class:`Descent`.

    Attributes:
        content_weight, style_weight: of the content loss and of the patches' distances.
        rotations: angles in degrees at which the style picture is taken too; more take more time, in proportion.
        scales: sizes at which it is taken, 1 for its own; each at every angle.
        stride: distance between patches, of the picture and of the style.
        chunk: style patches that are compared at once; memory grows with it.
    """

    iterations: int = 100
    coarsest: int = 128
    tv_weight: float = 50.0
    content_weight: float = 1.0
    style_weight: float = 2.0
    rotations: tuple[float, ...] = (0.0,)
    scales: tuple[float, ...] = (1.0,)
    stride: int = 2
    chunk: int = CHUNK

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(0, content_weight=self.content_weight, style_weight=self.style_weight)
        require_at_least(1, stride=self.stride, chunk=self.chunk)
        if not self.rotations or not all(abs(angle) <= 45 for angle in self.rotations):
            raise ImpastoError("rotations must be angles from -45 to 45 degrees, like -7.5,0,7.5")
        if not self.scales or not all(0.25 <= scale <= 4 for scale in self.scales):
            raise ImpastoError("scales must be from 0.25 to 4, like 0.9,1,1.1")


class MRF(Method):
    """Optimises the picture until its patches at relu3_1 and relu4_1 are patches of the style: a Markov random field.

    With several styles, masks and strengths see :func:`impasto.methods.optimise.optimise`.
    """

    name = fingerprint = "mrf"
    Options = MRFOptions

    def __init__(self, options: MRFOptions, threads: int | None = None) -> None:
        super().__init__(threads)
        self.options = options

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
        options = self.options
        return optimise(
            self.encoder, content, [(self._versions(picture), weight) for picture, weight in styles], regions, strength,
            alpha, loss=PatchLoss(options.stride, options.chunk), content_layers=["relu4_1"],
            style_layers={"relu3_1": 1.0, "relu4_1": 1.0},
            weights=(options.content_weight, options.style_weight), options=options, label=self.name,
            before=before,
        )  # fmt: skip

    def _versions(self, style: Picture) -> list[Picture]:
        sizes = [scaled(style.pixels, scale) for scale in self.options.scales]
        return [Picture(turned(pixels, angle)) for pixels in sizes for angle in self.options.rotations]


def scaled(pixels: Pixels, scale: float) -> Pixels:
    """A picture uint8 [H, W, 3] at another size."""
    height, width = (max(SMALLEST, round(scale * side)) for side in pixels.shape[:2])
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def turned(pixels: Pixels, angle: float) -> Pixels:
    """A picture uint8 [H, W, 3] turned by degrees, cut to the largest middle of its shape that has no empty corners."""
    height, width = pixels.shape[:2]
    cos, sin = math.cos(math.radians(angle)), abs(math.sin(math.radians(angle)))
    inside = min(width / (width * cos + height * sin), height / (width * sin + height * cos))
    image = Image.fromarray(pixels).rotate(angle, Image.Resampling.BICUBIC)
    left, top = (1 - inside) / 2 * width, (1 - inside) / 2 * height
    return np.array(image.crop((math.ceil(left), math.ceil(top), math.floor(width - left), math.floor(height - top))))
