"""StyleBank (Chen et al., CVPR 2017): one auto-encoder, and between its halves a bank of filters for each style.

The halves know nothing of styles: without a bank they give their input back. A style is its bank alone, C x C filters
of 3 x 3, so its style tensor is those filters, flattened. Convolution is linear in them: a weighted mean of style
tensors gives the same weighted mean of stylised features: the paper's linear fusion, exactly.

Every convolution but the last is followed by instance normalisation and ReLU, as in the paper. Sizes are doubled by
linear interpolation before a convolution, unless the paper's fractionally strided convolution is asked for, which
leaves a checkerboard.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.errors import ImpastoError
from impasto.nets.norm import Control, Network, adain, resize_mask

Upsampling = Literal["linear", "strided"]
UPSAMPLINGS: tuple[Upsampling, ...] = get_args(Upsampling)


class BankAdapt(Protocol):
    """What decides how the network normalises, and which filters stand between its halves."""

    def __call__(self, features: Tensor) -> Tensor:
        """Features [N, C, H, W] with mean 0 and standard deviation 1 in each channel."""
        ...

    def convolve(self, features: Tensor) -> Tensor:
        """The encoder's features [N, C, H, W] through the bank."""
        ...


class Plain:
    """No bank: the network as an auto-encoder."""

    def __call__(self, features: Tensor) -> Tensor:
        zeros = torch.zeros(features.shape[:2], device=features.device)
        return adain(features, zeros, zeros + 1)

    def convolve(self, features: Tensor) -> Tensor:
        return features


class Banks(Plain):
    """Each picture of a batch through a bank of its own, [N, 9 C C]: training."""

    def __init__(self, style: Tensor) -> None:
        self._style = style

    def convolve(self, features: Tensor) -> Tensor:
        filters = as_filters(self._style, features.shape[1])
        padded = F.pad(features, (1, 1, 1, 1), mode="reflect")
        return torch.cat([F.conv2d(one[None], bank) for one, bank in zip(padded, filters, strict=True)])


class BankControl(Control):
    """All run-time controls for one picture and K banks; arguments as in :class:`~impasto.nets.norm.Control`.

    Region-specific fusion (Chen et al. 2017): sum over k of K_k * (M_k F), with F the features of the one
    whole picture, M_k the share of region k in each of their pixels. Statistics are the whole picture's, in each of
    their K rows. Strength goes from the plain features to those.
    """

    def __init__(
        self, style: Tensor, mask: Tensor | None, strength: Tensor, stats: Tensor | None, inertia: Tensor | None
    ) -> None:
        super().__init__(style, None if mask is None else mask.sum(0, keepdim=True), strength, stats, inertia)
        self._regions = mask

    def __call__(self, features: Tensor) -> Tensor:
        _, own = self._content(features)
        mean, std = own[:1, :, None, None].chunk(2, dim=1)
        return (features - mean) / std

    def convolve(self, features: Tensor) -> Tensor:
        height, width = features.shape[2:]
        channels = int(features.shape[1])  # a plain number also while the graph is being traced
        masked = features
        if self._regions is not None:
            weight = resize_mask(self._regions, height, width)
            masked = features * (weight / weight.sum(0, keepdim=True))
        painted = self._style.view(-1, channels, 9 * channels) @ _windows(masked)
        return torch.lerp(features, painted.sum(0).view(1, channels, height, width), self._strength)


def identity_bank(channels: int) -> Tensor:
    """[C, C, 3, 3], the filters that leave features as they are."""
    return nn.init.dirac_(torch.empty(channels, channels, 3, 3))


def as_filters(style: Tensor, channels: int) -> Tensor:
    """Style tensors [K, 9 C C] as filters [K, C, C, 3, 3]."""
    return style.view(-1, channels, channels, 3, 3)


def _windows(features: Tensor) -> Tensor:
    """The 3 x 3 windows around every pixel of [K, C, H, W], as columns [K, 9 C, H W].

    With them a convolution is a matrix product, which every engine runs with filters that come in from outside.
    """
    padded = F.pad(features, (1, 1, 1, 1), mode="reflect")
    shifts = (slice(0, -2), slice(1, -1), slice(2, None))
    taps = [padded[:, :, rows, columns].flatten(2) for rows in shifts for columns in shifts]
    return torch.stack(taps, 2).flatten(1, 2)


