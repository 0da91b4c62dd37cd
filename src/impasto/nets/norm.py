"""Feature statistics and the adaptive layer: the heart of AdaIN, in every form the networks here use.

A network is written once, as ``forward(image, adapt)``. At each adaptive layer it calls ``adapt(features)`` and goes
on with what comes back. What ``adapt`` is decides what the network does:

* :class:`Observe` leaves the features alone and notes their statistics: the network reconstructs its input, and the
  noted statistics are what the style of that picture comes from (:meth:`Network.style_from`).
* :class:`Transfer` gives the features of a batch the statistics of a batch of styles: training.
* :class:`Control` does the same for one picture with all run-time controls: the exported content graph.

A style tensor holds, for each adaptive layer in order, its C means and then its C standard deviations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.style import EPS

#: What an adaptive layer does with features [N, C, H, W].
Adapt = Callable[[Tensor], Tensor]


class Network(nn.Module):
    """A picture-to-picture network with adaptive layers: ``forward(image, adapt)``.

    A class of networks declares itself by its first four attributes; :mod:`impasto.networks` names it.

    Attributes:
        description: what it is, in a line that may name its `arguments` in braces.
        choices: those of its arguments that the user may choose.
        prefix: where the trained weights stand among all weights, if they are only a part.
        own_styles: whether it learns certain styles, instead of taking the style of any picture.
        adaptive: channels of each adaptive layer, in the order the network comes to them.
        strides: of each adaptive layer, pixels of the picture from one feature to the next.
        arguments: what it was made with, so that the same can be made again.
        in_parts: whether what it makes of a part of a picture depends on nothing but that, its surroundings and the
            picture's statistics, so that a large one can be painted by tiles.
    """

    description: ClassVar[str]
    choices: ClassVar[tuple[str, ...]] = ()
    prefix: ClassVar[str] = ""
    own_styles: ClassVar[bool] = False
    adaptive: tuple[int, ...]
    strides: tuple[int, ...]
    arguments: Mapping[str, Any] = MappingProxyType({})
    in_parts: bool = True

    @property
    def takes_statistics(self) -> bool:
        """Whether the statistics of a picture are its style, as they stand."""
        return type(self).style_from is Network.style_from

    @property
    def style_size(self) -> int:
        """S, the length of its style tensors."""
        return 2 * sum(self.adaptive)

    def styles(self) -> Tensor:
        """[N, S], the style tensors that the network itself has learnt; none where any picture's will do."""
        return torch.empty(0, self.style_size)

    def style_from(self, statistics: Tensor, pictures: Tensor) -> Tensor:
        """Style tensors [N, S] of pictures: their statistics, as in the paper.

        Args:
            statistics: [N, T], what :class:`Observe` notes of the network on these pictures.
            pictures: [N, 3, H, W] in 0..1.
        """
        return statistics

    def adapt_to(self, style: Tensor, strength: float | Tensor = 1.0) -> Transfer:
        """The `adapt` that gives each picture of a batch a style of [N, S] at a strength, see :class:`Transfer`."""
        return Transfer(style, strength=strength)

    def control(
        self, style: Tensor, mask: Tensor | None, strength: Tensor, stats: Tensor | None, inertia: Tensor | None
    ) -> Control:
        """The `adapt` with every run-time control, see :class:`Control`."""
        return Control(style, mask, strength, stats, inertia)


