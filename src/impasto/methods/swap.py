"""Chen and Schmidt, "Fast patch-based style transfer of arbitrary style" (2016): style-swap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.checks import require_at_least
from impasto.image import Picture, to_float
from impasto.losses import MeanStd, total_variation
from impasto.methods.base import Before, Method
from impasto.methods.optimise import Descent, Objective, descend, rescale, spread
from impasto.model import find_model
from impasto.nets import load_network
from impasto.nets.adain import AdaIN
from impasto.nets.patches import CHUNK, Patches, best_matches, swap
from impasto.progress import track

#: The shipped models whose decoders invert each layer.
_INVERSE = {"relu3_1": "adain-relu3_1", "relu4_1": "adain-vgg19"}


@dataclass(frozen=True)
class SwapOptions(Descent):
    """Options of :class:`StyleSwap`; those of :class:`Descent` count with inverse "optimise" alone.

    Attributes:
        layer: whose features are swapped.
        inverse: how features become a picture: by optimising it until it has them; or in one pass by a trained decoder,
            that of `adain-relu3_1` or `adain-vgg19`, which is as good as that model.
        normalise: whether patches are compared after each channel of either picture is brought to mean 0 and standard
            deviation 1 (Sheng et al. 2018, Avatar-Net). Without it, as in the paper, all that is bright or flat finds
            the same few patches.
        stride: distance between style patches.
        chunk: style patches that are compared at once; memory grows with it.
    """

    iterations: int = 100
    tv_weight: float = 30.0
    layer: Literal["relu3_1", "relu4_1"] = "relu3_1"
    inverse: Literal["optimise", "network"] = "optimise"
    normalise: bool = True
    stride: int = 1
    chunk: int = CHUNK

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, stride=self.stride, chunk=self.chunk)


class StyleSwap(Method):
    """Replaces each patch of the photo's features by the style's best match, and finds the picture that has these.

    Several styles are swapped in one by one; their features are mixed by their weights, or by regions. Strength mixes
    in the photo's own features.
    """

    name = fingerprint = "style-swap"
    Options = SwapOptions

    def __init__(self, options: SwapOptions, threads: int | None = None) -> None:
        super().__init__(threads)
        self.options = options
        self._taps = 3 if options.layer == "relu3_1" else 4
        if options.inverse == "network":
            _ = self._decoder  # now, and not when there is something to paint

    @cached_property
    def _decoder(self) -> nn.Module:
        network = load_network(find_model(_INVERSE[self.options.layer]))
        assert isinstance(network, AdaIN)
        return network.decoder.to(self.device, memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]

    def decode(self, features: Tensor) -> Tensor:
        """The picture [1, 3, H, W] that a trained decoder makes of features."""
        decoded: Tensor = self._decoder(features)
        return decoded

    def swap_in(self, own: Tensor, style: Tensor, alpha: Tensor | None = None) -> Tensor:
        """The features of a photo with each patch replaced by its best match among a style's, see the paper's eq. 2.

        Args:
            own, style: features [1, C, any, any].
            alpha: None, or by how much the photo's count, [1, 1, h, w].
        """
        return swap(own, Patches([style], self.options.stride), self._matches(own, style, alpha))

    @property
    def looks_back(self) -> Sequence[int]:  # type: ignore[override]
        return super().looks_back if self.options.inverse == "optimise" else ()

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
        swapped = partial(self._swapped, styles=styles, regions=regions, strength=strength, alpha=alpha)
        if self.options.inverse == "optimise":
            return descend(
                content, lambda small, scale, _: self._objective(swapped(small, scale)), self.options, self.name, before
            )
        with torch.inference_mode():
            decoded: Tensor = self.decode(swapped(content, 1.0))
            return decoded[..., : content.shape[2], : content.shape[3]]  # VGG-19 rounds sizes up to multiples of 8

    def _objective(self, target: Tensor) -> Objective:
        """|Phi(x) - swapped|^2 + tv_weight TV(x), eq. 3 of the paper, averaged."""
        return lambda picture: (
            F.mse_loss(self.encode(picture), target) + self.options.tv_weight * total_variation(picture)
        )

    @torch.no_grad()
    def _swapped(
        self,
        content: Tensor,
        scale: float,
        styles: list[tuple[Picture, float]],
        regions: Tensor | None,
        strength: float,
        alpha: Tensor | None,
    ) -> Tensor:
        """The features that the picture shall have, at a scale: there those of the style are others, too."""
        own = self.encode(content)
        shares = [torch.tensor(weight, device=own.device) for _, weight in styles]
        if regions is not None:
            areas = F.interpolate(regions, own.shape[2:], mode="area")
            shares = list((areas / areas.sum(0))[:, None])
        target = torch.zeros_like(own)
        for (style, _), share in zip(styles, shares, strict=True):
            picture = rescale(torch.from_numpy(to_float(style.pixels)).to(own.device), scale)
            target += share * self.swap_in(own, self.encode(picture), spread(alpha, own))
        return torch.lerp(own, target, strength)

    def _matches(self, own: Tensor, style: Tensor, alpha: Tensor | None) -> Tensor:
        if self.options.normalise:
            own, style = _normalised(own, alpha), _normalised(style)
        patches = Patches([style], self.options.stride)
        return best_matches(own, patches, chunk=self.options.chunk, each=self._watched)

    def encode(self, picture: Tensor) -> Tensor:
        """The features of a picture [1, 3, H, W] whose patches are swapped."""
        features: Tensor = self.encoder.taps(picture, self._taps)[-1]
        return features

    @staticmethod
    def _watched(chunks: Sequence[int]) -> Iterator[int]:
        return track(chunks, "Matching patches", len(chunks))


def _normalised(features: Tensor, alpha: Tensor | None = None) -> Tensor:
    mean, std = MeanStd().summary(features, alpha)
    return (features - mean[..., None, None]) / std[..., None, None]
