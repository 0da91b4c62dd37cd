"""Gatys, Ecker and Bethge, "Image style transfer using convolutional neural networks" (CVPR 2016)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from impasto.checks import require_at_least
from impasto.errors import ImpastoError
from impasto.image import Picture
from impasto.losses import STYLE_LOSSES
from impasto.methods.base import Method
from impasto.methods.optimise import Descent, optimise


@dataclass(frozen=True)
class GatysOptions(Descent):
    """Options of :class:`Gatys`; see also :class:`Descent`.

    Attributes:
        style_loss: a name in :data:`impasto.losses.STYLE_LOSSES`.
        content_weight: of the content loss.
        style_weight: of the style loss; None for the loss's own, which balances a content weight of 1.
    """

    style_loss: str = "gram"
    content_weight: float = 1.0
    style_weight: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(0, content_weight=self.content_weight, style_weight=self.style_weight or 0)
        if self.style_loss not in STYLE_LOSSES:
            raise ImpastoError(f"no style loss {self.style_loss}: choose {', '.join(STYLE_LOSSES)}")


class Gatys(Method):
    """Optimises the picture: content loss at relu4_1, style loss at relu1_1, relu2_1, relu3_1 and relu4_1.

    With several styles, masks and strengths see :func:`impasto.methods.optimise.optimise`.
    """

    name = fingerprint = "gatys"
    Options = GatysOptions

    def __init__(self, options: GatysOptions, threads: int | None = None) -> None:
        super().__init__(threads)
        self.options = options

    def render(
        self,
        content: Tensor,
        styles: list[tuple[Picture, float]],
        regions: Tensor | None,
        strength: float,
        alpha: Tensor | None = None,
    ) -> Tensor:
        """See :meth:`Method.render`."""
        options, loss = self.options, STYLE_LOSSES[self.options.style_loss]
        style_weight = loss.weight if options.style_weight is None else options.style_weight
        return optimise(
            self.encoder, content, [([picture], weight) for picture, weight in styles], regions, strength, alpha,
            loss=loss, taps=(0, 1, 2, 3), weights=(options.content_weight, style_weight), options=options,
            label=self.name,
        )  # fmt: skip