class _Statistics(torch.autograd.Function):
    """Mean and standard deviation with a backward of one pass: seven times as fast as the stock operators on a CPU."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        wide = features if features.dtype == torch.float64 else features.float()
        mean = wide.mean((2, 3))
        std = ((wide - mean[..., None, None]).square().mean((2, 3)) + eps).sqrt()
        ctx.save_for_backward(features, mean, std)
        return mean, std

    @staticmethod
    def backward(ctx: Any, mean_grad: Tensor, std_grad: Tensor) -> tuple[Tensor, None]:
        features, mean, std = ctx.saved_tensors
        pixels = features.shape[2] * features.shape[3]
        slope = std_grad / (pixels * std)  # d std / d x = (x - mean) / (pixels * std)
        shift = mean_grad / pixels - slope * mean
        return torch.addcmul(shift[..., None, None], features.to(mean.dtype), slope[..., None, None]).to(
            features.dtype
        ), None


def feature_statistics(features: Tensor, eps: float = EPS) -> tuple[Tensor, Tensor]:
    """Channel means and (population) standard deviations over the pixels.

    Args:
        features: [N, C, H, W]; taken in float32 if of lower precision.
        eps: added to the variance, as in the paper's code.

    Returns:
        mean and standard deviation, each [N, C].
    """
    mean, std = _Statistics.apply(features, eps)  # type: ignore[no-untyped-call]
    return mean, std


def adain(
    content: Tensor, mean: Tensor, std: Tensor, floor: Tensor | None = None, strength: float | Tensor = 1.0
) -> Tensor:
    """Adaptive instance normalisation (Huang and Belongie 2017, eq. 8): std * (x - mean(x)) / std(x) + mean.

    Args:
        content: features [N, C, H, W].
        mean, std: the style's feature statistics [N, C].
        floor: see :func:`above_floor`.
        strength: 0 keeps the content's own statistics, 1 takes the style's; one for all, or [N, 1].
    """
    own_mean, own_std = feature_statistics(content)
    if floor is not None:
        std = above_floor(std, own_std, floor)
    mean, std = torch.lerp(own_mean, mean, strength), torch.lerp(own_std, std, strength)
    scale = std / own_std
    shift = mean - own_mean * scale
    return content * scale[..., None, None] + shift[..., None, None]


def above_floor(std: Tensor, own: Tensor, floor: Tensor) -> Tensor:
    """The standard deviation to give content features: the style's, or their own where those are next to constant.

    Normalisation would blow up what little there is, the noise of a clear sky, to strokes and dots, layer by layer.
    own + (std - own) / (1 + (floor / own)^4) is within 1 % of the style's for an `own` of three times the floor.

    Args:
        std, own: standard deviations of style and content, each [N, C].
        floor: [C], below which content features hold noise; 0 leaves the style's as it is.
    """
    return torch.lerp(own, std, 1 / (1 + (floor / own) ** 4))


class Observe:
    """Passes features on unchanged and notes their statistics; :meth:`style` returns them as style tensors [N, S]."""

    def __init__(self) -> None:
        self._noted: list[Tensor] = []

    def __call__(self, features: Tensor) -> Tensor:
        self._noted += feature_statistics(features)
        return features

    def style(self) -> Tensor:
        return torch.cat(self._noted, dim=1)


class Transfer:
    """Gives each picture of a batch the statistics of one style.

    Args:
        style: [N, S], for features [N, C, H, W].
        floor: [S / 2], see :func:`above_floor`.
        strength: 0 keeps the features' own statistics, 1 takes the style's; one for all, or [N, 1].
    """

    def __init__(self, style: Tensor, floor: Tensor | None = None, strength: float | Tensor = 1.0) -> None:
        self._style, self._floor, self._strength = style, floor, strength
        self._at = 0

    def __call__(self, features: Tensor) -> Tensor:
        channels, at = features.shape[1], self._at
        self._at += channels
        mean, std = torch.split(self._style[:, 2 * at : 2 * at + 2 * channels], channels, 1)
        floor = None if self._floor is None else self._floor[at : at + channels]
        return adain(features, mean, std, floor, self._strength)


class Control:
    """The adaptive layer with every run-time control, for one picture and K styles: what the content graph contains.

    Args:
        style: [K, S], one style tensor for each region.
        mask: [K, 1, h, w], non-negative, of any size; region k weighs its statistics by mask k, and the regions are
            blended by mask / sum(mask). One pixel means the whole picture; so does None, for one style, in fewer
            operations.
        strength: scalar; 0 keeps the content's statistics, 1 takes the style's.
        stats: [K, T], content statistics from elsewhere, in the layout of a style tensor; None uses the picture's own.
        inertia: [T]; 0 uses the picture's own statistic, 1 uses that in `stats`.
        floor: [T / 2], see :func:`above_floor`; None leaves the style's statistics as they are.
    """

    def __init__(
        self,
        style: Tensor,
        mask: Tensor | None,
        strength: Tensor,
        stats: Tensor | None,
        inertia: Tensor | None,
        floor: Tensor | None = None,
    ) -> None:
        self._style, self._stats, self._floor = style, stats, floor
        self._mask, self._strength, self._inertia = mask, strength, inertia
        self._at = 0
        self._used: list[Tensor] = []

    def used(self) -> Tensor:
        """The content statistics [K, T] that were used."""
        return torch.cat(self._used, dim=1)

    def __call__(self, features: Tensor) -> Tensor:
        channels, at = int(features.shape[1]), self._at
        share, own = self._content(features)
        style = self._style[:, at : at + 2 * channels]
        if self._floor is not None:
            std = above_floor(style[:, channels:], own[:, channels:], self._floor[at // 2 : at // 2 + channels])
            style = torch.cat([style[:, :channels], std], 1)
        return restate(features, share, own, torch.lerp(own, style, self._strength))

    def _content(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Each region's share of every pixel [K, 1, h, w], and the content statistics [K, 2C] to use, noted."""
        channels = int(features.shape[1])  # a plain number also while the graph is being traced
        here = slice(self._at, self._at + 2 * channels)
        self._at += 2 * channels
        weight = self._weight(features)
        total = weight.mean((2, 3))

        def average(values: Tensor) -> Tensor:
            return values.mean((2, 3)) if self._mask is None else (weight * values).mean((2, 3)) / total

        mean = average(features)
        variance = average((features - mean[:, :, None, None]) ** 2)
        own = torch.cat([mean, (variance + EPS).sqrt()], dim=1)
        if self._stats is not None and self._inertia is not None:
            own = torch.lerp(own, self._stats[:, here], self._inertia[here])
        self._used.append(own)
        return weight / weight.sum(0, keepdim=True), own

    def _weight(self, features: Tensor) -> Tensor:
        """The masks at the size of the features [K, 1, h, w], or one pixel for the whole picture."""
        if self._mask is None:
            return features.new_ones(1, 1, 1, 1)
        return resize_mask(self._mask, features.shape[2], features.shape[3])


def restate(features: Tensor, share: Tensor, own: Tensor, target: Tensor) -> Tensor:
    """Features [1, C, H, W] taken from their regions' statistics [K, 2C] to others; each pixel blends its regions'."""
    channels = int(features.shape[1])
    scale = target[:, channels:] / own[:, channels:]
    shift = target[:, :channels] - own[:, :channels] * scale
    return features * (share * scale[:, :, None, None]).sum(0, keepdim=True) + (share * shift[:, :, None, None]).sum(
        0, keepdim=True
    )


def resize_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """The mask at the size of the features; one of a single pixel stays that, and broadcasts at no cost."""
    single = 1 // (mask.shape[2] * mask.shape[3])  # arithmetic instead of a branch, which the exported graph would lose
    size = (height - (height - 1) * single, width - (width - 1) * single)
    return F.interpolate(mask, size=size, mode="bilinear", align_corners=False)
