"""Gatys, Ecker and Bethge, "Image style transfer using convolutional neural networks" (CVPR 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from impasto.checks import require_at_least
from impasto.errors import ImpastoError
from impasto.image import Picture
from impasto.losses import STYLE_LOSSES
from impasto.methods.base import Before, Method
from impasto.methods.optimise import Descent, optimise
from impasto.vgg19 import convolutions


@dataclass(frozen=True)
class GatysOptions(Descent):
    """Options of :class:`Gatys`; see also :class:`Descent`.

    Attributes:
        style_loss: a name in :data:`impasto.losses.STYLE_LOSSES`.
        content_weight: of the content loss.
        style_weight: of the style loss; None for the loss's own, which balances a content weight of 1.
        style_softness: k: the style loss L counts as k log(1 + L / k), so that far from the style the photo's content
            comes first, and from noise it comes at all; 0: as L, as in the paper.
        content_layers: where the content loss is taken, from "relu1_1" to "relu5_4"; several have equal parts in it.
        style_layers: where the style loss is taken.
        layer_weights: of the style loss at each of these; none for 1 at each.
        network: "vgg19", normalised; or "vgg16", which is normalised on the photo.
        pooling: "max", or "average" as in the paper.
    """

    style_loss: str = "gram"
    content_weight: float = 1.0
    style_weight: float | None = None
    style_softness: float = 0.5
    content_layers: tuple[str, ...] = ("relu4_1",)
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    layer_weights: tuple[float, ...] = ()
    network: Literal["vgg19", "vgg16"] = "vgg19"
    pooling: Literal["max", "average"] = "max"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(0, content_weight=self.content_weight, style_weight=self.style_weight or 0,
                         style_softness=self.style_softness)  # fmt: skip
        if self.style_loss not in STYLE_LOSSES:
            raise ImpastoError(f"no style loss {self.style_loss}: choose {', '.join(STYLE_LOSSES)}")
        if not self.content_layers or not self.style_layers:
            raise ImpastoError("content and style want one layer at least, like relu4_1")
        for layer in (*self.content_layers, *self.style_layers):
            convolutions(self.network, layer)  # complains of one that there is not
        if self.layer_weights and len(self.layer_weights) != len(self.style_layers):
            raise ImpastoError(
                f"{len(self.layer_weights)} layer weights for {len(self.style_layers)} style layers: give each one"
            )
        for weight in self.layer_weights:
            require_at_least(0, layer_weights=weight)


class Gatys(Method):
    """Optimises the picture: content loss and style loss on features of VGG.

    With several styles, masks and strengths see :func:`impasto.methods.optimise.optimise`.
    """

    name = fingerprint = "gatys"
    Options = GatysOptions
    presets = MappingProxyType({
        # Section 2 and 3 of the paper; of its weights see docs/methods.md.
        "paper": {
            "start": "noise", "content_layers": ("relu4_2",), "levels": 1, "tv_weight": 0.0, "pooling": "average",
            "style_softness": 0.0,
            "style_layers": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), "layer_weights": (0.2,) * 5,
        },
    })  # fmt: skip

    def __init__(self, options: GatysOptions, threads: int | None = None) -> None:
        last = max(*options.content_layers, *options.style_layers)
        super().__init__(threads, network=options.network, last=last, pooling=options.pooling)
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
        options, loss = self.options, STYLE_LOSSES[self.options.style_loss]
        style_weight = loss.weight if options.style_weight is None else options.style_weight
        shares = options.layer_weights or (1.0,) * len(options.style_layers)
        if options.network == "vgg16":
            self.encoder.normalise(content)
        return optimise(
            self.encoder, content, [([picture], weight) for picture, weight in styles], regions, strength, alpha,
            loss=loss, content_layers=options.content_layers,
            style_layers=dict(zip(options.style_layers, shares, strict=True)),
            weights=(options.content_weight, style_weight), softness=options.style_softness, options=options,
            label=self.name, before=before,
        )  # fmt: skip