class _Layer(nn.Module):
    """Convolution, instance normalisation with a learnt scale and shift, ReLU.

    Args:
        convolution: without a bias, which the normalisation would take away again.
        channels: that come out of it.
    """

    def __init__(self, convolution: nn.Module, channels: int) -> None:
        super().__init__()
        self.convolution = convolution
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, features: Tensor, adapt: BankAdapt) -> Tensor:
        return F.relu(adapt(self.convolution(features)) * self.scale + self.shift)


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1) -> _Layer:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, padding_mode="reflect", bias=False)
    return _Layer(convolution, outputs)


def _strided_half(inputs: int, outputs: int) -> _Layer:
    return _Layer(nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1, bias=False), outputs)


class StyleBank(Network):
    """The auto-encoder and its banks.

    Args:
        styles: how many.
        width: channels at full size; twice as many at half size, and four times (C) at a quarter. The paper has 32.
        upsampling: "linear" interpolation before a convolution, or "strided", the paper's convolution with a stride
            of one half.
    """

    description = "an auto-encoder with a bank of filters for each of the styles it was trained on"
    choices: ClassVar[tuple[str, ...]] = ("width", "upsampling")
    own_styles = True

    def __init__(self, styles: int = 1, width: int = 16, upsampling: Upsampling = "linear") -> None:
        super().__init__()
        if min(styles, width) < 1:
            raise ImpastoError(f"styles and width must be 1 or more, not {styles} and {width}")
        if upsampling not in UPSAMPLINGS:
            raise ImpastoError(f"no upsampling {upsampling}: choose {' or '.join(UPSAMPLINGS)}")
        self.arguments = {"styles": styles, "width": width, "upsampling": upsampling}
        self.adaptive = (width, 2 * width, 4 * width, 2 * width, width)
        self.strides = (1, 2, 4, 2, 1)
        self.down = nn.ModuleList(
            [_layer(3, width, 9), _layer(width, 2 * width, 3, 2), _layer(2 * width, 4 * width, 3, 2)]
        )
        #: For each style its tensor [S]. They begin as the identity: every style starts from the reconstruction.
        self.banks = nn.ParameterList(identity_bank(4 * width).flatten() for _ in range(styles))
        up = ((4 * width, 2 * width), (2 * width, width))
        self.interpolates = upsampling == "linear"
        self.up = nn.ModuleList(_layer(*sides, 3) if self.interpolates else _strided_half(*sides) for sides in up)
        self.to_picture = nn.Conv2d(width, 3, 9, 1, 4, padding_mode="reflect")

    @property
    def style_size(self) -> int:
        return 9 * self.adaptive[2] ** 2

    def styles(self) -> Tensor:
        return torch.stack(list(self.banks)).detach()

    def add_style(self) -> None:
        """One style more, which begins as the mean of the others."""
        self.banks.append(self.styles().mean(0))
        self.arguments = {**self.arguments, "styles": len(self.banks)}

    def transfer(self, which: Tensor, done: float = 0.0) -> Banks:
        """The `adapt` of training: each picture of the batch in the style of its number, which [N]."""
        return Banks(torch.stack(list(self.banks))[which])

    def control(
        self, style: Tensor, mask: Tensor | None, strength: Tensor, stats: Tensor | None, inertia: Tensor | None
    ) -> BankControl:
        return BankControl(style, mask, strength, stats, inertia)

    def forward(self, image: Tensor, adapt: BankAdapt) -> Tensor:
        """Images [N, 3, H, W] in 0..1 to images of the same size (not clamped)."""
        height, width = image.shape[2:]
        features = F.pad(image, (0, -width % 4, 0, -height % 4), mode="replicate")
        for layer in self.down:
            features = layer(features, adapt)
        features = adapt.convolve(features)
        for layer in self.up:
            if self.interpolates:
                features = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = layer(features, adapt)
        painted: Tensor = self.to_picture(features) + 0.5
        return painted[..., :height, :width]
