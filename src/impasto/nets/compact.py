"""The compact network: AdaIN at every depth of a small auto-encoder, for real time on a CPU.

Left alone it reconstructs its input. A picture's style is taken from the statistics of the network's own features on
it: a small head says which statistics a photo's features must be given for the result to look like that picture. So
strength 0 is the photo by construction, and the cost of a good style is paid once for each style, not for each photo.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.nets.norm import Adapt, Control, Network, Transfer, feature_statistics
from impasto.nets.vgg import Encoder

#: The floor under content features (see `impasto.nets.norm.above_floor`) as a share of what photos have. Skies with
#: noise of one level in 255 lie below it at many layers; the losses on photos change by a hundredth.
_FLOOR = 0.4


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """3x3 with reflection padding: no borders."""
    return nn.Conv2d(inputs, outputs, 3, stride, 1, padding_mode="reflect")


class Residual(nn.Module):
    """Two convolutions beside the identity, an adaptive layer after each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = convolution(channels, channels)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]
        self.second.weight.data *= 0.1  # starts near the identity, so that depth does not slow the first steps

    def forward(self, features: Tensor, adapt: Adapt) -> Tensor:
        return adapt(features + self.second(F.relu(adapt(self.first(features)))))


class Double(nn.Module):
    """1x1 convolution, then twice the size by linear interpolation: no checkerboard, and no blocks along the axes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        return F.interpolate(self.convolution(features), scale_factor=2, mode="bilinear", align_corners=False)


class DoubleToPicture(nn.Module):
    """A 5x5 convolution of the features doubled by nearest neighbours, computed at their own size.

    Doubling first and convolving at full size would cost four times as much. The same sums are a 3x3 convolution to
    four values a pixel, which a pixel shuffle puts in their places: the 5x5 weights that fall on copies of one pixel
    are added beforehand. Unlike a free pixel shuffle, this cannot make a checkerboard of a flat region.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 5, 5) * (25 * inputs) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))
        # fold[p, r, u] = 1 where tap u (-2..2) of an even (p = 0) or odd (p = 1) row lands on source row r (-1..1).
        fold = torch.zeros(2, 3, 5)
        for phase in range(2):
            for tap in range(5):
                fold[phase, (phase + tap - 2) // 2 + 1, tap] = 1
        self.register_buffer("fold", fold, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        weight = torch.einsum("pru,qsv,oiuv->opqirs", self.fold, self.fold, self.weight).flatten(0, 2)
        features = F.pad(features, (1, 1, 1, 1), mode="reflect")
        return F.pixel_shuffle(F.conv2d(features, weight, self.bias.repeat_interleave(4)), 2)


class StyleEncoder(nn.Module):
    """VGG-19 in small: from a quarter of its channels, a guess at the features that VGG-19 has at relu3_1 and relu4_1.

    The style loss sees more of a picture than the statistics at the adaptive layers tell, most of it at these two.
    """

    seen = (256, 512)

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(4).requires_grad_(True)
        for layer in self.encoder:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.dirac_(self.encoder[0].weight)  # type: ignore[arg-type]  # colours as they are
        self.guess = nn.ModuleList(nn.Conv2d(channels // 4, channels, 1) for channels in self.seen)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Features [N, 256, H / 4, W / 4] and [N, 512, H / 8, W / 8] of pictures [N, 3, H, W] in 0..1."""
        taps = self.encoder.taps(4 * pictures - 2)[2:]
        return [guess(features) for guess, features in zip(self.guess, taps, strict=True)]


class StyleHead(nn.Module):
    """From the statistics that a picture has at the adaptive layers, and in VGG-19, to those that paint in its style.

    Giving a photo's features the style picture's own statistics, layer by layer, is what AdaIN does, and where the head
    starts. It is not the best there is: with these statistics free, the same network halves its style loss on the
    photos that they are fitted to. The head learns a correction for all photos, means in units of what photos have,
    standard deviations as factors.

    Args:
        adaptive: channels of each adaptive layer.
        seen: channels of each layer of VGG-19 whose statistics are known, too.
        hidden: width of the two hidden layers.
        narrow: width that what VGG-19 knows is brought down to.
    """

    is_std: Tensor
    mean: Tensor
    std: Tensor
    seen_mean: Tensor
    seen_std: Tensor

    def __init__(
        self, adaptive: Sequence[int], seen: Sequence[int] = StyleEncoder.seen, hidden: int = 512, narrow: int = 160
    ) -> None:
        super().__init__()
        size = 2 * sum(adaptive)
        self.layers = nn.Sequential(
            nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, size)
        )
        self.narrow = nn.Linear(2 * sum(seen), narrow, bias=False)
        self.widen = nn.Linear(narrow, hidden, bias=False)
        for last in (self.layers[-1].weight, self.layers[-1].bias, self.widen.weight):
            nn.init.zeros_(last)  # type: ignore[arg-type]
        layout = [torch.arange(2 * channels) >= channels for channels in adaptive]
        self.register_buffer("is_std", torch.cat(layout), persistent=False)
        #: How `relative` statistics are spread over style pictures; training keeps them up to date.
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        #: Likewise of the statistics in VGG-19.
        self.register_buffer("seen_mean", torch.zeros(2 * sum(seen)))
        self.register_buffer("seen_std", torch.ones(2 * sum(seen)))

    def relative(self, statistics: Tensor, unit: Tensor) -> Tensor:
        """Statistics [N, S] compared with those of photos: means as a ratio, standard deviations as its logarithm.

        Args:
            unit: [S], the standard deviation of each one's channel on photos.
        """
        ratio = statistics / unit
        return torch.where(self.is_std, torch.where(self.is_std, ratio, 1.0).log(), ratio)

    def forward(self, statistics: Tensor, seen: Tensor, unit: Tensor) -> Tensor:
        """Style tensors [N, S] of pictures.

        Args:
            statistics: [N, S], at the adaptive layers.
            seen: [N, any], in VGG-19: means and standard deviations of one layer after the other.
            unit: see :meth:`relative`.
        """
        known = ((self.relative(statistics, unit) - self.mean) / self.std.clamp(min=0.05)).clamp(-4, 4)
        also = ((seen - self.seen_mean) / self.seen_std.clamp(min=0.05)).clamp(-4, 4)
        hidden = self.layers[0](known) + self.widen(self.narrow(also))
        change = 3 * torch.tanh(self.layers[1:](hidden).float() / 3)  # bounded, so that no odd picture can blow up
        return torch.where(self.is_std, statistics * change.exp(), statistics + unit * change)


class Compact(Network):
    """Three encoder stages at 1/2, 1/4 and 1/8 of the size, a residual block, two decoder stages with skips."""

    widths = (32, 64, 128)
    adaptive = (128, 128, 128, 64, 64, 32, 32)
    strides = (8, 8, 8, 4, 4, 2, 2)
    photo_std: Tensor

    description = "a compact auto-encoder with AdaIN at every depth, for real time on a CPU"

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth = self.widths
        self.down_half = convolution(12, half)
        self.down_quarter = convolution(half, quarter, 2)
        self.down_eighth = convolution(quarter, eighth, 2)
        self.block = Residual(eighth)
        self.up_quarter = Double(eighth, quarter)
        self.paint_quarter = convolution(quarter, quarter)
        self.up_half = Double(quarter, half)
        self.paint_half = convolution(half, half)
        self.to_picture = DoubleToPicture(half, 3)
        self.style_encoder = StyleEncoder()
        self.style_head = StyleHead(self.adaptive)
        #: Mean standard deviations of photos' features at the adaptive layers; training keeps them up to date.
        self.register_buffer("photo_std", torch.zeros(sum(self.adaptive)))

    @property
    def floor(self) -> Tensor:
        """[sum(adaptive)]: content features with a lower standard deviation than this are next to constant."""
        return _FLOOR * self.photo_std

    @property
    def unit(self) -> Tensor:
        """[S]: `photo_std` of the channel that each entry of a style tensor belongs to."""
        layers = torch.split(self.photo_std.clamp(min=1e-3), list(self.adaptive))
        return torch.cat([std for std in layers for _ in range(2)])

    def style_from(self, statistics: Tensor, pictures: Tensor) -> Tensor:
        """See :class:`StyleHead`."""
        return self.style_of(statistics, self.style_encoder(pictures))

    def style_of(self, statistics: Tensor, seen: Sequence[Tensor]) -> Tensor:
        """Style tensors [N, S] of statistics [N, S] and what :class:`StyleEncoder` makes of the same pictures."""
        style: Tensor = self.style_head(statistics, _in_a_row(seen), self.unit)
        return style

    @torch.no_grad()
    def remember(self, photos: Tensor, paintings: Tensor) -> None:
        """Moves what the network knows of pictures' statistics a little towards those of a batch, each [N, S]."""
        std = photos.mean(0)[self.style_head.is_std]
        self.photo_std.lerp_(std, 0.01 if self.photo_std.any() else 1.0)
        head = self.style_head
        _follow(head.mean, head.std, head.relative(paintings, self.unit))

    @torch.no_grad()
    def remember_seen(self, seen: Sequence[Tensor]) -> None:
        """Likewise what it knows of what :class:`StyleEncoder` makes of paintings."""
        head = self.style_head
        _follow(head.seen_mean, head.seen_std, _in_a_row(seen))

    def adapt_to(self, style: Tensor, strength: float | Tensor = 1.0) -> Transfer:
        """See :meth:`Network.adapt_to`."""
        return Transfer(style, self.floor, strength)

    def control(
        self, style: Tensor, mask: Tensor | None, strength: Tensor, stats: Tensor | None, inertia: Tensor | None
    ) -> Control:
        """See :meth:`Network.control`."""
        return Control(style, mask, strength, stats, inertia, self.floor)

    def forward(self, image: Tensor, adapt: Adapt) -> Tensor:
        """Images [N, 3, H, W] in 0..1 to images of the same size (not clamped)."""
        height, width = image.shape[2:]
        image = F.pad(image, (0, -width % 8, 0, -height % 8), mode="replicate")
        half = F.relu(self.down_half(F.pixel_unshuffle(image, 2)))
        quarter = F.relu(self.down_quarter(half))
        features = adapt(F.relu(self.down_eighth(quarter)))
        features = self.block(features, adapt)
        features = self.up_quarter(F.relu(features)) + adapt(quarter)
        features = F.relu(adapt(self.paint_quarter(F.relu(features))))
        features = self.up_half(features) + adapt(half)
        features = F.relu(adapt(self.paint_half(F.relu(features))))
        painted: Tensor = self.to_picture(features) + 0.5
        return painted[..., :height, :width]


def _in_a_row(features: Sequence[Tensor]) -> Tensor:
    """Means and standard deviations of features, one layer after the other, [N, any]."""
    return torch.cat([part for layer in features for part in feature_statistics(layer)], 1)


def _follow(mean: Tensor, std: Tensor, values: Tensor) -> None:
    """Moves a running mean and standard deviation [C], in place, a little towards those of [N, C]."""
    mean.lerp_(values.mean(0), 0.01)
    std.copy_(std.square().lerp((values - mean).square().mean(0), 0.01).sqrt())
